# SPDX-License-Identifier: Apache-2.0
"""ps against a program that tells where each of its coroutines may be."""
import os
import subprocess
import time

import pytest

import cbuild
import tool

BUILD = os.path.dirname(tool.binary())
SOAK_S = float(os.environ.get("STRANDED_SOAK_S", "15"))


class Churn:
    """tests/victims/coroutine/churn.c: name -> [(fd, chain), (fd, chain)]."""

    def __init__(self, path, count, lives):
        program = cbuild.program(
            "churn", ["tests/victims/coroutine/churn.c"],
            os.path.join(BUILD, "libstranded-hook.a"), "-iquote",
            os.path.join(cbuild.ROOT, "runtime-hooks/coroutine/include"))
        self.said, self.path = {}, path
        self.process = subprocess.Popen(
            [program, str(count), str(lives), path], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.file = open(path, encoding="ascii")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.process.kill()
        self.process.wait()

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        """Make it stand still. Returns {name: fd}."""
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()
        lines = iter(self.process.stdout.readline, ".\n")
        return {name: int(fd) for name, fd in (x.split() for x in lines)}

    def read_said(self):
        while True:
            at = self.file.tell()
            line = self.file.readline()
            if not line.endswith("\n"):
                self.file.seek(at)
                return
            name, _, fd, chain, fd2, chain2 = line.split()
            self.said[name] = [(int(fd), chain), (int(fd2), chain2)]


def chain(task):
    return "".join(f["function"][5:] for f in reversed(task["stack"])
                   if f["function"].startswith("down_"))


def coroutines(churn):
    result = tool.stranded("ps", "--format", "json", "--stacks", churn.pid,
                           timeout=120)
    assert result.status in (tool.CLEAN, tool.GAPS), result
    churn.read_said()
    return [t for t in result.json["tasks"] if t["runtime"] == "coroutine"]


def check(churn, tasks):
    """Name, fd and stack of each that is parked belong together."""
    parked = [t for t in tasks if t["state"] == "waiting"
              and not t.get("torn")]
    for task in parked:
        assert (task["fd"], chain(task)) in churn.said[task["name"]], task
        assert task["fd_proof"] == "hook" and task["wait_kind"] == "read"
        assert task["stack"][-1]["function"] == "body", task
        assert task["start"]["function"] == "body", task
        assert task["created_by"]["function"] == "begin", task
    return len(parked)


@pytest.fixture(name="churn")
def _churn(tmp_path):
    with Churn(str(tmp_path / "truth"), 10000, 100) as churn:
        yield churn


def test_ps_agrees_with_10000_coroutines_that_come_and_go(churn):
    end = time.monotonic() + SOAK_S
    looks = 0
    while time.monotonic() < end:
        tasks = coroutines(churn)
        assert len(tasks) == len({t["id"] for t in tasks})
        assert 9900 <= len(tasks) <= 10001
        assert check(churn, tasks) > 9000
        looks += 1
    assert looks >= SOAK_S / 10 and len(churn.said) > 10000
    still = churn.stop()
    tasks = coroutines(churn)
    assert check(churn, tasks) == 10000
    assert {t["name"]: t["fd"] for t in tasks} == still
