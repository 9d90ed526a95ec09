# SPDX-License-Identifier: Apache-2.0
"""The target is not touched: nothing of it differs before and after."""
import os
import re
import socket
import threading
import time

import pytest

import tool

# Sockets' options that a careless reader could change: (level, name).
OPTIONS = [(socket.SOL_SOCKET, n) for n in (
    socket.SO_REUSEADDR, socket.SO_KEEPALIVE, socket.SO_BROADCAST,
    socket.SO_SNDBUF, socket.SO_RCVBUF, socket.SO_LINGER)] + [
    (socket.IPPROTO_TCP, n) for n in (
        socket.TCP_NODELAY, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL,
        socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT, socket.TCP_QUICKACK)]

# Lines of /proc/PID/status that say whether somebody interfered.
STATUS = re.compile(r"^(State|TracerPid|Threads|SigPnd|ShdPnd|SigBlk|SigIgn|"
                    r"SigCgt|FDSize|CapEff|Seccomp|NoNewPrivs):")


def read(path):
    with open(path) as f:
        return f.read()


def status(pid):
    return [line for line in read("/proc/%d/status" % pid).splitlines()
            if STATUS.match(line)]


def descriptors(pid):
    """fd -> link, flags (without the position, which reading may move)."""
    ret = {}
    for fd in os.listdir("/proc/%d/fd" % pid):
        info = read("/proc/%d/fdinfo/%s" % (pid, fd))
        ret[int(fd)] = (os.readlink("/proc/%d/fd/%s" % (pid, fd)),
                        re.search(r"flags:\s*(\S+)", info).group(1))
    return ret


def options(pid, fds):
    """Socket options of the target's own sockets, through duplicates."""
    pidfd = os.pidfd_open(pid)
    ret = {}
    try:
        for fd, (link, _) in fds.items():
            if not link.startswith("socket:"):
                continue
            own = getfd(pidfd, fd)
            if own is None:
                continue
            s = socket.socket(fileno=own)
            for level, name in OPTIONS:
                try:
                    ret[fd, level, name] = s.getsockopt(level, name, 64)
                except OSError as e:
                    ret[fd, level, name] = e.errno
            s.close()
    finally:
        os.close(pidfd)
    return ret


def getfd(pidfd, fd):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    got = libc.syscall(438, pidfd, fd, 0)
    return got if got >= 0 else None


def portrait(pid):
    fds = descriptors(pid)
    return {
        "status": status(pid),
        "fds": fds,
        "options": options(pid, fds),
        "limits": read("/proc/%d/limits" % pid),
        "maps": [line.split()[:2] + line.split()[5:]
                 for line in read("/proc/%d/maps" % pid).splitlines()],
        "threads": sorted(os.listdir("/proc/%d/task" % pid)),
        "oom": read("/proc/%d/oom_score_adj" % pid),
        "ns": sorted(os.readlink("/proc/%d/ns/%s" % (pid, n))
                     for n in os.listdir("/proc/%d/ns" % pid)),
        "wchan": read("/proc/%d/timerslack_ns" % pid)
        if os.path.exists("/proc/%d/timerslack_ns" % pid) else "",
    }


def test_nothing_of_a_target_changes(waits):
    time.sleep(1)
    before = portrait(waits.pid)
    assert len(before["options"]) > 100
    for command in (["check", "--min-blocked", "0s"], ["ps", "--stacks"],
                    ["ps", "--format", "debug2"], ["sockets"],
                    ["check", "--quick"], ["doctor"]):
        tool.stranded(*command, waits.pid)
    after = portrait(waits.pid)
    for key in before:
        assert before[key] == after[key], key


def watch(pid, stop, seen):
    """Record every state that is not running, sleeping or waiting for disk."""
    while not stop.is_set():
        for line in status(pid):
            if line.startswith("State:") and line.split()[1] not in "RSD":
                seen.append(line)
            if line.startswith("TracerPid:") and line.split()[1] != "0":
                seen.append(line)
        time.sleep(0.0005)


def test_a_target_is_never_traced_and_never_stopped(waits):
    stop, seen = threading.Event(), []
    watcher = threading.Thread(target=watch, args=(waits.pid, stop, seen))
    watcher.start()
    try:
        for _ in range(10):
            tool.stranded("check", "--quick", waits.pid)
            tool.stranded("ps", "--stacks", waits.pid)
        tool.stranded("check", waits.pid)
    finally:
        stop.set()
        watcher.join()
    assert seen == []


def test_a_report_says_that_nothing_was_stopped(waits):
    report = tool.stranded("check", "--format", "json", waits.pid).json
    assert report["summary"]["stopped_ms"] == 0


@pytest.mark.parametrize("family", ["127.0.0.1", "[::1]"])
def test_a_close_reaches_the_peer_at_once_while_we_look(conns, family):
    """A duplicate of a socket that we held would keep the FIN back."""
    client, server = conns(), conns()
    addr = server.listen(family + ":0")
    stop = threading.Event()
    rounds = []

    def look():
        while not stop.is_set():
            rounds.append(tool.stranded("check", "--min-blocked", "0s",
                                        client.pid).status)
    looker = threading.Thread(target=look)
    looker.start()
    try:
        slowest = 0
        for _ in range(60):
            near = client.dial(addr)
            far = server.accept()
            time.sleep(0.05)
            begin = time.monotonic()
            client.close_conn(near)
            port = far["remote"].rsplit(":", 1)[1]
            assert tool.wait_until(
                lambda: b" 08 " in close_wait(port), 2, 0.001), \
                "no FIN within 2 s"
            slowest = max(slowest, time.monotonic() - begin)
            server.close_conn(far)
    finally:
        stop.set()
        looker.join()
    assert len(rounds) >= 2
    # Between its two samples a check waits a second: a held duplicate shows.
    assert slowest < 0.5, "a FIN took %.3f s" % slowest


def close_wait(port):
    """The rows of /proc/net/tcp* with remote port @port."""
    want = (":%04X " % int(port)).encode()
    ret = b""
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(path, "rb") as f:
            ret += b"\n".join(line for line in f.read().split(b"\n")
                              if want in line[20:] and b" 08 " in line)
    return ret


def test_listeners_can_be_bound_again(conns):
    """SO_REUSEADDR lost on an accepted socket would show here."""
    client, server = conns(), conns()
    addr = server.listen("127.0.0.1:0")
    client.dial(addr)
    far = server.accept()
    server.read(far)
    tool.stranded("check", "--min-blocked", "0s", server.pid)
    server.end()
    again = conns()
    assert again.listen(addr) == addr
