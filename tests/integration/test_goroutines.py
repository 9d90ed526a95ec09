# SPDX-License-Identifier: Apache-2.0
"""Goroutines against the program's own account of them.

The whole table of versions and flavours is tests/matrix; here are the default
toolchain, Debian's version, and a program that does not stand still.
"""
import json
import os
import time

import pytest

import dump
import tool
import truth

LONG = os.environ.get("STRANDED_TEST_LONG") == "1" or \
    os.environ.get("CI") == "true"
CHURN_SECONDS = 60 if LONG else 8


def parked(own):
    """All but those whose stack is that of the dumper."""
    return {n: g for n, g in own.items()
            if not any(f.function == "main.control" for f in g.frames)}


@pytest.mark.parametrize("toolchain,flavour", [
    (None, "plain"), (None, "stripped"), ("1.19.13", "plain"),
    ("1.19.13", "cgo"), ("1.27.4", "pie-no-sections")])
def test_every_goroutine_as_go_itself_prints_it(victim, toolchain, flavour):
    with tool.Program(victim("waits", toolchain, flavour)) as program:
        known = program.truth()
        assert known["complete"]
        own = parked(dump.parse(tool.own_dump(program)))
        result = tool.stranded("ps", "--format", "debug2", program.pid)
        assert result.status == tool.CLEAN, result
        seen = parked(dump.parse(result.out))
        n, found = dump.compare(own, seen)
        assert not found, "\n".join(found)
        assert n >= 70
        listed = tool.stranded("ps", "--format", "json", "--stacks",
                               program.pid)
        found = truth.check(known, listed.json)
        assert not found, "\n".join(found)


def test_running_goroutines_have_no_invented_stack(waits):
    assert waits.ask("spin 1") == "spinning 1"
    own = {t["id"] for t in waits.known["goroutines"]}
    for _ in range(20):
        result = tool.stranded("ps", "--format", "json", "--stacks",
                               waits.pid)
        assert result.status in (tool.CLEAN, tool.GAPS), result
        for task in result.json["tasks"]:
            if task["state"] == "running":
                assert not task.get("stack"), task
                assert int(task["id"]) not in own, task
    waits.ask("nospin")


@pytest.mark.parametrize("toolchain", [None, "1.19.13"])
def test_blocked_for_encloses_the_truth(victim, toolchain):
    """The runtime's own mark is the time of the collection *before* the one
    that saw the goroutine wait: it must not be taken for a lower bound."""
    with tool.Program(victim("waits", toolchain),
                      env=dict(os.environ, GOGC="off")) as p:
        p.truth()
        time.sleep(0.5)
        begin = time.monotonic_ns()
        known = json.loads(p.ask("park 20"))
        end = time.monotonic_ns()
        for _ in range(3):
            p.ask("gc")
            time.sleep(0.5)
            encloses(p, known, begin, end)


def encloses(p, known, begin, end):
    """All "parked" goroutines began to wait between @begin and @end."""
    before = time.monotonic_ns()
    result = tool.stranded("ps", "--format", "json", p.pid)
    after = time.monotonic_ns()
    tasks = truth.tasks_by_id(result.json)
    ids = [g["id"] for g in known["goroutines"] if g["name"] == "parked"]
    assert len(ids) == 20
    for number in ids:
        blocked = tasks[number]["blocked_ms"]
        assert blocked["at_least"] <= (after - begin) / 1e6 + 5, blocked
        assert blocked["at_most"] >= (before - end) / 1e6 - 5, blocked


@pytest.mark.slow
@pytest.mark.parametrize("toolchain", [None, "1.19.13"])
def test_no_wrong_stack_under_100000_creations_a_second(victim, toolchain):
    with tool.Program(victim("waits", toolchain)) as program:
        program.truth()
        program.ask("park 1000")
        own = parked(dump.parse(tool.own_dump(program)))
        own = {n: g for n, g in own.items() if not g.running}
        program.ask("churn 100000")
        time.sleep(0.5)
        first = int(program.ask("created").split()[1])
        begin = time.monotonic()
        rounds = torn = 0
        while time.monotonic() - begin < CHURN_SECONDS:
            result = tool.stranded("ps", "--format", "debug2", program.pid)
            assert result.status in (tool.CLEAN, tool.GAPS), result
            seen = dump.parse(result.out)
            missing = own.keys() - seen.keys()
            assert not missing, "not listed: %s\n%s" % (missing, result.err)
            _, found = dump.compare(own, {n: seen[n] for n in own})
            assert not found, "round %d: %s" % (rounds, "\n".join(found))
            listed = tool.stranded("ps", "--format", "json", program.pid)
            assert listed.status in (tool.CLEAN, tool.GAPS), listed
            torn += sum(g["count"] for g in listed.json["gaps"]
                        if g["kind"] == "torn")
            rounds += 1
        seconds = time.monotonic() - begin
        rate = (int(program.ask("created").split()[1]) - first) / seconds
        program.ask("calm")
    print("%d snapshots in %.0f s, %.0f creations/s, %d torn and marked"
          % (2 * rounds, seconds, rate, torn))
    assert rounds >= 5
    assert rate > (30000 if not LONG else 50000), \
        "the victim was too slow to prove anything: %.0f/s" % rate
