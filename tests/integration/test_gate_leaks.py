# SPDX-License-Identifier: Apache-2.0
"""stranded gate beside goleak, in the same tests; policy, baseline."""
import json
import os
import re
import subprocess

import pytest

import gate
import gobuild
import tool

PACKAGES = ["channel", "context", "dial", "errgroup", "httpbody", "listener",
            "pipes", "sqlrows", "ticker", "timerloop", "websocket", "workers"]
TOOLCHAINS = ["1.19.13", None]      # None: the newest that there is


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return gate.leaks_module(tmp_path_factory.mktemp("gate"))


def go_test(module, which, toolchain=None, options=(), packages=PACKAGES,
            arguments=(), env=None):
    """All @packages under the gate, with the tests of that name."""
    return gate.gate("go", "test", "-count=1", "-run", which, *arguments,
                     *["./" + p for p in packages], cwd=module,
                     options=options,
                     env=dict(gate.go_env(toolchain), **(env or {})))


def names(run):
    return sorted({p["package"].rsplit("/", 1)[1] for p, _ in run.leaks})


def with_goleak(module, which, packages, toolchain=None):
    """What go test prints when goleak looks, inside the same tests."""
    return subprocess.run(
        ["go", "test", "-count=1", "-run", which,
         *["./" + p for p in packages]], cwd=module,
        env=gate.environment(dict(gate.go_env(toolchain), GOLEAK="1")),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=600).stdout


def goleak_says(module, which, toolchain):
    """The packages in which goleak finds a leak."""
    out = with_goleak(module, which, PACKAGES, toolchain)
    found = re.findall(r"^FAIL\s+example.com/leaks/(\w+)", out, re.M)
    clean = re.findall(r"^ok\s+example.com/leaks/(\w+)", out, re.M)
    assert sorted(found + clean) == PACKAGES, out
    assert len(found) == out.count("found unexpected goroutines"), out
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("toolchain", TOOLCHAINS)
@pytest.mark.parametrize("which", ["Leaky", "Healthy"])
def test_same_verdict_as_goleak(module, which, toolchain):
    theirs = goleak_says(module, which, toolchain)
    run = go_test(module, which, toolchain)
    assert names(run) == theirs, run
    assert theirs == (PACKAGES if which == "Leaky" else [])
    assert run.status == (tool.FINDINGS if theirs else 0), run
    judged = [p for p in run.report["processes"] if p["outcome"] == "judged"]
    assert sorted(p["package"].rsplit("/", 1)[1] for p in judged) == PACKAGES
    assert not [g for p in judged for g in p["gaps"]
                if g["kind"] not in ("running", "torn", "gone")], run


def test_a_leak_in_a_parallel_subtest_has_its_tests_name(module):
    """goleak.VerifyNone cannot be used there: it sees the other tests, and
    says of each that it is the one."""
    out = with_goleak(module, "Parallel", ["parallel"])
    assert sorted(re.findall(r"--- FAIL: TestParallel/(\w+)", out)) == [
        "one", "three", "two"], out
    run = go_test(module, "Parallel", packages=["parallel"])
    assert run.status == tool.FINDINGS, run
    (process, leak), = run.leaks
    # It lasts 10 ms, and may be too short to be sampled.
    assert leak["test"] in ("TestParallel", "TestParallel/two")
    assert process["package"] == "example.com/leaks/parallel"
    assert leak["test"] + " of example.com/leaks/parallel" in run.err


def test_a_leak_in_a_child_of_a_test(module):
    """goleak looks into its own process alone."""
    out = with_goleak(module, "Leaky", ["child"])
    assert re.match(r"ok\s+example.com/leaks/child\s", out), out
    run = go_test(module, "Leaky", packages=["child"])
    assert run.status == tool.FINDINGS, run
    (process, leak), = run.leaks
    assert "-test." not in process["command"], run      # the child's
    assert leak["created_by"]["function"].endswith("child.TestMain"), run
    run = go_test(module, "Healthy", packages=["child"])
    assert run.status == 0, run
    judged = [p for p in run.report["processes"] if p["outcome"] == "judged"]
    assert len(judged) == 2, run        # both were looked at


@pytest.mark.parametrize("arguments", [
    ["-count=3"], ["-cover"], ["-v"], ["-trimpath"], ["-cpu=1,2"],
    ["-ldflags=-s -w"],
])
def test_ways_to_run_go_test(module, arguments):
    for which, status in (("Leaky", tool.FINDINGS), ("Healthy", 0)):
        run = go_test(module, which, packages=["ticker", "errgroup"],
                      arguments=arguments)
        assert run.status == status, run


@pytest.mark.slow
def test_race_detector(module):
    run = go_test(module, "Leaky", packages=["ticker"], arguments=["-race"],
                  env={"CGO_ENABLED": "1"})
    assert run.status == tool.FINDINGS, run
    run = go_test(module, "Healthy", packages=["ticker", "workers"],
                  arguments=["-race"], env={"CGO_ENABLED": "1"})
    assert run.status == 0, run


def test_on_a_living_connection_it_is_a_leak_and_not_stranded(module, tmp_path):
    sarif = tmp_path / "s.json"
    run = go_test(module, "Leaky", packages=["dial"],
                  options=["--report", "sarif=%s" % sarif])
    (_, leak), = run.leaks
    assert leak["connection"]["verdict"] == "alive", run
    result, = json.loads(sarif.read_text())["runs"][0]["results"]
    assert result["ruleId"] == "leaked-goroutine", run
    assert "left behind: IO wait\n" in run.err, run


# --- baseline


def shift_lines(module, package):
    path = os.path.join(module, package, package + "_test.go")
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(text.replace("\nfunc TestMain", "\n// a line\n" * 7 +
                             "\nfunc TestMain"))


def test_baseline_is_the_same_twice_and_survives_an_edit(tmp_path):
    module = gate.leaks_module(tmp_path)
    base = [tmp_path / "one.json", tmp_path / "two.json"]
    some = ["ticker", "httpbody", "sqlrows", "workers"]
    for path in base:
        run = go_test(module, "Leaky", packages=some,
                      options=["--baseline", path, "--update-baseline"])
        assert run.status == 0, run
    text = base[0].read_bytes()
    assert text == base[1].read_bytes()
    assert len(json.loads(text)["leaks"]) >= 4
    for package in some:
        shift_lines(module, package)
    run = go_test(module, "Leaky", packages=some,
                  options=["--baseline", base[0]])
    assert run.status == 0, run
    assert run.report["summary"]["known"] >= 4, run
    assert not run.report["baseline_gone"], run


def test_new_leaks_fail_and_gone_ones_are_told(module, tmp_path):
    base = tmp_path / "base.json"
    run = go_test(module, "Leaky", packages=["ticker"],
                  options=["--baseline", base, "--update-baseline"])
    assert run.status == 0, run
    run = go_test(module, "Leaky", packages=["workers"],
                  options=["--baseline", base])
    assert run.status == tool.FINDINGS, run
    assert len(run.report["baseline_gone"]) == 1, run
    assert "is gone; tighten with --update-baseline" in " ".join(
        run.err.split()), run


@pytest.mark.slow
def test_baseline_of_another_go_version_matches(module, tmp_path):
    base = tmp_path / "base.json"
    go_test(module, "Leaky", "1.19.13",
            options=["--baseline", base, "--update-baseline"])
    run = go_test(module, "Leaky", options=["--baseline", base])
    assert run.status == 0, run
    assert not run.report["baseline_gone"], run


@pytest.mark.parametrize("text,word", [
    ("{", "no JSON"),
    ("[]", "schema"),
    ('{"schema": 2, "leaks": []}', "newer stranded"),
    ('{"schema": 1}', "leaks"),
    ('{"schema": 1, "leaks": [{"fingerprint": "x"}]}', "fingerprint"),
])
def test_broken_baseline(tmp_path, text, word):
    path = tmp_path / "base.json"
    path.write_text(text)
    run = gate.gate("true", options=["--baseline", path])
    assert run.status == tool.USAGE, run
    assert word in run.err and str(path) in run.err, run


# --- policy


def policy(tmp_path, text):
    path = tmp_path / "policy.ini"
    path.write_text(text)
    return ["--policy", path]


def test_what_the_policy_ignores_passes(module, tmp_path):
    options = policy(tmp_path, """
[pool]
reason = the pool is global
function = example.com/leaks/workers.(\\**
max = 4

[never]
reason = an old one
creator = example.com/gone.*
""")
    run = go_test(module, "Leaky", packages=["workers"], options=options)
    assert run.status == 0, run
    (_, leak), = run.leaks
    assert leak["ignored_by"] == {"rule": "pool",
                                  "reason": "the pool is global"}
    assert "rule [never] matched nothing" in " ".join(run.err.split()), run


@pytest.mark.parametrize("more,text", [
    ("expires = 2001-01-01", "expired on 2001-01-01"),
    ("max = 3", "allows 3 and met more"),
    ("test = TestOther", "matched nothing"),
])
def test_what_the_policy_does_not_ignore_fails(module, tmp_path, more, text):
    options = policy(tmp_path, """
[pool]
reason = the pool is global
package = example.com/leaks/workers
%s
""" % more)
    run = go_test(module, "Leaky", packages=["workers"], options=options)
    assert run.status == tool.FINDINGS, run
    assert text in " ".join(run.err.split()), run


@pytest.mark.parametrize("text,where", [
    ("[a]\nreason = x\nfunctoin = y\n", ":3: unknown key 'functoin'"),
    ("[a]\nfunction = y\n", ":1: rule 'a' without a reason"),
    ("[a]\nreason = x\n", ":1: rule 'a' would match everything"),
    ("[a]\nreason = x\nfile = y\nexpires = soon\n", ":4: 'soon' is no date"),
    ("[a]\nreason = x\nfile = y\nmax = 0\n", ":4: max"),
    ("reason = x\n", ":1: 'reason' outside a rule"),
])
def test_broken_policy(tmp_path, text, where):
    run = gate.gate("true", options=policy(tmp_path, text))
    assert run.status == tool.USAGE, run
    assert where in run.err, run
