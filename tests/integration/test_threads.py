# SPDX-License-Identifier: Apache-2.0
"""Threads of any program: what each waits for, where, and that it is let be."""
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

import cbuild
import tool
import world

LONG = os.environ.get("STRANDED_TEST_LONG") == "1"
STRICT = os.environ.get("STRANDED_TEST_STRICT") == "1"
SOURCE = ["tests/victims/threads/waits.c"]
# The call as the kernel names it, and what it is to us.
CALLS = {"in_read": ("read", "read"), "in_recv": ("recvfrom", "read"),
         "in_recv_timeout": ("recvfrom", "read"),
         "in_write": ("write", "write"), "in_accept": ("accept", "accept"),
         "in_poll": ("poll", "poll"), "in_poll_two": ("poll", "poll"),
         "in_ppoll": ("ppoll", "poll"), "in_select": ("pselect6", "poll"),
         "in_epoll": ("epoll_wait", "epoll"), "in_futex": ("futex", "futex"),
         "in_sleep": ("clock_nanosleep", "sleep")}
# So that each stack needs what nobody can know from outside.
NO_CFI = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables",
          "-fno-dwarf2-cfi-asm", "-fno-omit-frame-pointer")


def needs(program):
    path = shutil.which(program)
    if not path:
        assert not STRICT, "needs %s" % program
        pytest.skip("needs %s" % program)
    return path


def waits(*flags):
    return tool.Program(cbuild.program("waits", SOURCE, "-D_GNU_SOURCE",
                                       *flags))


def tasks(pid, *options):
    result = tool.stranded("ps", "--stacks", "--format", "json", *options, pid)
    assert result.status in (tool.CLEAN, tool.GAPS), result
    return {int(t["id"]): t for t in result.json["tasks"]}, result


def compare(truth, seen, result):
    for t in truth["threads"]:
        task = seen[t["tid"]]
        call, kind = CALLS[t["function"]]
        where = (t, task)
        assert task["runtime"] == "thread" and task["state"] == "waiting", where
        assert (task["wait"], task["wait_kind"]) == (call, kind), where
        assert task["fd"] == (t["fd"] if t["fd"] >= 0 else None), where
        assert task["name"] == t["function"][:15], where
        assert t["function"] in [f["function"] for f in task["stack"]], where
        if t["fds"]:
            assert sorted(f["fd"] for f in task["fds"]) == t["fds"], where
            assert all("in" in f["events"] for f in task["fds"]), where
    assert len(seen) == len(truth["threads"]) + 1, result


@pytest.mark.parametrize("flags", [(), ("-O0",), ("-fno-omit-frame-pointer",),
                                   ("-static",)])
def test_each_kind_of_wait_with_its_fds_and_function(flags):
    with waits(*flags) as program:
        truth = program.truth()
        seen, result = tasks(program.pid)
        compare(truth, seen, result)
        assert "0 ms" in tool.stranded("ps", program.pid).out
        ppoll, = [seen[t["tid"]] for t in truth["threads"]
                  if t["function"] == "in_ppoll"]
        assert ppoll["timeout_ms"] == 7200 * 1000, ppoll
        for _ in range(20):
            tasks(program.pid)
        # Nothing was woken by being looked at.
        assert program.ask("?") == '{"returned":0,"interrupted":0}'


def test_what_would_end_with_eintr_is_not_stopped():
    with waits(*NO_CFI) as program:
        truth = program.truth()
        for _ in range(10):
            seen, result = tasks(program.pid, "--stop")
            for t in truth["threads"]:
                assert seen[t["tid"]]["wait"] == CALLS[t["function"]][0]
        assert "were not stopped" in str(result.json["gaps"]), result
        assert program.ask("?") == '{"returned":0,"interrupted":0}'
        tasks(program.pid, "--stop", "--force")
        forced = program.ask("?")
        assert '"interrupted":0' not in forced, forced


def states(pid):
    ret = {}
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/stat" % (pid, tid)) as f:
            ret[tid] = f.read().rsplit(")", 1)[1].split()[0]
    return ret


def test_killed_while_it_stops_threads_it_leaves_none_stopped():
    rng = random.Random(4)
    with waits(*NO_CFI) as program:
        program.truth()
        for _ in range(200 if LONG else 20):
            child = subprocess.Popen(
                [tool.binary(), "ps", "--stop", "--stacks", str(program.pid)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.0, 0.04))
            child.send_signal(signal.SIGKILL)
            child.wait()
            assert tool.wait_until(
                lambda: not set(states(program.pid).values()) & set("tT"),
                step=0.001), states(program.pid)
            with open("/proc/%d/status" % program.pid) as f:
                assert "TracerPid:\t0\n" in f.read()
        assert program.ask("?") == '{"returned":0,"interrupted":0}'


def test_a_stopped_program_stays_stopped():
    with waits(*NO_CFI) as program:
        program.truth()
        program.signal(signal.SIGSTOP)
        assert tool.wait_until(
            lambda: set(states(program.pid).values()) == {"T"})
        tool.stranded("ps", "--stop", "--stacks", program.pid)
        time.sleep(0.1)
        assert set(states(program.pid).values()) == {"T"}
        program.signal(signal.SIGCONT)
        assert tool.wait_until(
            lambda: "T" not in states(program.pid).values())


class Silent:
    """Accepts connections, answers what it is told to, then says nothing."""

    def __init__(self, answer=b""):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.answer = answer
        self.conn = None

    def accept(self):
        self.listener.settimeout(20)
        self.conn, peer = self.listener.accept()
        self.conn.sendall(self.answer)
        return peer[1]

    def close(self):
        for s in (self.listener, self.conn):
            if s:
                s.close()


CLIENTS = {
    "curl": (["curl", "-s", "http://127.0.0.1:%d/"], b""),
    "psql": (["psql", "host=127.0.0.1 port=%d user=x dbname=x "
              "sslmode=disable gssencmode=disable"], b""),
    "redis-cli": (["redis-cli", "-p", "%d", "SUBSCRIBE", "x"],
                  b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n"),
    "ssh": (["ssh", "-F", "none", "-o", "BatchMode=yes", "-p", "%d",
             "x@127.0.0.1"], b""),
    "python3": ([sys.executable, "-c", "import socket, threading\n"
                 "s = socket.create_connection(('127.0.0.1', %d))\n"
                 "t = threading.Thread(target=s.recv, args=(1,))\n"
                 "t.start(); t.join()"], b""),
}


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_a_client_of_a_silent_server_is_joined_to_its_socket(name):
    argv, answer = CLIENTS[name]
    needs(argv[0])
    server = Silent(answer)
    child = subprocess.Popen(
        [a.replace("%d", str(server.port)) for a in argv],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    try:
        peer = server.accept()
        local = "127.0.0.1:%d" % peer

        def waiting():
            seen, _ = tasks(child.pid)
            return [t for t in seen.values() if t.get("local") == local]
        found = tool.wait_until(waiting, timeout=20)
        assert len(found) == 1, found
        assert found[0]["wait_kind"] in ("read", "poll"), found
        listed = tool.stranded("sockets", "--format", "json", child.pid)
        row, = [s for s in listed.json["sockets"] if s["local"] == local]
        assert row["task"] == found[0]["id"] and row["runtime"] == "thread"
        assert row["fd"] == found[0]["fd"], (row, found)
    finally:
        child.kill()
        child.wait()
        server.close()


EPOLL_LOOP = """
import select, socket, sys
e = select.epoll()
conns = [socket.create_connection(("10.78.0.2", 7000)) for _ in range(3)]
for c in conns:
    e.register(c, select.EPOLLIN)
print(e.fileno(), *[c.fileno() for c in conns], flush=True)
while True:
    e.poll(%s)
"""


@pytest.mark.parametrize("timeout", ["", "0.3"])
def test_dead_connections_of_an_event_loop_name_who_holds_them(net, conns,
                                                               timeout):
    a, b = net.pair()
    server = conns(b)
    server.listen("10.78.0.2:7000")
    child = subprocess.Popen(
        a.prefix + [sys.executable, "-c", EPOLL_LOOP % timeout],
        stdout=subprocess.PIPE)
    try:
        fds = [int(n) for n in child.stdout.readline().split()]
        for _ in range(3):
            server.accept()
        world.power_cut(b, "10.78.0.1", server)
        result = world.check(child.pid)
        assert result.status == tool.FINDINGS, result
        f, = result.json["findings"]
        assert (f["kind"], f["grade"]) == ("dead-idle-connection",
                                           "proven"), result
        assert f["count"] == 3 and f["runtime"] == "thread", result
        assert sorted(s["fd"] for s in f["sockets"]) == sorted(fds[1:])
        for s in f["sockets"] + [f["socket"]]:
            held = s["held_by"]
            assert held["fd"] == fds[0] and held["task"] == str(child.pid)
            assert held["wait_kind"] == "epoll", result
        text = tool.stranded("check", child.pid).out
        assert "held by the epoll set of fd %d" % fds[0] in text, text
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


POLL_LOOP = """
import select, socket
s = socket.create_connection(("10.78.0.2", 7000))
p = select.poll()
p.register(s, select.POLLIN)
print(s.fileno(), flush=True)
while not p.poll(200):
    pass
"""


def test_a_poll_that_is_made_again_and_again_is_a_stranded_reader(net, conns):
    a, b = net.pair()
    server = conns(b)
    server.listen("10.78.0.2:7000")
    child = subprocess.Popen(a.prefix + [sys.executable, "-c", POLL_LOOP],
                             stdout=subprocess.PIPE)
    try:
        fd = int(child.stdout.readline())
        server.accept()
        world.power_cut(b, "10.78.0.1", server)
        result = world.check(child.pid)
        f, = result.json["findings"]
        assert (f["kind"], f["grade"]) == ("stranded-reader", "likely"), result
        assert f["tasks"][0]["fd"] == fd, result
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_thread_that_is_healed_has_moved_on(net, conns):
    a, b = net.pair()
    server = conns(b)
    server.listen("10.78.0.2:7000")
    child = subprocess.Popen(
        a.prefix + [sys.executable, "-c",
                    "import socket, time\n"
                    "s=socket.create_connection(('10.78.0.2', 7000))\n"
                    "print(s.fileno(), flush=True)\n"
                    "try:\n    s.recv(1)\nexcept OSError: pass\n"
                    "time.sleep(100)"], stdout=subprocess.PIPE)
    try:
        fd = int(child.stdout.readline())
        server.accept()
        world.power_cut(b, "10.78.0.1", server)
        result = tool.stranded("heal", child.pid, "--fd", fd)
        assert result.status == tool.CLEAN, result
        assert "of 1 thread that waited" in " ".join(result.out.split())
        assert "1 moved on" in " ".join(result.out.split()), result
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_go_threads_are_not_told_twice(conns):
    program = conns()
    result = tool.stranded("ps", "--format", "json", program.pid)
    assert {t["runtime"] for t in result.json["tasks"]} == {"go"}, result
    result = tool.stranded("ps", "--threads", "--format", "json", program.pid)
    threads = [t["tid"] for t in result.json["tasks"]
               if t["runtime"] == "thread"]
    assert sorted(threads) == sorted(
        int(t) for t in os.listdir("/proc/%d/task" % program.pid)), result
