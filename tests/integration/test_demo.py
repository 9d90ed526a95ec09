# SPDX-License-Identifier: Apache-2.0
"""The demonstration: what it shows, and that it leaves nothing behind."""
import glob
import os
import random
import re
import signal
import subprocess
import time

import pytest

import gobuild
import tool

# The demo is a script around commands that other tests run.
pytestmark = pytest.mark.slow

SCRIPT = os.path.join(gobuild.ROOT, "scenarios", "demo", "run.sh")


def left_behind(pid):
    """What of the demo of process @pid is still there."""
    names = subprocess.run(["ip", "netns", "list"], stdout=subprocess.PIPE,
                           text=True).stdout.split()
    return [n for n in names if n.startswith("st-demo-%d-" % pid)] + \
        glob.glob("/tmp/st-demo-%d-*" % pid)


def start():
    return subprocess.Popen([SCRIPT, tool.binary()], start_new_session=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def test_demo_shows_a_proven_half_open_pool(root):
    begin = time.monotonic()
    demo = start()
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 0, out + err
    assert time.monotonic() - begin < 60
    report = out[out.index("$ stranded check"):]
    first = re.search(r"(?m)^PROVEN +(\d+) goroutines", report)
    assert first and first.group(1) == "37", report
    for needed in (r"half-open", r"10\.77\.0\.1:\d+ -> 10\.77\.0\.2:6379",
                   r"main\.\(\*Pool\)\.readReply +\S*pool\.go:\d+",
                   r"main\.\(\*Pool\)\.dial +\S*pool\.go:\d+",
                   r"SetReadDeadline", r"KeepAlive", r"namespace",
                   r"(?m)^1 finding"):
        assert re.search(needed, report), (needed, report)
    assert "10.77.0.3" not in report, "the healthy ones are reported"
    line = pool_line("in.ReadSlice")
    assert "pool.go:%d" % line in report, report
    assert not left_behind(demo.pid)


def pool_line(text):
    path = os.path.join(gobuild.ROOT, "scenarios", "half-open-pool",
                        "client", "pool.go")
    with open(path) as f:
        for number, line in enumerate(f, 1):
            if text in line:
                return number
    raise LookupError(text)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_demo_leaves_nothing(root, how):
    rng = random.Random(int(how))
    for _ in range(3):
        demo = start()
        time.sleep(rng.uniform(0.05, 6))
        if demo.poll() is None:
            os.killpg(demo.pid, how)
        demo.communicate(timeout=30)
        assert tool.wait_until(lambda: not left_behind(demo.pid), 3), \
            left_behind(demo.pid)


def test_killed_demo_is_tidied_by_the_next(root):
    demo = start()
    assert tool.wait_until(lambda: len(left_behind(demo.pid)) == 3, 20)
    demo.kill()
    demo.communicate(timeout=30)
    assert left_behind(demo.pid)
    subprocess.run([SCRIPT, "/bin/true"], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=60)
    assert not left_behind(demo.pid)
