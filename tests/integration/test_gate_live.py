# SPDX-License-Identifier: Apache-2.0
"""stranded gate on what goes on: by signal, when quiet, every so often, and by
pid. What was left behind the server says itself."""
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

import gate
import tool
import world


class Served:
    """A server under the gate, or with none (options None)."""

    def __init__(self, server, tmp, options):
        self.path, self.log = str(tmp / "report"), str(tmp / "log")
        argv = [server]
        if options is not None:
            argv = [tool.binary(), "gate", "--report", "json=" + self.path,
                    *options, "--", server]
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=log,
                env=gate.environment({"STRANDED_DEBUG": "ctl"}))
        self.port = int(self.child.stdout.readline())
        self.pid = self.child.pid
        if options is not None:
            assert tool.wait_until(self._children)
            self.pid = [p for p, exe in self._children() if exe == server][0]

    def _children(self):
        """Those of the gate, but for its own guardian."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open("/proc/%s/stat" % pid) as f:
                    parent = f.read().rsplit(")", 1)[1].split()[1]
                if int(parent) == self.child.pid:
                    found.append((int(pid), os.readlink("/proc/%s/exe" % pid)))
        return found

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def get(self, path, connection=None):
        c = connection or self.connect()
        c.request("GET", path)
        text = c.getresponse().read().decode()
        if not connection:
            c.close()
        return text

    @property
    def left(self):
        return int(self.get("/truth"))

    def looks(self):
        with open(self.log) as f:
            return [int(n) for n in re.findall(
                r"look (\d+) at process %d" % self.pid, f.read())]

    def wait_for_looks(self, n):
        assert tool.wait_until(lambda: len(self.looks()) >= n, timeout=30), \
            open(self.log).read()

    def signal(self):
        n = len(self.looks())
        self.child.send_signal(signal.SIGUSR1)
        self.wait_for_looks(n + 1)

    def end(self):
        """Kills the server. Returns (status, report, text)."""
        os.kill(self.pid, signal.SIGKILL)
        status = self.child.wait(60)
        with open(self.path) as f, open(self.log) as log:
            return status, json.load(f), log.read()

    def close(self):
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()


@pytest.fixture
def served(victim, tmp_path):
    all_of = []

    def start(*options, bare=False):
        s = Served(victim("serve"), tmp_path, None if bare else options)
        all_of.append(s)
        return s
    yield start
    for s in all_of:
        s.close()


def leaks(report):
    return [(l["count"], l["stack"][0]["function"] if l["stack"] else l["kind"])
            for p in report["processes"] for l in p["leaks"]
            if l["status"] == "new"]


def gaps(report):
    return [g["text"] for p in report["processes"] for g in p["gaps"]] + \
        [g["text"] for g in report["gaps"]]


KILLED = 128 + signal.SIGKILL


def test_at_signal_what_is_more_than_at_the_first(served):
    s = served("--at-signal", "USR1")
    s.get("/leak?n=3")
    s.signal()
    s.get("/leak?n=4")
    s.get("/ok")
    s.signal()
    assert s.left == 7
    status, report, text = s.end()
    assert status == KILLED
    assert leaks(report) == [(4, "main.leftBehind")], text
    assert "4 goroutines left behind" in text
    assert "3 that were there before" in text
    assert report["processes"][0]["looks"] == 2


def test_a_client_that_is_still_connected_is_no_leak(served):
    """Nor is what ends half a second later."""
    s = served("--at-signal", "USR1")
    s.signal()
    clients = [s.connect() for _ in range(5)]
    for c in clients:
        assert s.get("/ok", c) == "ok\n"
    s.get("/burst?n=20")
    s.signal()
    for c in clients:
        c.close()
    status, report, text = s.end()
    assert (status, leaks(report), gaps(report)) == (KILLED, [], []), text


def test_one_look_tells_nothing(served):
    s = served("--at-signal", "USR1")
    s.get("/leak?n=3")
    s.signal()
    status, report, text = s.end()
    assert leaks(report) == []
    assert any("1 time" in g for g in gaps(report)), text
    assert "Not all was seen" in text


def test_no_signal_came(served):
    s = served("--at-signal", "SIGUSR2")
    _, report, text = s.end()
    assert any("no SIGUSR2 came" in g for g in gaps(report)), text


def test_quiet_is_waited_for(served):
    """The base is from before the first client; while a request is in flight
    nothing is looked at, however silent it is."""
    s = served("--quiet-after", "500ms")
    s.wait_for_looks(2)  # untouched, at once and after the whole time
    s.get("/leak?n=2")
    holder = s.connect()
    holder.request("GET", "/hold")
    before = len(s.looks())
    time.sleep(2)
    assert len(s.looks()) == before
    s.get("/release")
    assert holder.getresponse().read() == b"released\n"
    s.wait_for_looks(before + 1)
    holder.close()
    s.wait_for_looks(before + 2)
    _, report, text = s.end()
    assert leaks(report) == [(2, "main.leftBehind")], text


def test_who_comes_and_goes_between_two_questions(served):
    """One request of some milliseconds, and a question each 125."""
    s = served("--quiet-after", "500ms")
    s.wait_for_looks(2)
    s.get("/leak?n=2")
    s.wait_for_looks(3)
    _, report, text = s.end()
    assert leaks(report) == [(2, "main.leftBehind")], text


def test_never_quiet(served):
    s = served("--quiet-after", "10s")
    stop = threading.Event()

    def work():
        c = s.connect()
        while not stop.wait(0.1):
            s.get("/ok", c)
        c.close()
    time.sleep(0.1)
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(4)
    stop.set()
    thread.join()
    _, report, text = s.end()
    assert leaks(report) == []
    assert gaps(report) or "never quiet" in text
    assert "Not all was seen" in text


def test_every_tells_what_grows_from_what_comes_and_goes(served):
    s = served("--every", "300ms", "--quick", "--grace", "0s")
    while len(s.looks()) < 14:
        s.get("/leak?n=1")
        s.get("/burst?n=%d" % (len(s.looks()) % 5))
        time.sleep(0.05)
        assert s.child.poll() is None
    _, report, text = s.end()
    (count, function), = leaks(report)
    assert function == "main.leftBehind", text
    assert count >= 2


def test_every_with_too_few_looks_says_so(served):
    s = served("--every", "1s")
    s.get("/leak?n=9")
    s.wait_for_looks(2)
    _, report, text = s.end()
    assert leaks(report) == []
    assert any("8 are needed" in g for g in gaps(report)), text


def test_an_exit_that_was_judged_is_what_counts(program_of_gate, tmp_path):
    """Growth in a program that ends by itself, and cleans up."""
    run = gate.gate(program_of_gate, "slow", "1500",
                    options=["--every", "200ms", "--quick", "--grace", "2s"])
    assert run.status == tool.CLEAN, run
    assert [p["looks"] for p in run.report["processes"]] == [0]


@pytest.fixture
def program_of_gate(victim):
    return victim("gate")


# --- by pid


def by_pid(s, *options):
    return tool.stranded("gate", "--pid", s.pid, *options)


def test_before_and_after(served, tmp_path):
    s = served(bare=True)
    before, report = tmp_path / "before", tmp_path / "json"
    s.get("/leak?n=3")
    taken = by_pid(s, "--snapshot-before", before)
    assert taken.status == tool.CLEAN, taken
    rows = json.loads(before.read_text())["leaks"]
    assert [r["count"] for r in rows if "leftBehind" in r["function"]] == [3]
    same = by_pid(s, "--baseline", before)
    assert same.status == tool.CLEAN, same
    s.get("/leak?n=2")
    more = by_pid(s, "--baseline", before, "--report", "json=%s" % report)
    assert more.status == tool.FINDINGS, more
    assert leaks(json.loads(report.read_text())) == [(2, "main.leftBehind")]
    assert "3 that were there before" in more.err
    again = tmp_path / "again"
    by_pid(s, "--snapshot-before", again)
    assert [r["count"] for r in json.loads(again.read_text())["leaks"]
            if "leftBehind" in r["function"]] == [s.left]


def test_by_pid_when_quiet(served, tmp_path):
    s = served(bare=True)
    before = tmp_path / "before"
    by_pid(s, "--snapshot-before", before)
    holder = s.connect()
    holder.request("GET", "/hold")
    busy = by_pid(s, "--baseline", before, "--quiet-after", "500ms",
                  "--timeout", "2s")
    assert busy.status == tool.NOTHING and "in flight" in busy.err, busy
    s.get("/release")
    holder.getresponse().read()
    quiet = by_pid(s, "--baseline", before, "--quiet-after", "500ms")
    holder.close()
    assert quiet.status == tool.CLEAN, quiet


def test_a_client_that_is_gone_is_left_by_a_probe_alone(net, conns, tmp_path):
    """What reads its next request is there for a client, until it is known that
    there is none: what lies between could change packets, so that its absence
    over there would prove nothing."""
    a, b = net.pair()
    a.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    server, client = conns(a), conns(b)
    server.listen("10.78.0.1:7000")
    before, report = tmp_path / "before", tmp_path / "json"
    assert by_pid(server, "--snapshot-before", before).status == tool.CLEAN
    client.dial("10.78.0.1:7000")
    server.read(server.accept())
    world.power_cut(b, "10.78.0.1", client)
    look = ("--baseline", before, "--report", "json=%s" % report)
    silent = by_pid(server, *look)
    assert silent.status == tool.CLEAN, silent
    assert leaks(json.loads(report.read_text())) == []
    dead = by_pid(server, *look, "--probe", "--rst-shield")
    assert dead.status == tool.FINDINGS, dead
    (leak,) = [l for p in json.loads(report.read_text())["processes"]
               for l in p["leaks"]]
    assert (leak["kind"], leak["count"], leak["connection"]["verdict"],
            leak["connection"]["proven"]) == ("goroutine", 1, "half-open", True)
    # the server itself has noticed nothing
    assert a.sockets("state", "established")


@pytest.mark.parametrize("options,text", [
    (["--pid", "1"], "against what?"),
    (["--pid", "1", "--baseline", "x", "true"], "without a command"),
    (["--pid", "1", "--baseline", "x", "--every", "1s"], "for a command"),
    (["--snapshot-before", "x", "true"], "give --pid"),
    (["--probe", "true"], "longer than an exit"),
    (["--at-signal", "TERM", "true"], "use USR1, USR2 or HUP"),
    (["--quiet-after", "10ms", "true"], "not between"),
    ([], "which command?"),
])
def test_wrong_usage(options, text):
    result = tool.stranded("gate", *options)
    assert result.status == tool.USAGE and text in result.err, result


def test_by_pid_of_what_cannot_be_judged(tmp_path):
    none = tool.stranded("gate", "--pid", os.getpid(), "--snapshot-before",
                         tmp_path / "x")
    assert none.status == tool.NOTHING and "no goroutines" in none.err, none
    with subprocess.Popen(["true"]) as child:
        child.wait()
        gone = tool.stranded("gate", "--pid", child.pid, "--snapshot-before",
                             tmp_path / "x")
    assert gone.status == tool.NOTHING, gone
    assert not (tmp_path / "x").exists()
