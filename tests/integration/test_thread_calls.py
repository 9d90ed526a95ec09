# SPDX-License-Identifier: Apache-2.0
"""Native threads: who sits in which call, on which file, and where. The truth
comes from the program itself, from ss, from gdb, and from /proc afterwards."""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import cbuild
import tool
import world

LONG = os.environ.get("STRANDED_TEST_LONG") == "1"
KILLS = 200 if LONG else 20

# Accepts on the port, reads what comes, and never says a word. One line for
# each caller.
SILENT = """
import socket, sys, threading
l = socket.create_server(("10.78.0.2", int(sys.argv[1])))
print("listening", flush=True)
kept = []
while True:
    c, a = l.accept()
    kept.append(c)
    print("%s:%d" % a, flush=True)
    threading.Thread(target=lambda: c.recv(65536), daemon=True).start()
"""


def needs(name, package):
    path = shutil.which(name)
    if not path:
        pytest.skip("needs %s; apt-get install %s" % (name, package))
    return path


def start_blocks(*how):
    program = cbuild.built("blocks", ["tests/victims/threads/blocks.c"])
    running = tool.Program(program, *how)
    running.known = running.truth()
    return running


@pytest.fixture
def blocks():
    with start_blocks() as running:
        yield running


@pytest.fixture
def blind():
    """Its stacks cannot be had to their end, so a stop is of use."""
    with start_blocks("blind") as running:
        yield running


def ps(pid, *more, **run):
    return tool.stranded("ps", "--format", "json", *more, pid, **run)


def by_name(result):
    return {t["name"]: t for t in result.json["tasks"]}


def functions(task):
    return [f["function"] for f in task["stack"]]


# One program with a thread in each kind of call.

def test_every_kind_of_call_its_fds_and_its_stack(blocks):
    result = ps(blocks.pid, "--stacks")
    assert result.status == tool.CLEAN, result
    tasks = by_name(result)
    assert result.json["target"]["pid"] == blocks.pid
    for name, known in blocks.known.items():
        t = tasks[name]
        assert t["runtime"] == "thread"
        assert (t["id"], t["tid"]) == (str(known["tid"]), known["tid"])
        assert t["wait"] == known["call"]
        assert t["state"] == "waiting"
        watched = [f["fd"] for f in t.get("fds") or []]
        seen = watched if t["fd"] is None else \
            [t["fd"]] + sorted(fd for fd in watched if fd != t["fd"])
        assert seen == known["fds"], (name, t)
        # all of its own frames, by the names that it has in the source
        names = functions(t)
        own = [n for n in names if n in ("stuck_in", "thread") or
               n.startswith("in_")]
        assert own[-2:] == ["stuck_in", "thread"], (name, names)
        assert len(own) == 3 and own[0].startswith("in_"), (name, names)
        assert not any(f.get("uncertain") for f in t["stack"])
    assert blocks.ask("status") == "{}"


def test_a_program_without_symbols_has_its_calls_and_fds(tmp_path):
    """Stripped, as what distributions ship."""
    stripped = str(tmp_path / "blocks")
    program = cbuild.built("blocks", ["tests/victims/threads/blocks.c"])
    subprocess.run(["strip", "-o", stripped, program], check=True)
    with tool.Program(stripped) as running:
        known = running.truth()
        tasks = by_name(ps(running.pid, "--stacks"))
        for name, k in known.items():
            assert tasks[name]["wait"] == k["call"]
            # nobody is called by a neighbour's name
            assert not set(functions(tasks[name])) & {
                "stuck_in", "thread", "main", "say_truth", "quiet"}
            assert any(f.startswith("blocks+0x")
                       for f in functions(tasks[name])), tasks[name]


def test_stacks_are_those_that_gdb_shows(blocks):
    gdb = needs("gdb", "gdb")
    tasks = {t["tid"]: functions(t)
             for t in ps(blocks.pid, "--stacks").json["tasks"]}
    out = subprocess.run(
        [gdb, "-p", str(blocks.pid), "-batch", "-nx", "-ex",
         "set debuginfod enabled off", "-ex", "thread apply all bt"],
        capture_output=True, text=True, timeout=120,
        stdin=subprocess.DEVNULL).stdout
    compared = 0
    for part in re.split(r"\nThread \d+ ", out)[1:]:
        tid = int(re.search(r"LWP (\d+)", part).group(1))
        theirs = re.findall(r"^#\d+ +(?:0x\w+ in )?(\S+) \(", part, re.M)
        ours = tasks[tid]
        # the program's own frames, in order: names inside of libc differ
        # between symbols and debug information
        own = [f for f in theirs if f in ("stuck_in", "thread", "main") or
               f.startswith("in_")]
        assert own and own == [f for f in ours if f in own], (ours, theirs)
        compared += 1
    assert compared == len(blocks.known) + 1


def test_a_thread_without_a_stack_is_not_given_one(blocks):
    """It runs: there is no stack to be had without a stop."""
    spin = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        task = ps(spin.pid, "--stacks").json["tasks"][0]
        assert task["state"] == "running"
        assert not task["stack"]
        stopped = ps(spin.pid, "--stacks", "--stop")
        assert "_PyEval_EvalFrameDefault" in \
            functions(stopped.json["tasks"][0]), stopped
        assert stopped.json["summary"]["stopped_ms"] >= 0
    finally:
        spin.kill()
        spin.wait()


# Stopping, which has to be asked for.

def states(pid):
    ret = []
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, tid)) as f:
            text = f.read()
        ret.append((re.search(r"State:\s+(\w)", text).group(1),
                    int(re.search(r"TracerPid:\s+(\d+)", text).group(1))))
    return ret


def test_a_stack_that_cannot_be_had_is_marked_and_not_invented(blind):
    for name, task in by_name(ps(blind.pid, "--stacks")).items():
        if name not in blind.known:
            continue
        names = functions(task)
        assert any(n.startswith("in_") for n in names), (name, names)
        assert "stuck_in" not in names or any(
            f.get("uncertain") for f in task["stack"]), (name, names)


def test_stopped_threads_go_on_in_the_same_call(blind):
    result = ps(blind.pid, "--stacks", "--stop")
    # who would get EINTR is spared, and that is said
    spared = {n for n, k in blind.known.items() if k["interrupted"]}
    assert [g["count"] for g in result.json["gaps"]
            if "--force" in g["text"]] == [len(spared)], result
    assert blind.ask("status") == "{}"
    # back in their calls as soon as there is a processor for each
    assert tool.wait_until(
        lambda: all(s == ("S", 0) for s in states(blind.pid))), \
        states(blind.pid)
    again = by_name(ps(blind.pid))
    for name, known in blind.known.items():
        # what the kernel calls a call with a time-out that it took up again
        assert again[name]["wait"] in (known["call"], "restart_syscall")


def test_who_does_not_stop_in_time_is_let_go():
    """A thread in state D: it must not stop later, when nobody looks."""
    with start_blocks("vfork") as running:
        tid = running.known["vfork"]["tid"]
        with open("/proc/%d/task/%d/status" % (running.pid, tid)) as f:
            assert "disk sleep" in f.read()
        looking = subprocess.Popen(
            [tool.binary(), "check", "--stop", "--force", str(running.pid)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # it has tried, and waits for its second look
        time.sleep(0.7)
        with open("/proc/%d/task/%d/children" % (running.pid, tid)) as f:
            child = int(f.read())
        os.kill(child, signal.SIGKILL)
        for _ in range(20):
            assert not {s for s, _ in states(running.pid)} & {"t", "T"}
            time.sleep(0.01)
        assert "vfork" in json.loads(running.ask("status"))
        looking.wait(20)
        assert tool.wait_until(
            lambda: set(states(running.pid)) == {("S", 0)}), \
            states(running.pid)


def test_a_moment_is_not_taken_for_a_time_span(blocks):
    task = by_name(ps(blocks.pid))["timedfutex"]
    assert 3500 * 1000 < task["timeout_ms"] <= 3600 * 1000, task


def test_forced_stops_show_where_the_manual_says_so(blind):
    """Why it takes --force; and a control: the others were stopped, too."""
    ps(blind.pid, "--stacks", "--stop", "--force")
    back = json.loads(blind.ask("status"))
    assert back == {n: 4 for n, k in blind.known.items()    # EINTR
                    if k["interrupted"]}


def test_nobody_stays_stopped_when_stranded_is_killed(blind):
    rng = random.Random(1)
    for _ in range(KILLS):
        child = subprocess.Popen(
            [tool.binary(), "ps", "--stacks", "--stop", str(blind.pid)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, 0.06))
        child.kill()
        child.wait()
    assert tool.wait_until(
        lambda: all(s == ("S", 0) for s in states(blind.pid))), \
        states(blind.pid)
    assert blind.ask("status") == "{}"


def test_a_process_that_was_stopped_stays_so(blind):
    blind.signal(signal.SIGSTOP)
    assert tool.wait_until(
        lambda: all(s[0] == "T" for s in states(blind.pid)))
    result = ps(blind.pid, "--stacks", "--stop")
    assert result.status in (tool.CLEAN, tool.GAPS), result
    assert all(s == ("T", 0) for s in states(blind.pid))
    blind.signal(signal.SIGCONT)
    assert tool.wait_until(
        lambda: all(s[0] == "S" for s in states(blind.pid)))


def test_a_process_that_is_traced_already_is_left_to_its_tracer(blind):
    strace = needs("strace", "strace")
    tracer = subprocess.Popen(
        [strace, "-f", "-o", "/dev/null", "-p", str(blind.pid)],
        stderr=subprocess.DEVNULL)
    try:
        assert tool.wait_until(
            lambda: all(s[1] == tracer.pid for s in states(blind.pid)))
        result = ps(blind.pid, "--stacks", "--stop")
        assert all(s[1] == tracer.pid for s in states(blind.pid))
        assert result.json["tasks"], result
    finally:
        tracer.terminate()
        tracer.wait()


# Programs of others, and the machine that they talk to is gone.

PORT = 7000
CLIENTS = {
    "curl": (["curl", "-s", "http://10.78.0.2:7000/"], "curl"),
    "redis-cli": (["redis-cli", "-h", "10.78.0.2", "-p", "7000", "SUBSCRIBE",
                   "news"], "redis-tools"),
    "psql": (["psql", "-h", "10.78.0.2", "-p", "7000", "-U", "x", "x"],
             "postgresql-client"),
    "ssh": (["ssh", "-F", "/dev/null", "-p", "7000", "-o",
             "BatchMode=yes", "10.78.0.2"], "openssh-client"),
}


@pytest.fixture
def silent(net):
    """A machine a, and a server on b that never answers."""
    a, b = net.pair()
    server = tool.Program(sys.executable, "-c", SILENT, PORT, prefix=b.prefix)
    assert server.line() == "listening"
    yield a, b, server
    server.end()


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_of_others_are_judged(silent, name):
    a, b, server = silent
    argv, package = CLIENTS[name]
    needs(argv[0], package)
    with tool.Program(*argv, prefix=a.prefix,
                      stderr=subprocess.DEVNULL) as client:
        local = server.line()
        # ip netns exec becomes the program; wrappers may have started another
        pid = owner(a, local)
        healthy = world.check(pid)
        assert healthy.json["findings"] == [], healthy
        world.power_cut(b, "10.78.0.1", server)
        result = world.check(pid)
        assert result.status == tool.FINDINGS, result
        assert len(result.json["findings"]) == 1, result
        f = result.json["findings"][0]
        # curl polls an eventfd beside it, by which it could be woken
        assert f["grade"] == ("likely" if name == "curl" else "proven"), f
        assert f["socket"]["verdict"] == "half-open"
        assert f["socket"]["local"] == local
        assert f["socket"]["remote"] == "10.78.0.2:7000"
        assert f["runtime"] == "thread" and f["stack"], f
        assert f["kind"] in ("stranded-reader", "dead-idle-connection"), f
        assert client.child.poll() is None


def owner(ns, local):
    """The process whose socket has that address, by ss."""
    line = ns.run("ss", "-Htnp", "src", local)
    return int(re.search(r"pid=(\d+)", line).group(1))


def test_a_process_whose_leader_has_ended_is_refused_by_name():
    """A zombie for a leader, and a thread that still waits."""
    program = subprocess.Popen(
        [sys.executable, "-c",
         "import ctypes, os, threading, time\n"
         "r, w = os.pipe()\n"
         "t = threading.Thread(target=lambda: os.read(r, 1))\n"
         "t.start()\n"
         "time.sleep(0.2)\n"
         "ctypes.CDLL(None).pthread_exit(None)\n"])
    try:
        assert tool.wait_until(lambda: ("Z", 0) in states(program.pid))
        result = ps(program.pid)
        assert result.status == tool.NOTHING
        assert "first thread of process" in result.err, result
    finally:
        program.kill()
        program.wait()


def test_threads_that_come_and_go_are_no_failure():
    program = subprocess.Popen(
        [sys.executable, "-c",
         "import threading, time\n"
         "while True:\n"
         "    t = [threading.Thread(target=time.sleep, args=(0.01,))\n"
         "         for _ in range(20)]\n"
         "    [x.start() for x in t]\n"
         "    [x.join() for x in t]\n"])
    try:
        time.sleep(0.3)
        for _ in range(5):
            result = ps(program.pid, "--stacks")
            assert result.status in (tool.CLEAN, tool.GAPS), result
            assert str(program.pid) in {t["id"]
                                        for t in result.json["tasks"]}
    finally:
        program.kill()
        program.wait()
