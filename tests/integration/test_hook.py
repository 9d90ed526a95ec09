# SPDX-License-Identifier: Apache-2.0
"""The table of coroutines, as the hook writes it: held against what programs
know of themselves. How stranded reads it is another file's matter."""
import json
import os
import re
import shutil
import subprocess

import pytest

import cbuild
import hooktable
import tool
from cbuild import built

# The hook is built without a sanitizer, or with one of its own.
pytestmark = pytest.mark.slow

ARCHIVE = os.path.join(os.path.dirname(tool.binary()), "libstranded-hook.a")


def hooked(*argv):
    return tool.Program(tool.binary(), "run", *argv)


def agrees(truth, read=True):
    """The table of the process that said @truth says the same."""
    table = hooktable.Table(truth["pid"])
    assert sorted(x.fd for x in table.parked() if x.fd >= 0) == \
        sorted(truth["fds"])
    own = [x for x in table.lines if x.flags & hooktable.SYSTEM]
    assert (table.created - len(own), table.ended) == \
        (truth["created"], truth["ended"])
    assert table.dropped == 0
    for line in table.parked() if read else ():
        if line.fd >= 0:
            assert hooktable.OPS[line.op] == "read", line
    return table


# ucontext

def test_every_way_to_begin_and_to_end():
    program = built("ucontexts", ["tests/hook/ucontexts.c"])
    with hooked(program, "kinds") as contexts:
        agrees(contexts.truth())
        agrees(json.loads(contexts.ask("go")))      # ended by uc_link
        agrees(json.loads(contexts.ask("go")))      # ended by setcontext


def test_contexts_that_are_saved_alone_and_copied():
    program = built("ucontexts", ["tests/hook/ucontexts.c"])
    with hooked(program, "saved") as contexts:
        table = agrees(contexts.truth())
        # where they stand now, not where they were first
        for line in table.parked():
            assert 0 < line.stack_hi - line.sp < 64 * 1024
        again = agrees(json.loads(contexts.ask("go")))
        assert not [x for x in again.lines if x.state == hooktable.RUNNING]
        for old, new in zip(table.parked()[-2:], again.parked()[-2:]):
            assert new.seq > old.seq


def test_who_has_lost_the_stack_has_ended():
    program = built("ucontexts", ["tests/hook/ucontexts.c"])
    with hooked(program, "freed") as contexts:
        truth = contexts.truth()
        assert truth["ended"] == 66
        agrees(truth)


def test_coroutines_that_change_threads():
    program = built("ucontexts", ["tests/hook/ucontexts.c"])
    with hooked(program, "threads", 500, 4) as contexts:
        table = agrees(contexts.truth())
        assert [(s.created, s.ended) for s in table.sites] == [(500, 0)]
        for line in table.parked():
            assert line.flags & hooktable.PC_RETURN
            assert 0 < line.stack_hi - line.sp < 64 * 1024


def test_a_child_of_fork_has_a_table_of_its_own():
    program = built("ucontexts", ["tests/hook/ucontexts.c"])
    with hooked(program, "fork", 100) as contexts:
        both = [json.loads(contexts.line()) for _ in range(2)]
        assert {t["created"] for t in both} == {100, 150}
        for truth in both:
            assert agrees(truth).pid == truth["pid"]


HOOK = ["runtime-hooks/coroutine/hook/%s.c" % name for name in
        ("stacks", "table", "ucontext")]
QUIET = dict(os.environ, ASAN_OPTIONS="verify_asan_link_order=0:"
             "detect_leaks=0")


@pytest.mark.parametrize("mode", [["kinds"], ["saved"], ["threads", 200, 4],
                                  ["fork", 50]])
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_the_switches_pass_the_sanitizers(sanitizer, mode):
    """The hook's own code is looked at, too: it is part of the program."""
    program = built("ucontexts-san", ["tests/hook/ucontexts.c"] + HOOK,
                    "-D_GNU_SOURCE", "-fsanitize=" + sanitizer, "-rdynamic",
                    "-fno-sanitize-recover=all")
    result = subprocess.run([program, *map(str, mode)], input="\n" * 9,
                            text=True, capture_output=True, timeout=120,
                            env=QUIET)
    assert result.returncode == 0, result
    # AddressSanitizer says of each such program that it may err
    found = [x for x in result.stderr.splitlines() if x
             and "doesn't fully support makecontext/swapcontext" not in x]
    assert not found


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_a_program_under_a_sanitizer_is_seen(sanitizer):
    """Which has a swapcontext() of its own, with a frame on each stack."""
    program = built("ucontexts-by-" + sanitizer, ["tests/hook/ucontexts.c"],
                    "-fsanitize=" + sanitizer)
    for mode, answers in (("kinds", 3), ("saved", 2)):
        with tool.Program(tool.binary(), "run", program, mode, env=QUIET) as p:
            agrees(p.truth())
            for _ in range(answers - 1):
                agrees(json.loads(p.ask("go")))


def test_without_the_hook_the_programs_do_the_same():
    for name, libraries, mode in (("ucontexts", [], ["kinds"]),
                                  ("ucontexts", [], ["saved"]),
                                  ("pths", ["-lpth"], []),
                                  ("pcls", ["-lpcl"], [])):
        program = built(name, ["tests/hook/%s.c" % name], *libraries)
        out = []
        for argv in ([program, *mode], [tool.binary(), "run", program, *mode]):
            done = subprocess.run(argv, input="\n" * 9, text=True,
                                  capture_output=True, timeout=60)
            assert done.stderr == ""
            out.append((done.returncode,
                        re.sub(r'"pid": \d+', "", done.stdout)))
        assert out[0] == out[1]


# Libraries

def test_pth_threads_say_what_they_wait_for():
    program = built("pths", ["tests/hook/pths.c"], "-lpth")
    with hooked(program, 20) as pths:
        table = agrees(pths.truth())
        by_op = {}
        for line in table.parked():
            assert line.flags & hooktable.FD_TOLD
            by_op.setdefault(hooktable.OPS[line.op], []).append(line)
        assert {op: len(v) for op, v in by_op.items()} == \
            {"read": 20, "sleep": 1}
        # sites are the program's calls
        symbols = nm(program, pths.pid)
        names = sorted((symbols.get(s.start, "-"), s.created, s.ended)
                       for s in table.sites)
        assert names == [("-", 1, 0), ("end_at_once", 1, 1),
                         ("sleep_long", 1, 0), ("wait_for_data", 20, 0)]


def test_pcl_coroutines_end_and_its_own_is_marked():
    program = built("pcls", ["tests/hook/pcls.c"], "-lpcl")
    with hooked(program, 20) as pcls:
        table = agrees(pcls.truth())
        symbols = nm(program, pcls.pid)
        names = sorted((symbols.get(s.start, "-"), s.created, s.ended)
                       for s in table.sites)
        assert names == [("-", 1, 0), ("end_at_once", 1, 1),
                         ("wait_for_data", 20, 0)]


def nm(program, pid):
    """Functions of a running program by their addresses there."""
    with open("/proc/%d/maps" % pid) as f:
        base = min(int(line.split("-")[0], 16) for line in f
                   if line.rstrip().endswith(program))
    out = subprocess.run(["nm", program], check=True, capture_output=True,
                         text=True).stdout
    found = re.findall(r"^(\w+) [tT] (\w+)$", out, re.M)
    return {base + int(address, 16): name for address, name in found}


# Programs that describe their own

@pytest.fixture(scope="module")
def described():
    return built("described", ["tests/hook/described.c"], ARCHIVE)


def of_program(program):
    """Where the table of a program with the .a is."""
    out = subprocess.run(["nm", program], check=True, capture_output=True,
                         text=True).stdout
    return int(re.search(r"(\w+) \w stranded_hook_table_v1", out).group(1), 16)


def own_table(program, child):
    with open("/proc/%d/maps" % child.pid) as f:
        base = min(int(line.split("-")[0], 16) for line in f
                   if line.rstrip().endswith(program))
    return hooktable.Table(child.pid, base + of_program(program))


@pytest.mark.parametrize("under_run", [False, True])
def test_switches_of_ones_own_are_seen_by_their_description(described,
                                                            under_run):
    prefix = [tool.binary(), "run"] if under_run else []
    with tool.Program(described, 20, prefix=prefix) as child:
        truth = child.truth()
        table = own_table(described, child)
        assert sorted(x.fd for x in table.parked()) == sorted(truth["fds"])
        assert (table.created, table.ended) == (22, 2)
        for line in table.parked():
            assert line.flags & hooktable.FD_TOLD
            assert not line.flags & hooktable.PC_RETURN
            assert 0 < line.stack_hi - line.sp < 64 * 1024
        if under_run:
            # who brings a hook of its own is not listed twice
            other = hooktable.Table(child.pid)
            assert (other.activity, other.lines) == (0, [])


@pytest.mark.parametrize("under_run", [False, True])
def test_two_libraries_with_a_hook_each_and_one_that_was_closed(under_run):
    include = os.path.join(cbuild.ROOT, "runtime-hooks/coroutine/include")
    libraries = [built(name, ["tests/hook/copies.c"], "-DLIBRARY", "-fPIC",
                       "-shared", "-I", include, '-DNAME="%s"' % name, ARCHIVE)
                 for name in ("one", "two")]
    program = built("copies", ["tests/hook/copies.c"], "-I", include, "-ldl")
    prefix = [tool.binary(), "run"] if under_run else []
    shared = os.path.splitext(ARCHIVE)[0] + ".so"
    with tool.Program(program, shared, *libraries, prefix=prefix) as child:
        truth = child.truth()
        assert (truth["kept"], truth["tasks"]) == (1, 6)
        tasks = tool.stranded("ps", "--format", "json", truth["pid"]).json
        names = [t["name"] for t in tasks["tasks"]
                 if t["runtime"] == "coroutine"]
        assert sorted(names) == ["one"] * 3 + ["two"] * 3
        ids = {t["id"] for t in tasks["tasks"]}
        assert len(ids) == len(tasks["tasks"])


def test_a_million_lines_take_64_bytes_each(described):
    with tool.Program(described, "lines", 1000000) as child:
        truth = child.truth()
        assert truth["created"] == 1000000
        table = own_table(described, child)
        assert (table.created, table.ended, table.dropped) == (1000000, 0, 0)
        # of 64 bytes: 62,500 KiB; and a few pages of the rest
        assert truth["kib"] < 62500 + 1024


def test_threads_share_the_table_without_a_race(tmp_path):
    program = built("race", ["tests/hook/race.c",
                             "runtime-hooks/coroutine/hook/table.c"],
                    "-D_GNU_SOURCE", "-fsanitize=thread", "-ldl")
    done = subprocess.run([program, "4", "20000"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    truth = json.loads(done.stdout)
    assert truth["created"] == 80000
    assert 80000 - truth["ended"] <= 64


def test_the_header_is_good_for_cxx_and_alone(tmp_path):
    """As installed: beside nothing else; and with the library left out."""
    header = os.path.join(cbuild.ROOT, "runtime-hooks/coroutine/include")
    source = tmp_path / "optional.cc"
    source.write_text("""
#define STRANDED_HOOK_OPTIONAL
#include <stranded/hook.h>
#include <cstdio>
int main()
{
	stranded_task *t = stranded_task_create("x", nullptr, nullptr);
	stranded_task_switch(t);
	stranded_unpark(t);
	stranded_park(t, STRANDED_READ, 0);
	stranded_task_end(t);
	std::puts(t ? "listed" : "not listed");
}
""")
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    program = str(tmp_path / "optional")
    subprocess.run(["g++", "-Wall", "-Wextra", "-Werror", "-I", header,
                    str(source), "-o", program], check=True)
    assert tool.run([program]).out == "not listed\n"
    assert tool.stranded("run", program).out == "listed\n"
