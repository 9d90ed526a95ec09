# SPDX-License-Identifier: Apache-2.0
"""The reports of the gate, by the published schemas of their formats."""
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

import gate
import gobuild
import schemas
import tool
import world

# What XML and JSON, a shell, markdown and a terminal have their own ideas of.
ODD = [b"\x01\x1b[31m\x7f\x9b", b"]]>", b"<a href=\"x\" b='y'>&amp;&#0;",
       b"\xff\xfe \xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80", "\ufffe\uffff\u202e"
       .encode(), b"a\r\n\tb", b"|`*_#\\", b"%0A::error::x", b"{{7}}", b""]


@pytest.fixture(scope="module")
def program(victim):
    return victim("gate")


@pytest.fixture
def formats(tmp_path):
    """Runs a command under the gate and checks each report that it wrote."""
    class Formats:
        options = []
        for name in schemas.FORMATS + ("markdown",):
            options += ["--report", "%s=%s" % (name, tmp_path / name)]

        def read(self):
            for name in schemas.FORMATS:
                setattr(self, name, schemas.check(name, tmp_path / name))
            self.markdown = (tmp_path / "markdown").read_bytes().decode()
            self.results = self.sarif["runs"][0]["results"]
            self.invocation, = self.sarif["runs"][0]["invocations"]

        def run(self, *command, options=(), **more):
            run = gate.gate(*command, options=self.options + list(options),
                            **more)
            self.read()
            return run

        def outcomes(self):
            """What became of all cases of JUnit, in their order."""
            return [[e.tag for e in case] for case in
                    self.junit.iter("testcase")]
    return Formats()


def line_of(module, package, text):
    path = os.path.join(module, package, package + "_test.go")
    with open(path) as f:
        return [n for n, line in enumerate(f, 1) if text in line][0]


def of_site(result):
    """The file and line of a result."""
    where = result["locations"][0]["physicalLocation"]
    return where["artifactLocation"], where.get("region", {}).get("startLine")


def test_nothing_to_look_at(formats):
    assert formats.run("true").status == 0
    assert (formats.results, formats.codequality) == ([], [])
    assert formats.outcomes() == []
    assert formats.invocation["executionSuccessful"]


def test_no_leak(formats, program):
    assert formats.run(program, "clean").status == 0
    assert (formats.results, formats.codequality) == ([], [])
    assert formats.outcomes() == [[]]
    assert not formats.invocation["toolExecutionNotifications"]


def test_odd_characters(formats, program, tmp_path):
    """In the command line and in the names of the program and its folder."""
    folder = os.path.join(os.fsencode(tmp_path), b"o d%\x01<\xff]]>\"'&;#?")
    os.mkdir(folder)
    path = os.path.join(folder, b"pro gram\xe2\x80\xae\x1b")
    shutil.copy2(program, path)
    done = subprocess.run(
        [tool.binary(), "gate", *formats.options, "--", path, "leak", *ODD],
        env=gate.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=60)
    assert done.returncode == tool.FINDINGS, done
    formats.read()
    assert formats.outcomes() == [["failure"]]
    assert "]]>" in formats.junit[0].get("name")
    assert formats.invocation["arguments"][3:6] == [
        "]]>", "<a href=\"x\" b='y'>&amp;&#0;",
        "\ufffd\ufffd \ufffd\ufffd\ufffd \ufffd\ufffd "
        "\ufffd\ufffd\ufffd\ufffd"]
    assert not {c for c in done.stderr if c < 32} - set(b"\t\n"), done


def test_a_file_with_an_odd_name(formats, tmp_path):
    """A URI in SARIF, a path in code quality."""
    module = tmp_path / "m"
    module.mkdir()
    (module / "go.mod").write_text("module example.com/odd\n\ngo 1.17\n")
    name = "a b%41+[c]&d\u00e9.go"
    (module / name).write_text(
        "package main\n\nfunc main() {\n\tgo func() { select {} }()\n}\n")
    subprocess.run(["go", "build", "-o", "odd", "."], cwd=module, check=True,
                   env=gate.environment(gate.go_env()))
    run = formats.run(str(module / "odd"), cwd=str(module))
    assert run.status == tool.FINDINGS, run
    result, = formats.results
    assert of_site(result) == ({
        "uri": "a%20b%2541%2B%5Bc%5D%26d%C3%A9.go",
        "uriBaseId": "%SRCROOT%"}, 4)
    assert formats.codequality[0]["location"] == {"path": name,
                                                  "lines": {"begin": 4}}


def test_a_connection_that_is_held(formats, conns, program, tmp_path):
    """Nobody waits on it: there is no file to look at but the program's."""
    server = conns()
    addr = server.listen("127.0.0.1:0")
    policy = tmp_path / "policy.ini"
    policy.write_text("[connections]\nrequire = keepalive<=10s\n")
    child = tool.Program(tool.binary(), "gate", "--policy", policy,
                         *formats.options, "--", program, "hold", addr,
                         env=gate.environment())
    try:
        server.accept()
        assert child.line() == "holding"
        child.child.stdin.write(b"\n")
        child.child.stdin.flush()
        assert child.child.wait(60) == tool.FINDINGS
    finally:
        child.end()
    formats.read()
    result, = formats.results
    assert result["ruleId"] == "leaked-connection"
    assert of_site(result) == ({"uri": "file://" + program}, None)
    assert formats.outcomes() == [["failure"]]
    assert addr in formats.junit.find("*/*/failure").text
    row, = formats.codequality
    assert row["location"] == {"path": program[1:], "lines": {"begin": 1}}


def test_a_goroutine_on_a_half_open_connection(formats, net, conns, program):
    a, b = net.pair()
    server = conns(b)
    server.listen("10.78.0.2:7000")
    child = tool.Program(*a.prefix, tool.binary(), "gate", *formats.options,
                         "--", program, "read", "10.78.0.2:7000",
                         env=gate.environment())
    try:
        far = server.accept()
        server.send(far, 1)
        assert child.line() == "reading"
        world.power_cut(b, "10.78.0.1", server)
        child.child.stdin.write(b"\n")
        child.child.stdin.flush()
        assert child.child.wait(60) == tool.FINDINGS
    finally:
        child.end()
    formats.read()
    assert {r["ruleId"] for r in formats.results} == {"stranded-goroutine"}
    assert "half-open" in formats.junit.find("*/*/failure").text
    assert "| half-open |" in formats.markdown


def test_a_coroutine(formats, tmp_path):
    path = str(tmp_path / "coro")
    subprocess.run(["cc", "-g", "-O0", "-o", path, os.path.join(
        gobuild.ROOT, "tests", "victims", "coro", "coro.c")], check=True)
    run = formats.run(tool.binary(), "run", "--", path, "leak")
    assert run.status == tool.FINDINGS, run
    assert [r["ruleId"] for r in formats.results] == ["leaked-coroutine"]
    assert formats.outcomes() == [["failure"]]


# --- what is no leak, and yet must not look like a success


def test_time_out(formats, program):
    run = formats.run("sh", "-c", "%s hang; true" % program,
                      options=["--timeout", "1s"])
    assert run.status == 124, run
    assert formats.outcomes() == [["error"]]
    error = formats.junit.find("*/*/error")
    assert error.get("message") == "the command did not end in time"
    assert "main.block" in error.text
    assert not formats.invocation["executionSuccessful"]
    note, = formats.invocation["toolExecutionNotifications"]
    assert note["message"]["text"] == "the command did not end in time"


def test_a_command_that_cannot_be_run_or_is_killed(formats):
    assert formats.run("/nonexistent").status == 127
    assert formats.outcomes() == [["error"]]
    assert not formats.invocation["executionSuccessful"]
    assert formats.run("sh", "-c", "kill -KILL $$").status == 137
    assert "signal 9" in formats.junit.find("*/*/error").get("message")


def deface(pid, program):
    """Write Go 1.16's magic where that of its table of functions stands."""
    sections = subprocess.run(["readelf", "-SW", program], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
    at = int(re.search(r"\.gopclntab +PROGBITS +([0-9a-f]+)",
                       sections).group(1), 16)
    with open("/proc/%d/mem" % pid, "r+b", buffering=0) as f:
        f.seek(at)
        f.write(b"\xfa\xff\xff\xff")


def in_line(program, formats, options, act):
    """Run it under the gate, @act(pid) meanwhile; status and error output."""
    child = subprocess.Popen(
        [tool.binary(), "gate", *formats.options, *options, "--", "sh", "-c",
         "echo $$; exec %s line" % program], env=gate.environment(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        pid = int(child.stdout.readline())
        assert child.stdout.readline() == b"waiting\n"
        act(pid)
        _, err = child.communicate(b"\n", timeout=60)
    finally:
        child.kill()
        child.wait()
    formats.read()
    return child.returncode, err


@pytest.mark.parametrize("options,status,outcome", [
    ([], tool.GAPS, ["error"]), (["--allow-gaps"], 0, ["skipped"])])
def test_what_could_not_be_judged(formats, program, options, status, outcome):
    got, err = in_line(program, formats, options,
                       lambda pid: deface(pid, program))
    assert got == status, err
    assert formats.outcomes() == [outcome], err
    notes = formats.invocation["toolExecutionNotifications"]
    assert len(notes) == bool(status), notes


def test_who_is_killed_is_not_judged(formats, program):
    child = subprocess.Popen(
        [tool.binary(), "gate", "--grace", "10s", *formats.options, "--", "sh",
         "-c", "%s leak & echo $!; wait $!; exit 0" % program],
        env=gate.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pid = int(child.stdout.readline())
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    _, err = child.communicate(timeout=8)
    assert child.returncode == 0, err
    formats.read()
    assert formats.outcomes() == [["skipped"]], err


def test_who_fails_for_himself(formats, program):
    assert formats.run(program, "fail").status == 3
    assert formats.outcomes() == [["skipped"]]
    assert formats.results == []


# --- a Go module, in the repository


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return gate.leaks_module(tmp_path_factory.mktemp("gate"))


def go_test(which, *packages):
    return "go test -count=1 -run %s %s" % (
        which, " ".join("./" + p for p in packages))


def test_new_known_and_ignored(formats, module, tmp_path):
    """Only what is new fails, but all of it is shown."""
    base, policy = tmp_path / "base.json", tmp_path / "policy.ini"
    env = gate.go_env()
    run = gate.gate("sh", "-c", go_test("Leaky", "ticker"), cwd=module,
                    env=env, options=["--baseline", base, "--update-baseline"])
    assert run.status == 0, run
    policy.write_text("[pool]\nreason = it is <global> & \"shared\"\n"
                      "package = example.com/leaks/workers\n")
    run = formats.run("sh", "-c", go_test("Leaky", "ticker", "workers",
                                          "channel"), cwd=module, env=env,
                      options=["--baseline", base, "--policy", policy])
    assert run.status == tool.FINDINGS, run
    sites = {}
    for r in formats.results:
        sites.setdefault(of_site(r)[0]["uri"].split("/")[0], r)
    assert sorted(sites) == ["channel", "ticker", "workers"]
    assert [(sites[s]["baselineState"], sites[s]["level"]) for s in
            sorted(sites)] == [("new", "error"), ("unchanged", "note"),
                               ("new", "note")]
    assert sites["workers"]["suppressions"] == [{
        "kind": "external", "justification": "it is <global> & \"shared\""}]
    assert {s.get("type") for s in formats.junit.iter("skipped")} == {
        "known", "ignored"}
    assert len(list(formats.junit.iter("failure"))) == run.report["summary"][
        "leaks"] >= 1
    assert sorted({r["location"]["path"].split("/")[0]
                   for r in formats.codequality}) == ["channel", "ticker"]
    assert {r["severity"] for r in formats.codequality} == {"major", "minor"}


def test_a_file_of_a_dependency(formats, module):
    """-trimpath: what lies outside of the module has no absolute path."""
    run = formats.run("go", "test", "-count=1", "-trimpath", "-run", "Leaky",
                      "./sqlrows", "./ticker", cwd=module, env=gate.go_env())
    assert run.status == tool.FINDINGS, run
    where = {(a["uri"], "uriBaseId" in a) for a, _ in
             map(of_site, formats.results)}
    assert where == {("ticker/ticker_test.go", True),
                     ("database/sql/sql.go", False)}, run
    assert {r["location"]["path"] for r in formats.codequality} == {
        "ticker/ticker_test.go", "database/sql/sql.go"}, run


@pytest.fixture(scope="module")
def github(module, tmp_path_factory):
    """One leaky and one healthy package, as GitHub's runner has it."""
    tmp = tmp_path_factory.mktemp("reports")
    names = schemas.FORMATS + ("markdown",)
    run = gate.gate("sh", "-c", "%s && %s" % (go_test("Leaky", "ticker"),
                                              go_test("Healthy", "workers")),
                    cwd=module, options=["--report", ",".join(
                        "%s=%s" % (n, tmp / n) for n in names)],
                    env=dict(gate.go_env(), GITHUB_ACTIONS="true",
                             GITHUB_WORKSPACE=module,
                             GITHUB_STEP_SUMMARY=str(tmp / "summary")))
    assert run.status == tool.FINDINGS, run
    return run, tmp


def test_sarif(github, module):
    result, = schemas.sarif(github[1] / "sarif")["runs"][0]["results"]
    assert of_site(result) == (
        {"uri": "ticker/ticker_test.go", "uriBaseId": "%SRCROOT%"},
        line_of(module, "ticker", "go p.run()"))


def test_code_quality(github, module):
    row, = schemas.codequality(github[1] / "codequality")
    assert row["location"] == {
        "path": "ticker/ticker_test.go",
        "lines": {"begin": line_of(module, "ticker", "go p.run()")}}


def test_junit(github):
    leaky, healthy = schemas.junit(github[1] / "junit")
    assert leaky.get("name") == "example.com/leaks/ticker"
    assert "(*poller).run" in leaky.find("testcase/failure").text
    assert (healthy.get("tests"), healthy.get("failures")) == ("1", "0")


def test_annotations_and_summary(github, module):
    run, tmp = github
    assert "::error file=ticker/ticker_test.go,line=%d,title=" % line_of(
        module, "ticker", "go p.run()") in run.err
    markdown = (tmp / "markdown").read_text()
    assert (tmp / "summary").read_text() == markdown
    rows = [r for r in markdown.splitlines() if r.startswith("|")]
    assert len(rows) == 3 and "1 goroutine left behind" in rows[2]
    assert {r.replace("\\|", "").count("|") for r in rows} == {7}
