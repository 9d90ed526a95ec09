# SPDX-License-Identifier: Apache-2.0
"""A target whose memory lies: bounded, marked, no crash, nothing else lost.

A program that stands still (SIGSTOP) is changed word by word through
/proc/PID/mem; each change is looked at by stranded and taken back.
"""
import os
import random

import pytest

import memory
import tool

SANITIZED = "san" in os.path.basename(os.path.dirname(tool.binary()))
LONG = os.environ.get("STRANDED_TEST_LONG") == "1"
SECONDS = 30 if SANITIZED else 8
RSS = 1 << 40 if SANITIZED else 400 << 20
ROUNDS = 400 if LONG else 60


@pytest.fixture
def liar(victim):
    with tool.Program(victim("waits")) as program:
        known = program.truth()
        m = memory.Memory(program)
        m.known = known
        yield m
        m.close()


def look(m, *args):
    """One look; returns the report or None when nothing could be judged."""
    result = tool.stranded(*(args or ("ps", "--format", "json", "--stacks")),
                           m.pid, timeout=SECONDS)
    assert 0 <= result.status <= 3, result
    assert result.max_rss < RSS, result.max_rss
    if result.status == tool.NOTHING:
        assert result.err.startswith("stranded: ") or \
            result.json["target"]["no_runtime"], result
        return None
    return result.json


def lies_for(addr):
    return (0, addr, addr + 1, (1 << 64) - 1, 1 << 47, 1 << 63, 0x41414141)


def chan_of(m, name):
    g = [g for g in m.known["goroutines"] if g["name"] == name][0]
    return g["id"], int(g["objects"][0]["addr"], 16)


def others_survive(m, ids, lost, what=""):
    """All goroutines but the one lied about are still listed."""
    report = look(m)
    assert report is not None, what
    seen = {int(t["id"]) for t in report["tasks"]}
    missing = ids - seen - {lost}
    assert not missing, "%s: lost %s" % (what, sorted(missing))


def test_lies_in_a_goroutines_record(liar):
    ids = {g["id"] for g in liar.known["goroutines"]}
    number, chan = chan_of(liar, "chan-recv")
    _, g = liar.waiter_of(chan)
    others_survive(liar, ids, None)
    for at in range(0, 57 * memory.WORD, memory.WORD):
        for lie in lies_for(g + at):
            liar.write(g + at, lie)
            others_survive(liar, ids, number,
                                   "+%d: 0x%x" % (at, lie))
            liar.restore()
    others_survive(liar, ids, None)


def test_lies_in_a_waiters_list(liar):
    ids = {g["id"] for g in liar.known["goroutines"]}
    for name in ("chan-recv", "select-many"):
        number, chan = chan_of(liar, name)
        sudog, _ = liar.waiter_of(chan)
        for base, n in ((sudog, 13), (chan, 12)):
            for at in range(0, n * memory.WORD, memory.WORD):
                for lie in (base, base + at, sudog, chan, (1 << 64) - 1):
                    liar.write(base + at, lie)
                    others_survive(liar, ids, number,
                                   "+%d: 0x%x" % (at, lie))
                    liar.restore()


def test_every_list_is_a_circle(liar):
    """All sudogs of all channels point at themselves, all at once."""
    for said in liar.known["goroutines"]:
        for o in said.get("objects", []):
            if o["kind"] != "chan":
                continue
            try:
                sudog, _ = liar.waiter_of(int(o["addr"], 16))
            except LookupError:
                continue
            for at in range(8, 96, 8):
                if liar.word(sudog + at) == 0:
                    liar.write(sudog + at, sudog)
    report = look(liar)
    assert report is not None
    assert len(report["tasks"]) >= len(liar.known["goroutines"])


def test_lies_on_a_stack(liar):
    ids = {g["id"] for g in liar.known["goroutines"]}
    number, chan = chan_of(liar, "chan-recv")
    _, g = liar.waiter_of(chan)
    low, high = liar.words(g, 2)
    sp = liar.word(g + 56)
    assert low < sp < high
    for at in range(sp, min(high, sp + 64 * memory.WORD), memory.WORD):
        for lie in (0, at, sp, low - 8, high, liar.word(g + 64), 1 << 63):
            liar.write(at, lie)
            others_survive(liar, ids, number,
                                   "+%d: 0x%x" % (at, lie))
            liar.restore()


def test_a_length_without_end(liar):
    headers = liar.all_gs()
    assert headers, "allgs was not found"
    for n in (1 << 62, (1 << 64) - 1, 1 << 33, 1 << 24):
        for header in headers:
            liar.write(header + 8, n)
            liar.write(header + 16, n)
        report = look(liar)
        if report is not None:
            assert report["gaps"], "it was believed"
        liar.restore()


def test_the_list_of_goroutines_is_itself(liar):
    for header in liar.all_gs():
        liar.write(header, header)
    look(liar)
    liar.restore()
    for header in liar.all_gs():
        first = liar.word(header)
        array, n = first, liar.word(header + 8)
        for i in range(n):  # every entry is the same goroutine
            liar.write(array + i * memory.WORD, liar.word(array))
    report = look(liar)
    assert report is None or len(report["tasks"]) <= 1 or report["gaps"]


def test_lies_in_the_module_data(liar):
    module = liar.module_data()
    if module is None:
        pytest.skip("the module data was not found by this test")
    for at in range(0, 48 * memory.WORD, memory.WORD):
        for lie in lies_for(module + at):
            liar.write(module + at, lie)
            look(liar)
            liar.restore()


@pytest.mark.parametrize("seed", range(2))
def test_random_lies_everywhere(liar, seed):
    rng = random.Random(seed)
    spots = []
    for start, end, _ in liar.regions():
        data = liar.read(start, min(end - start, 64 << 20))
        spots += [start + i for i in range(0, len(data) - 7, 8)
                  if data[i:i + 8] != bytes(8)]
    assert len(spots) > 1000
    for _ in range(ROUNDS):
        for addr in rng.sample(spots, rng.choice((1, 10, 200, 3000))):
            value = liar.word(addr)
            liar.write(addr, rng.choice((
                0, addr, value + 1, value ^ 1 << rng.randrange(64),
                liar.word(rng.choice(spots)), (1 << 64) - 1,
                rng.getrandbits(64))))
        look(liar)
        look(liar, "check", "--quick", "--format", "json")
        look(liar, "ps", "--format", "json")
        liar.restore()
    report = look(liar)
    assert len(report["tasks"]) >= len(liar.known["goroutines"])
