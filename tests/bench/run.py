#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures stranded beside its alternatives, in one run on one machine.

usage: run.py [--quick] [PART...]     parts: goroutines latency sockets check
                                      stacks threads preload coroutines
                                      gate

Prints a table; never fails because something is slow. Medians of several runs;
"first" is the first look at a process, with all that is found out once.
"""
import json
import os
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import gobuild      # noqa: E402
import netns        # noqa: E402
import preload      # noqa: E402
import threads      # noqa: E402
import tool         # noqa: E402

QUICK = "--quick" in sys.argv
SIZES = [1000, 10000] if QUICK else [1000, 10000, 100000]
SOCKETS = 5000 if QUICK else 25000  # connections; twice as many sockets
OUT = os.path.join(ROOT, "build", "bench")


def build_snapshot():
    """tests/bench/snapshot.c, against the library of the tool under test."""
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, "snapshot")
    packages = ("libnl-3.0 libnl-route-3.0 libnl-nf-3.0 jansson "
                "libunwind-generic libdw libelf")
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs"] + packages.split(), check=True,
        stdout=subprocess.PIPE, text=True).stdout
    subprocess.run(
        ["cc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-pthread", "-iquote",
         ROOT, "-o", path, os.path.join(ROOT, "tests/bench/snapshot.c"),
         os.path.join(ROOT, "build/libstranded-core.a")] +
        shlex.split(flags) + ["-linih", "-liberty"], check=True)
    return path


def row(what, value, unit, budget="", note=""):
    print("  %-46s %10s %-4s %-12s %s" % (what, value, unit, budget, note),
          flush=True)


def ms(seconds):
    return "%.1f" % (seconds * 1000)


# A child's peak memory counts what it was forked from: so fork it from
# something small, and not from us, who have read a dump of 70 MB.
MEASURE = """
import os, sys, time
null = os.open("/dev/null", os.O_RDWR)
begin = time.monotonic()
pid = os.fork()
if not pid:
    os.dup2(null, 0), os.dup2(null, 1)
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(time.monotonic() - begin, usage.ru_maxrss * 1024,
      os.waitstatus_to_exitcode(status))
"""


def median_run(times, *argv, ok=(0, 1, 3)):
    """Median seconds and highest peak memory of whole runs."""
    results = []
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", MEASURE] +
            [str(a) for a in argv], stdout=subprocess.PIPE, text=True)
        seconds, rss, status = done.stdout.split()
        if int(status) not in ok:
            raise RuntimeError("%s: status %s" % (argv, status))
        results.append((float(seconds), int(rss)))
    return statistics.median(r[0] for r in results), max(r[1] for r in results)


def fetch(url):
    begin = time.monotonic()
    with urllib.request.urlopen(url, timeout=300) as r:
        size = len(r.read())
    return time.monotonic() - begin, size


def delve():
    """dlv: from the path, or built by its own project's module."""
    found = shutil.which("dlv")
    own = os.path.join(OUT, "dlv")
    if found or os.path.exists(own):
        return found or own
    env = dict(os.environ, GOFLAGS="-mod=mod", GOBIN=OUT)
    done = subprocess.run(
        [gobuild.newest_base(), "install",
         "github.com/go-delve/delve/cmd/dlv@latest"], env=env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return own if done.returncode == 0 else None


class Mass:
    """A program with n parked goroutines."""

    def __init__(self, n):
        self.program = tool.Program(gobuild.victim("mass"), n,
                                    stderr=subprocess.DEVNULL)
        said = self.program.truth(timeout=120)
        self.pid, self.n = said["pid"], said["goroutines"]
        self.ping = said["ping"]
        self.pprof = "http://%s/debug/pprof/goroutine?debug=" % said["http"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.end()


class Ping(threading.Thread):
    """One byte there and back, a thousand times a second."""

    def __init__(self, addr):
        super().__init__()
        host, port = addr.split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stop = threading.Event()
        self.taken = []

    def run(self):
        while not self.stop.is_set():
            begin = time.perf_counter()
            self.socket.sendall(b"x")
            self.socket.recv(1)
            self.taken.append(time.perf_counter() - begin)
            time.sleep(0.001)
        self.socket.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.join()

    def show(self, what):
        taken = sorted(self.taken)
        if len(taken) < 20:
            row(what, "-", "", "", "%d answers, slowest %s ms" % (
                len(taken), ms(taken[-1]) if taken else "?"))
            return
        row(what, "%.3f" % (taken[int(len(taken) * .99)] * 1000), "ms", "",
            "p50 %.3f, max %.1f ms, %d pings" % (
                taken[len(taken) // 2] * 1000, taken[-1] * 1000, len(taken)))


def bench_goroutines(snapshot):
    print("goroutines: parked, mixed stacks (recursion 12 deep, chan, "
          "WaitGroup, select)")
    dlv = delve()
    repeated = {}
    for n in SIZES:
        with Mass(n) as mass:
            print(" %d goroutines" % mass.n)
            runs = [tool.run([snapshot, "tasks", str(mass.pid), "11"])
                    for _ in range(3)]
            lines = [[float(x) for x in line.split()]
                     for line in runs[0].out.splitlines()]
            if runs[0].status or int(lines[0][1]) < n:
                raise RuntimeError("snapshot: %r" % runs[0])
            first = statistics.median(float(r.out.split()[0]) for r in runs)
            later = statistics.median(
                float(line.split()[0]) for r in runs
                for line in r.out.splitlines()[1:])
            repeated[n] = later
            big = n == 100000
            row("stranded, first snapshot", "%.1f" % first, "ms",
                "<= 150 ms" if big else "")
            row("stranded, repeated", "%.1f" % later, "ms",
                "<= 60 ms" if big else "", "%.2f us each" % (later * 1e3 / n))
            _, rss = median_run(1, snapshot, "tasks", mass.pid, "11")
            row("stranded, peak memory", "%.1f" % (rss / 1e6), "MB",
                "<= 64 MB" if big else "")
            command, rss = median_run(3, tool.binary(), "check", "--quick",
                                      mass.pid)
            row("stranded check --quick, whole command", ms(command), "ms", "",
                "%.1f MB" % (rss / 1e6))
            command, rss = median_run(3, tool.binary(), "ps", "--format",
                                      "debug2", mass.pid)
            row("stranded ps --format debug2, whole command", ms(command),
                "ms", "", "%.1f MB" % (rss / 1e6))
            for level in (1, 2):
                with Ping(mass.ping) as ping:
                    taken = statistics.median(
                        fetch(mass.pprof + str(level))[0] for _ in range(3))
                row("pprof debug=%d" % level, ms(taken), "ms",
                    "", "%.0f x repeated; slowest answer meanwhile %s ms" % (
                        taken * 1000 / later, ms(max(ping.taken))))
            if dlv:
                bench_delve(dlv, mass, later)
            else:
                row("dlv", "-", "", "", "not to be had here")
    low, high = SIZES[0], SIZES[-1]
    print("  growth %d -> %d goroutines: time x %.0f" % (
        low, high, repeated[high] / repeated[low]))


def bench_delve(dlv, mass, later):
    script = os.path.join(OUT, "dlv.txt")
    with open(script, "w") as f:
        f.write("goroutines\n")
    with Ping(mass.ping) as ping:
        begin = time.monotonic()
        done = subprocess.run([dlv, "attach", str(mass.pid),
                               "--check-go-version=false",
                               "--allow-non-terminal-interactive=true",
                               "--init", script],
                              input=b"exit\nn\n",  # and do not kill it
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=600)
        taken = time.monotonic() - begin
        time.sleep(0.2)
    if done.returncode:
        row("dlv", "-", "", "", "failed with status %d" % done.returncode)
        return
    row("dlv attach, goroutines (top frame only)", ms(taken), "ms", "",
        "%.0f x repeated; target stopped %s ms" % (
            taken * 1000 / later, ms(max(ping.taken))))


def latency_while(mass, what, argv, seconds):
    """p99 of the target's own answers while argv runs again and again."""
    child = None
    if argv:
        child = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        time.sleep(0.2)
    with Ping(mass.ping) as ping:
        time.sleep(seconds)
    if child:
        child.kill()
        child.wait()
    ping.show(what)


def bench_latency(snapshot):
    n = SIZES[-1]
    seconds = 3 if QUICK else 8
    print("the target's own request latency, p99 (%d goroutines)" % n)
    burn = [sys.executable, "-c", "while True: pass"]
    with Mass(n) as mass:
        loop = [snapshot, "tasks", str(mass.pid), "1000000"]
        latency_while(mass, "nobody looks", None, seconds)
        latency_while(mass, "another process is busy (for comparison)", burn,
                      seconds)
        latency_while(mass, "stranded reads it without a pause", loop, seconds)
        latency_while(mass, "nobody looks, again", None, seconds)
        with Ping(mass.ping) as ping:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                fetch(mass.pprof + "2")
        ping.show("pprof debug=2 without a pause")


def bench_sockets(snapshot):
    if os.geteuid() != 0:
        print("sockets: not measured, needs root for a namespace of its own")
        return
    with netns.Net() as net:
        ns = net.namespace("bench")
        ns.sysctl("net.ipv4.ip_local_port_range", "1024 65000")
        holder = tool.Program(
            sys.executable, os.path.join(ROOT, "tests/bench/sockets.py"),
            SOCKETS, prefix=ns.prefix)
        try:
            holder.line(timeout=120)
            print("sockets: %d TCP sockets in one namespace" % (2 * SOCKETS))
            dumped = tool.run(ns.prefix + [snapshot, "sockets", "9"])
            lines = [line.split() for line in dumped.out.splitlines()]
            if dumped.status or int(lines[0][1]) < 2 * SOCKETS:
                raise RuntimeError(repr(dumped))
            own = statistics.median(float(line[0]) for line in lines)
            row("stranded, dump with tcp_info", "%.1f" % own, "ms",
                "" if QUICK else "<= 40 ms")
            for options in ("-Htinope", "-Htin", "-Htn"):
                taken, _ = median_run(3, *ns.prefix, "ss", options)
                row("ss " + options, ms(taken), "ms", "",
                    "%.0f x" % (taken * 1000 / own))
            one = tool.run(ns.prefix + [snapshot, "lookup", "20000"])
            row("one socket by exact lookup", "%.2f" % (
                float(one.out.split()[0]) * 1000 / 20000), "us", "<= 5 us")
        finally:
            holder.end()


def bench_check(_):
    with Mass(1000) as mass:
        print("a whole command, 1,000 goroutines")
        taken, rss = median_run(9, tool.binary(), "check", "--quick", mass.pid)
        row("stranded check --quick", ms(taken), "ms", "<= 50 ms",
            "%.1f MB" % (rss / 1e6))
        taken, _ = median_run(3, tool.binary(), "check", mass.pid)
        row("stranded check (two samples, 1 s apart)", ms(taken), "ms")


def bench_stacks(_):
    got = json.loads(subprocess.run(
        [os.path.join(OUT, "stacks"), "3" if QUICK else "15"], check=True,
        stdout=subprocess.PIPE, text=True).stdout)
    own = got["fast_and_copy_us"]
    print("stacks of native code: one of %d frames" % got["frames"])
    row("stranded, compiled rules", "%.2f" % got["fast_us"], "us")
    row("the same with the copy of the stack", "%.2f" % own, "us")
    for way in ("libunwind", "libdwfl"):
        taken = got[way + "_us"]
        row(way + " with the copy of the stack", "%.1f" % taken, "us", "",
            "%.1f x" % (taken / own))
    row("the first one, with all names", "%.1f" % (got["first_us"] / 1000),
        "ms")


def coroutine_rounds(what, n, rounds):
    """Milliseconds of the first look, the median of the others, memory."""
    out = subprocess.run(
        [os.path.join(OUT, "coroutines"), what, str(n), str(rounds)],
        check=True, stdout=subprocess.PIPE, text=True).stdout
    looks = [line.split() for line in out.splitlines()]
    assert all(int(x[1]) == n for x in looks), out
    return (float(looks[0][0]),
            statistics.median(float(x[0]) for x in looks[1:]),
            int(looks[-1][2]) << 10)


def bench_coroutines(_):
    print("coroutines that are parked")
    for what, n, budget in (("table", 1000000, "<= 200"),
                            ("stacks", 10000, "<= 100")):
        first, usual, memory = coroutine_rounds(what, n, 4 if QUICK else 12)
        name = "%d, %s" % (n, "without stacks" if what == "table" else
                           "with stacks of 13 frames")
        row(name + ", first look", "%.1f" % first, "ms")
        row(name, "%.1f" % usual, "ms", budget,
            "%d MB" % (memory >> 20))


def bench_gate(_):
    import gatecost
    gatecost.bench(row, QUICK, OUT)


PARTS = {"goroutines": bench_goroutines, "latency": bench_latency,
         "sockets": bench_sockets, "check": bench_check,
         "stacks": bench_stacks,
         "preload": lambda snapshot: preload.bench(row),
         "threads": lambda snapshot: threads.bench(row, OUT, QUICK),
         "coroutines": bench_coroutines,
         "gate": bench_gate}


def main():
    parts = [a for a in sys.argv[1:] if not a.startswith("-")] or list(PARTS)
    for part in parts:
        if part not in PARTS:
            sys.exit(__doc__)
    print("%s, %d CPUs, load %.1f, %s" % (
        os.uname().release, os.cpu_count(), os.getloadavg()[0],
        gobuild.go_version(gobuild.base_go())))
    snapshot = build_snapshot()
    for part in parts:
        PARTS[part](snapshot)


if __name__ == "__main__":
    main()
