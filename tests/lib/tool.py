# SPDX-License-Identifier: Apache-2.0
"""Runs stranded, and programs under test that answer by lines."""
import json
import os
import select
import signal
import subprocess
import tempfile
import time

import gobuild

CLEAN, FINDINGS, NOTHING, GAPS, USAGE = 0, 1, 2, 3, 64


def binary():
    return (os.environ.get("STRANDED_BIN") or os.environ.get("STRANDED") or
            os.path.join(gobuild.ROOT, "build", "stranded"))


class Result:
    """What one run did: status, out, err, seconds, max_rss (bytes)."""

    def __init__(self, argv, status, out, err, seconds, usage):
        self.argv = argv
        self.status = status
        self.raw = out
        self.out = out.decode("utf-8", "replace")
        self.err = err.decode("utf-8", "replace")
        self.seconds = seconds
        self.max_rss = usage.ru_maxrss * 1024
        self.cpu = usage.ru_utime + usage.ru_stime

    @property
    def json(self):
        try:
            return json.loads(self.raw.decode("utf-8"))
        except ValueError as e:
            raise AssertionError("no JSON: %s: %r" % (e, self)) from e

    def __repr__(self):
        return "%s\nstatus %s, %.2f s\n%s%s" % (
            " ".join(self.argv), self.status, self.seconds,
            self.out[-6000:], self.err[-4000:])


def stranded(*args, timeout=60, prefix=(), env=None):
    """Run it to its end. A negative status is the signal that ended it."""
    argv = list(prefix) + [binary()] + [str(a) for a in args]
    return run(argv, timeout=timeout, env=env)


def run(argv, timeout=60, env=None):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.monotonic()
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=err, env=dict(os.environ, **(env or {})))
        late = False
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if not late and time.monotonic() - begin > timeout:
                late = True
                child.kill()
            time.sleep(0.001)
        seconds = time.monotonic() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        ret = Result(argv, child.returncode, out.read(), err.read(), seconds,
                     usage)
    if late:
        raise AssertionError("took longer than %s s: %r" % (timeout, ret))
    return ret


class Program:
    """A program under test: lines in, lines out, ended for certain."""

    def __init__(self, *argv, prefix=(), **popen):
        self.argv = [str(a) for a in argv]
        self.child = subprocess.Popen(
            list(prefix) + self.argv, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, **popen)
        self.buffer = b""

    @property
    def pid(self):
        return self.child.pid

    def line(self, timeout=30):
        """The next line of its output, without the newline."""
        end = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [],
                                              left)[0]:
                raise AssertionError("%s: no line within %s s"
                                     % (self.argv[0], timeout))
            data = os.read(self.child.stdout.fileno(), 1 << 20)
            if not data:
                raise AssertionError("%s ended with status %s"
                                     % (self.argv[0], self.child.wait()))
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def ask(self, command, timeout=60):
        """Send one line and return the line that answers."""
        self.child.stdin.write(command.encode() + b"\n")
        self.child.stdin.flush()
        return self.line(timeout)

    def truth(self, timeout=60):
        return json.loads(self.line(timeout))

    def signal(self, number):
        self.child.send_signal(number)

    def end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def own_dump(program, how="dump"):
    """The program's own debug=2 text."""
    with tempfile.TemporaryDirectory(prefix="st-") as folder:
        path = os.path.join(folder, "dump")
        program.ask("%s %s" % (how, path))
        with open(path) as f:
            return f.read()


def wait_until(condition, timeout=10, step=0.05):
    """Poll until @condition() is true; returns its value, or the last."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)
