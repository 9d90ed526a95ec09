# SPDX-License-Identifier: Apache-2.0
"""The recipes of docs/GATE.md, run as they stand there; and what they avoid."""
import datetime
import os
import re
import shutil
import socket
import subprocess

import pytest
import yaml

import gate
import gobuild
import schemas
import tool

# Each block of the page, by a line in it.
BLOCKS = ["stranded gate -- ./e2e.sh", "# load.sh:", "# leaks.ini,",
          "--update-baseline -- go test", "# .github/workflows/leaks.yml",
          "# .gitlab-ci.yml", "GATE ?=", "# e2e.sh:", "# stack.sh:",
          "stranded run -- ./server-test"]
REQUESTS = 3        # of client-tests

TEST = """package pool

import (
	"os"
	"testing"
)

func TestPool(t *testing.T) {
	if os.Getenv("LEAK") == "pool" {
		c := make(chan int)
		go func() { <-c }()
	}
}

func TestOther(t *testing.T) {
	if os.Getenv("LEAK") == "other" {
		c := make(chan int)
		go func() { c <- 1 }()
	}
}
"""


def page():
    with open(os.path.join(gobuild.ROOT, "docs", "GATE.md")) as f:
        return f.read()


def blocks():
    return re.findall(r"^```\w*\n(.*?)^```$", page(), re.M | re.S)


def block(name):
    found, = [b for b in blocks() if name in b]
    return found


def test_every_recipe_is_run():
    """Each block of the page is one of those that the tests here run."""
    assert [[n for n in BLOCKS if n in b] for b in blocks()] == [
        [n] for n in BLOCKS]


class Project:
    """A folder with tests, servers, and the files that the page shows."""

    def __init__(self, path, victim):
        self.path = str(path)
        self.port, self.db = free_ports()
        for name in ("server", "db", "api", "worker", "client-tests"):
            os.symlink(victim, path / name)
        (path / "bin").mkdir()
        os.symlink(tool.binary(), path / "bin" / "stranded")
        self.write("go.mod", "module example.com/project\n\ngo 1.19\n")
        self.write("pool/pool_test.go", TEST)
        self.write("leaks.ini", block("# leaks.ini,"))
        self.write("Makefile", block("GATE ?="))
        for name in ("e2e.sh", "stack.sh", "load.sh"):
            self.write(name, block("# %s:" % name), mode=0o755)

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        text = text.replace("8080", str(self.port)).replace(
            "5432", str(self.db))
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)

    def run(self, line, leak="", shell=("sh", "-e", "-c"), **more):
        env = gate.environment(dict(gate.go_env(), LEAK=leak, **more))
        env["PATH"] = os.path.join(self.path, "bin") + ":" + env["PATH"]
        return subprocess.run([*shell, line], cwd=self.path, env=env,
                              stdin=subprocess.DEVNULL, timeout=120, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def file(self, name):
        return os.path.join(self.path, name)


def free_ports():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture(scope="module")
def project(victim, tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"), victim("e2e"))


def left_behind(done):
    """The headlines of all leaks in the text."""
    return re.findall(r"^LEAK  (.*)$", done.stdout, re.M)


@pytest.mark.parametrize("leak,found", [("", []), ("pool", ["chan receive"])])
def test_go_test(project, leak, found):
    line = block("stranded gate -- ./e2e.sh").splitlines()[0]
    done = project.run(line, leak)
    assert "ok  \texample.com/project/pool" in done.stdout
    assert left_behind(done) == ["1 goroutine left behind: " + f
                                 for f in found], done.stdout
    assert done.returncode == (tool.FINDINGS if found else 0), done.stdout
    assert "cached" not in done.stdout, done.stdout


def test_policy(project):
    line, = re.findall(r"`(stranded gate --policy .*?)`", page())
    done = project.run(line, "pool")
    assert done.returncode == tool.FINDINGS and "[zk-session]" in done.stdout
    rule = block("# leaks.ini,")
    assert "reason = " in rule
    later = datetime.date.today() + datetime.timedelta(days=365)
    rule = re.sub("(?m)^creator = .*", "creator = *.TestPool", rule)
    rule = re.sub("(?m)^expires = .*", "expires = %s" % later, rule)
    project.write("leaks.ini", rule)
    done = project.run(line, "pool")
    assert done.returncode == 0 and "1 ignored" in done.stdout, done.stdout


def test_baseline_and_makefile(project):
    first, then = [re.sub(" +#.*", "", l) for l in block(
        "--update-baseline -- go test").splitlines()]
    assert project.run(first, "pool").returncode == 0
    done = project.run(then, "pool")
    assert done.returncode == 0 and "1 known" in done.stdout, done.stdout
    done = project.run(then, "other")
    assert done.returncode == tool.FINDINGS, done.stdout
    assert "is gone" in done.stdout, done.stdout

    done = project.run("make test", "pool")
    assert done.returncode == 0 and "1 known" in done.stdout, done.stdout
    done = project.run("make test", "other")
    assert done.returncode == 2 and "Error 1" in done.stdout, done.stdout
    done = project.run("make test GATE=", "other")
    assert done.returncode == 0 and "LEAK" not in done.stdout, done.stdout


def ci_file(name):
    """YAML as CI reads it: "on" is a word, and not a yes."""
    return yaml.load(block(name), Loader=yaml.BaseLoader)


def test_github_actions(project):
    workflow = ci_file("# .github/workflows/leaks.yml")
    schemas.is_valid("github-workflows.json", workflow)
    steps = workflow["jobs"]["leaks"]["steps"]
    line, = [s["run"] for s in steps if "run" in s]
    upload, = [s for s in steps if "upload-sarif" in s.get("uses", "")]
    assert workflow["permissions"]["security-events"] == "write"
    assert upload["if"] == "always()"       # the step before has failed
    done = project.run(line, "pool", shell=("bash", "-e", "-c"),
                       GITHUB_ACTIONS="true", GITHUB_WORKSPACE=project.path,
                       GITHUB_STEP_SUMMARY=project.file("summary.md"))
    assert done.returncode == tool.FINDINGS, done.stdout
    assert "::error file=pool/pool_test.go,line=11," in done.stdout
    log = schemas.sarif(project.file(upload["with"]["sarif_file"]))
    assert len(log["runs"][0]["results"]) == 1
    with open(project.file("summary.md")) as f:
        assert "1 goroutine left behind" in f.read()


def test_gitlab_ci(project):
    config = ci_file("# .gitlab-ci.yml")
    schemas.is_valid("gitlab-ci.json", config)
    job = config["leaks"]
    assert job["artifacts"]["when"] == "always"
    line, = job["script"]
    done = project.run(line, "pool", GITLAB_CI="true",
                       CI_PROJECT_DIR=project.path)
    assert done.returncode == tool.FINDINGS, done.stdout
    reports = job["artifacts"]["reports"]
    assert sorted(reports) == ["codequality", "junit"]
    row, = schemas.codequality(project.file(reports["codequality"]))
    assert row["location"]["path"] == "pool/pool_test.go"
    assert schemas.junit(project.file(reports["junit"])).findall(
        "testsuite/testcase/failure")


def test_a_server_under_an_end_to_end_test(project):
    line = block("stranded gate -- ./e2e.sh").splitlines()[1]
    assert "`%s`" % line in page()
    done = project.run(line)
    assert done.returncode == 0 and not left_behind(done), done.stdout
    assert "no leak in 2 processes" in done.stdout, done.stdout
    done = project.run(line, "server")
    assert done.returncode == tool.FINDINGS, done.stdout
    assert left_behind(done) == [
        "%d goroutines left behind: chan receive" % REQUESTS], done.stdout


def test_a_client_that_fails(project):
    """Its status is the script's, and the server is ended, too."""
    os.rename(project.file("client-tests"), project.file("kept"))
    os.symlink(shutil.which("false"), project.file("client-tests"))
    try:
        done = project.run("stranded gate -- ./e2e.sh", "server")
    finally:
        os.rename(project.file("kept"), project.file("client-tests"))
    assert done.returncode == 1, done.stdout
    assert tool.wait_until(lambda: not listens(project.port))


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("leak,count", [("", 0), ("api", REQUESTS),
                                        ("worker", 1)])
def test_services_and_what_they_start(project, leak, count):
    """The worker is the child of one that the script has started."""
    line, = re.findall(r"`(stranded gate .*stack\.sh)`", page())
    done = project.run(line, leak)
    assert done.returncode == (tool.FINDINGS if leak else 0), done.stdout
    assert re.findall(r"^LEAK  (\d+) goroutine", done.stdout, re.M) == (
        [str(count)] if count else []), done.stdout
    assert "in 4 processes" in done.stdout, done.stdout
    assert not leak or re.search(r"\): \S*/%s\b" % leak, done.stdout), \
        done.stdout


@pytest.mark.parametrize("leak", ["", "server"])
def test_a_server_that_goes_on(project, leak):
    server = subprocess.Popen(
        [project.file("server"), "127.0.0.1:%d" % project.port],
        env=gate.environment({"LEAK": leak}))
    try:
        assert tool.wait_until(lambda: listens(project.port))
        done = project.run("./load.sh", server=str(server.pid))
    finally:
        server.kill()
        server.wait()
    assert done.returncode == (tool.FINDINGS if leak else 0), done.stdout
    assert left_behind(done) == ([
        "%d goroutines left behind: chan receive" % REQUESTS] if leak
        else []), done.stdout


def test_a_c_program_with_coroutines(project):
    subprocess.run(["cc", "-g", "-O0", "-o", project.file("coro"),
                    os.path.join(gobuild.ROOT, "tests", "victims", "coro",
                                 "coro.c")], check=True)
    project.write("server-test", '#!/bin/sh\nexec ./coro $LEAK\n', 0o755)
    line = block("stranded run -- ./server-test")
    assert project.run(line).returncode == 0
    done = project.run(line, "leak")
    assert done.returncode == tool.FINDINGS, done.stdout
    assert "LEAK  1 coroutine left behind" in done.stdout, done.stdout


# --- what goes wrong without the recipe


def test_results_of_an_earlier_run_are_no_all_clear(project):
    """go test remembers that it passed, and so it did: with a leak."""
    line = "stranded gate -- go test ./pool"
    project.run("go clean -testcache")
    assert project.run(line, "pool").returncode == tool.FINDINGS
    done = project.run(line, "pool")
    assert "(cached)" in done.stdout, done.stdout
    assert done.returncode == tool.GAPS, done.stdout
    assert "'go test ./pool' did not run" in done.stdout, done.stdout
    done = project.run("stranded gate --how ptrace -- go test ./pool", "pool")
    assert done.returncode == tool.GAPS, done.stdout


def test_a_part_of_the_results_is_of_an_earlier_run(project):
    line = "stranded gate -- go test ./pool ./fresh"
    project.write("fresh/fresh_test.go", TEST.replace("pool", "fresh"))
    project.run("go clean -testcache; go test ./pool")
    done = project.run(line)
    assert done.stdout.count("(cached)") == 2, done.stdout
    assert done.returncode == 0 and "1 process" in done.stdout, done.stdout
    done = project.run(line.replace("test", "test -count=1"))
    assert "cached" not in done.stdout, done.stdout


def test_a_reader_that_has_had_enough(project, victim):
    """2>&1 | head: the files are written, and the status stands."""
    done = project.run("stranded gate --report json=early.json -- %s leak 2>&1"
                       " | true; exit ${PIPESTATUS[0]}" % victim("gate"),
                       shell=("bash", "-c"))
    assert done.returncode == tool.FINDINGS, done.stdout
    report = schemas.read_json(project.file("early.json"))
    assert report["summary"]["leaks"] == 1, report
