# SPDX-License-Identifier: Apache-2.0
"""What the hook notes of programs that know nothing of it: the table itself is
held against what each program says."""
import json
import os
import socket
import subprocess

import pytest

import cbuild
import hooktable
import tool
from cbuild import built

# The hook is built without a sanitizer.
pytestmark = pytest.mark.slow


def hooked(*argv):
    return tool.Program(tool.binary(), "run", *argv)


def same(*argv, env=None):
    """It says and answers the same with the hook and without; returns that."""
    plain = tool.run(list(argv), env=env)
    other = tool.stranded("run", "--", *argv, env=env)
    assert (other.status, other.out, other.err) == \
        (plain.status, plain.out, plain.err), (plain, other)
    return other


def fds(lines):
    return sorted(x.fd for x in lines if x.fd >= 0)


# Calls.

def test_every_call_answers_as_without_the_hook():
    program = built("calls", ["tests/hook/calls.c"], "-D_GNU_SOURCE", "-w")
    result = same(program)
    assert result.out.count("Resource temporarily unavailable") >= 18
    assert "Function not implemented" not in result.out


def test_a_thread_is_cancelled_in_a_call_as_without_the_hook():
    program = built("cancel", ["tests/hook/cancel.c"])
    assert same(program).out == "recv: cancelled\npoll: cancelled\n" \
        "accept: cancelled\nread: cancelled\n"


# Linked into a program, the hook is code of its own to a sanitizer. Thread
# Sanitizer makes its own first calls through what it finds there, before it is
# ready: it sees what threads share alone.

HOOK = ["runtime-hooks/coroutine/hook/%s.c" % name for name in
        ("io", "real", "seen", "stacks", "table")]
HOOK_FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-ftls-model=initial-exec",
              "-iquote", cbuild.ROOT, "-I",
              cbuild.ROOT + "/runtime-hooks/coroutine/include"]


def test_the_calls_pass_the_sanitizers():
    plain = built("calls", ["tests/hook/calls.c"], "-D_GNU_SOURCE", "-w")
    checked = built("calls-san", ["tests/hook/calls.c"] + HOOK, *HOOK_FLAGS,
                    "-w", "-fsanitize=address,undefined",
                    "-fno-sanitize-recover=all")
    a, b = tool.run([plain]), tool.run([checked])
    assert (b.status, b.out, b.err) == (0, a.out, ""), (a, b)


def test_stacks_are_found_by_threads_at_once_under_thread_sanitizer():
    program = built("stacks-tsan", ["tests/unit/test_hook_stacks.c",
                                    "base/error.c"],
                    *HOOK_FLAGS, "-fsanitize=thread", "-lcmocka")
    result = tool.run([program])
    assert result.status == 0 and "WARNING" not in result.err, result


# Boost.Context.

@pytest.mark.parametrize("threads", [1, 3])
def test_fibers_are_parked_on_the_fd_that_answered_last(threads):
    program = built("fibers", ["tests/hook/fibers.cc"], "-lboost_fiber",
                    "-lboost_context")
    with hooked(program, 200, threads) as fibers:
        truth = fibers.truth()
        assert threads == 1 or truth["moved"] > 0, truth
        # who has just noted its answer may be on its way into the wait
        tool.wait_until(lambda: fds(hooktable.Table(fibers.pid).parked()) ==
                        sorted(truth["fds"]))
        table = hooktable.Table(fibers.pid)
        assert fds(table.parked()) == sorted(truth["fds"])
        for line in table.parked():
            assert hooktable.OPS[line.op] == "read"
            assert not line.flags & hooktable.FD_TOLD
            assert line.flags & hooktable.PC_RETURN
            assert 0 < line.stack_hi - line.sp < 1 << 20
        assert len(table.parked()) == 200
        # one more for each thread, that of its scheduler
        assert table.created == 200 + threads
        assert len([x for x in table.lines
                    if x.flags & hooktable.SYSTEM]) == threads
        assert table.dropped == 0
        assert json.loads(fibers.ask("go"))["ended"] == 200
        # and the schedulers of the threads, but for that of the first
        ended = 200 + threads - 1
        tool.wait_until(lambda: hooktable.Table(fibers.pid).ended == ended)
        table = hooktable.Table(fibers.pid)
        assert table.ended == ended
        assert fds(table.parked()) == []


def test_fibers_that_come_and_go_on_several_threads_are_all_counted():
    program = built("churn", ["tests/hook/churn.cc"], "-lboost_fiber",
                    "-lboost_context")
    with hooked(program, 20000, 3) as churn:
        assert churn.line(timeout=120) == "22000"
        table = hooktable.Table(churn.pid)
        # with the schedulers of three threads, of which one still runs
        assert (table.created, table.ended) == (22003, 22002)
        assert table.dropped == 0
        # lines are given out again
        assert len(table.all) < 2000
        assert [x.flags & hooktable.SYSTEM for x in table.lines] == \
            [hooktable.SYSTEM]


def test_coroutines_of_asio_are_listed_as_long_as_they_live():
    """Boost.Coroutine tells no end: the stack is freed, that is all."""
    program = built("spawn", ["tests/hook/spawn.cc"], "-lboost_coroutine",
                    "-lboost_context")
    with hooked(program) as spawn:
        truth = spawn.truth()
        assert truth["over"] == 15 and len(truth["fds"]) == 6, truth
        table = hooktable.Table(spawn.pid)
        # the acceptor, five clients and their sessions
        assert len(table.parked()) == 11
        assert table.created - table.ended == 11
        assert set(truth["fds"]) <= set(fds(table.parked()))
        assert [x.fd for x in table.parked()
                if hooktable.OPS[x.op] == "accept"] == truth["fds"][:1]


def test_contexts_end_when_they_end_and_not_before():
    program = built("contexts", ["tests/hook/contexts.cc"], "-lboost_context")
    with hooked(program, 10) as contexts:
        truth = contexts.truth()
        table = hooktable.Table(contexts.pid)
        assert table.created == truth["created"] == 40
        # a coroutine2 that has returned waits on its stack to be destroyed
        # (boost/coroutine2/detail/pull_control_block_cc.ipp), as a zombie does
        assert len(table.parked()) == truth["parked"] + 10 == 30
        assert table.ended == 10
        # by kind: each kind is a template of its own, hence a site
        assert sorted((s.created, s.ended) for s in table.sites
                      if s.created) == [(10, 0)] * 2 + [(10, 5)] * 2
        contexts.ask("go")
        table = hooktable.Table(contexts.pid)
        assert (table.created, table.ended, table.lines) == (40, 40, [])


@pytest.mark.parametrize("how, created", [
    (["-lboost_context"], 1),
    # what it saves is not known: nothing is listed, and all goes well
    (["-DOTHER"], 0)])
def test_a_plugin_with_boost_of_its_own_switches(how, created):
    program = built("plugin", ["tests/hook/plugin.c"], "-ldl")
    library = built("plugin.so", ["tests/hook/plugin.c"], "-DPLUGIN", "-fPIC",
                    "-shared", *how)
    with hooked(program, library) as plugin:
        assert plugin.line() == "9"
        table = hooktable.Table(plugin.pid)
        assert (table.created, len(table.parked())) == (created, created)


def test_who_is_thrown_away_ends_with_its_stack():
    program = built("abandon", ["tests/hook/abandon.c"], "-lboost_context")
    with hooked(program) as abandon:
        known = abandon.truth()
        table = hooktable.Table(abandon.pid)
        assert (table.created, table.ended) == (known["made"],
                                                known["gone"])
        assert len(table.parked()) == known["made"] - known["gone"]


# Switches that cannot be hooked.

def test_the_last_call_on_each_stack_is_kept_and_marked():
    program = built("ownswitch", ["tests/hook/ownswitch.c"])
    with hooked(program, 50) as own:
        known = json.loads(own.line())
        table = hooktable.Table(own.pid)
        assert table.parked() == []
        assert fds(table.seen()) == sorted(known)
        for line in table.seen():
            assert hooktable.OPS[line.op] == "read"
            assert 0 < line.stack_hi - line.sp < 64 * 1024
        # their answers take the records back, but for the first
        own.ask("go")
        assert fds(hooktable.Table(own.pid).seen()) == known[:1]
        # who closes a file does not wait for it
        own.ask("go")
        assert fds(hooktable.Table(own.pid).seen()) == []
        # what is unmapped is gone
        own.ask("go")
        table = hooktable.Table(own.pid)
        assert table.lines == []
        assert table.created == table.ended == 50


def test_connections_of_state_threads_are_seen(tmp_path):
    """Its server, which waits for what its clients will never send."""
    examples = "/usr/share/doc/libst-dev/examples"
    if not os.path.exists(examples):
        pytest.skip("needs the examples of State Threads; apt-get install "
                    "libst-dev")
    program = built("st-server", [examples + "/server.c",
                                  examples + "/error.c"],
                    "-w", "-l:libst.a")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    child = subprocess.Popen(
        [tool.binary(), "run", program, "-l", str(tmp_path), "-i", "-p", "1",
         "-t", "20:30", "-b", "127.0.0.1:%d" % port], cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        clients = []

        def connected():
            try:
                clients.append(socket.create_connection(("127.0.0.1", port)))
            except OSError:
                pass
            return len(clients) >= 20
        assert tool.wait_until(connected)

        def waiting():
            lines = hooktable.Table(child.pid).seen()
            return [x for x in lines if hooktable.OPS[x.op] == "read"
                    and is_socket(child.pid, x.fd)]
        # a server's threads: 20 of them may serve at once
        assert tool.wait_until(lambda: len(waiting()) == 20), waiting()
        assert len(set(fds(waiting()))) == 20
        for c in clients:
            c.close()
    finally:
        child.kill()
        child.wait()


def is_socket(pid, fd):
    try:
        return os.readlink("/proc/%d/fd/%d" % (pid, fd)).startswith("socket:")
    except OSError:
        return False


# Other tools in the same process.

def test_a_program_under_address_sanitizer_runs():
    """No further than it does without the hook: what unwinds a context of
    Boost's is an error to it, which Boost must be told of when it is built."""
    program = built("contexts-asan", ["tests/hook/contexts.cc"],
                    "-fsanitize=address", "-lboost_context")
    with tool.Program(tool.binary(), "run", program, 10, env=dict(
            os.environ, ASAN_OPTIONS="verify_asan_link_order=0")) as contexts:
        assert contexts.truth()["parked"] == 20
        table = hooktable.Table(contexts.pid)
        assert (table.created, table.ended) == (40, 10)


def test_a_program_under_thread_sanitizer_runs():
    program = built("calls-tsan", ["tests/hook/calls.c"], "-D_GNU_SOURCE",
                    "-w", "-fsanitize=thread")
    same(program)
