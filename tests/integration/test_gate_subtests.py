# SPDX-License-Identifier: Apache-2.0
"""Which subtest left a goroutine behind, beside what the test itself says."""
import os
import re

import pytest

import gate
import gobuild
import tool

OLD, FIRST, NEWEST = "1.19.13", "1.21.13", None
# Wherever a struct of package testing, or the start of its goroutines, moved.
OTHERS = ["1.17.13", "1.18.10", "1.20.14", "1.22.12", "1.23.12", "1.24.13",
          "1.25.14", "1.26.11", "1.27.4"]
TESTS = "Pool|Table|Nested|Parallel|Grandchild|Busy"


def go_test(which, toolchain=None, options=(), arguments=(), hold="150ms",
            env=None):
    return gate.gate(
        "go", "test", "-v", "-count=1", "-run", which, *arguments, ".",
        cwd=os.path.join(gobuild.ROOT, "tests", "victims", "subtests"),
        options=options, env=dict(gate.go_env(toolchain), HOLD=hold,
                                  **(env or {})))


def truth(run):
    """{goroutine: test}, as the victim has it."""
    text = run.out.decode() + run.err
    return dict(re.findall(r"^LEAK (\d+) (\S+)$", text, re.M))


def found(run):
    """{goroutine: test}, as the report shows it, the first of each leak; "":
    none."""
    said = " ".join(run.err.split())
    return {goid: test for test, goid in re.findall(
        r"left behind: [a-z ]*? in (?:(\S+) of )?example.com\S+ "
        r"process .*? Goroutine (\d+) in state", said)}


def leaks(run):
    """Those of the tests; Go's own tools before 1.18 do not say that they are."""
    return [l for p, l in run.leaks if p["package"] == "example.com/subtests"]


def parents_are_known(toolchain):
    return not toolchain or gobuild.number(toolchain) >= (1, 21)


def check(run, toolchain):
    """Every name, where parents are known, and no wrong one anywhere."""
    assert run.status == tool.FINDINGS, run
    want, got = truth(run), found(run)
    assert want and sum(l["count"] for l in leaks(run)) == len(want), run
    assert got and set(got) <= set(want), run
    if parents_are_known(toolchain):
        assert got == want, run
        names = sorted(l["test"] for l in leaks(run))
        assert names == sorted(want.values()), run
        return
    for goid, test in got.items():
        assert test in ("", want[goid].split("/")[0], want[goid]), run


@pytest.mark.parametrize("toolchain", [OLD, FIRST, NEWEST])
def test_each_subtest_has_its_name(toolchain):
    run = go_test(TESTS, toolchain)
    check(run, toolchain)
    assert len(truth(run)) == 2 + 9 + 4 + 4 + 1 + 2 + 1     # FuzzPool's seed
    assert "TestTable/a_b/ü" in truth(run).values()


@pytest.mark.slow
@pytest.mark.parametrize("toolchain", OTHERS)
def test_each_subtest_has_its_name_in_other_versions(toolchain):
    check(go_test(TESTS, toolchain), toolchain)


@pytest.mark.parametrize("arguments", [
    ["-cover"], ["-gcflags=all=-N -l"], ["-ldflags=-linkmode=external"],
    ["-ldflags=-s -w"],
])
def test_ways_to_build(arguments):
    check(go_test("Nested|Parallel", arguments=arguments,
                  env={"CGO_ENABLED": "1"}), NEWEST)


@pytest.mark.slow
def test_race_detector():
    check(go_test(TESTS, arguments=["-race"], env={"CGO_ENABLED": "1"}),
          NEWEST)


def test_by_ptrace():
    """There, those that are only slow to end are reported as well."""
    run = go_test("Pool|Parallel", options=["--how", "ptrace"])
    want, got = truth(run), found(run)
    assert want and {g: t for g, t in got.items() if g in want} == want, run


def test_benchmarks():
    run = go_test("XXX", arguments=["-bench", "Pool", "-benchtime=1x"])
    names = set(truth(run).values())
    assert names == {"BenchmarkPool/redial"}, run
    assert run.status == tool.FINDINGS, run
    assert {l["test"] for l in leaks(run)} == names, run


def test_a_bubble_of_synctest():
    """Its T has its parent's name, one level further down."""
    run = go_test("Synctest", "1.27.4", env={"GODEBUG": "asynctimerchan=0"})
    check(run, "1.27.4")


@pytest.mark.parametrize("toolchain", [OLD, NEWEST])
def test_who_hangs_is_named(toolchain):
    """A goroutine that runs a test needs no parents to be known."""
    go_test("XXX", toolchain)       # what is compiled need not be waited for
    run = go_test("Hang", toolchain, options=["--timeout", "8s"])
    assert run.status == 124, run
    tests = {l["test"] for p in run.report["hung"] for l in p["leaks"]
             if any(f["function"] == "time.Sleep" for f in l["stack"])}
    assert tests == {"TestHang/inner"}, run


def test_no_name_is_wrong_when_tests_are_short():
    """Those that end between two looks have the name that functions tell."""
    run = go_test("Pool|Table|Nested", hold="1ms")
    want, got = truth(run), found(run)
    assert want and sum(l["count"] for l in leaks(run)) == len(want), run
    assert got and set(got) <= set(want), run
    for goid, test in got.items():
        assert not test or (want[goid] + "/").startswith(test + "/"), run


def test_policy_by_the_name_of_a_subtest(tmp_path):
    path = tmp_path / "policy.ini"
    for glob, left in (("TestPool/re*l", ["TestPool/resize"]),
                       ("TestPool", [])):
        path.write_text("[pool]\nreason = global\ntest = %s\n" % glob)
        run = go_test("TestPool", options=["--policy", path])
        assert [l["test"] for l in leaks(run)
                if l["status"] == "new"] == left, run
        assert run.status == (tool.FINDINGS if left else 0), run
