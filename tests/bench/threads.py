# SPDX-License-Identifier: Apache-2.0
"""Native threads: a look at many of them, without a stop, beside eu-stack and
gdb, which stop the whole program; and for how long `--stop` stops one."""
import os
import shutil
import subprocess
import time

import cbuild
import tool


def taken(argv, times):
    ret = []
    for _ in range(times):
        begin = time.monotonic()
        subprocess.run(argv, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        ret.append((time.monotonic() - begin) * 1000)
    return sorted(ret)[len(ret) // 2]


def look_at(row, program, n):
    with tool.Program(program, n) as many:
        assert many.line() == "ready"
        print("%d threads in 17 frames each, in recv()" % n)
        own = taken([tool.binary(), "ps", "--stacks", str(many.pid)], 5)
        row("stranded ps --stacks, stopped 0", "%.1f" % own, "ms")
        for name, argv in (
                ("eu-stack", ["eu-stack", "-p", str(many.pid)]),
                ("gdb thread apply all bt", [
                    "gdb", "-p", str(many.pid), "-batch", "-nx", "-ex",
                    "set debuginfod enabled off", "-ex",
                    "thread apply all bt"])):
            if not shutil.which(argv[0]):
                print("  (no %s here)" % argv[0])
                continue
            theirs = taken(argv, 3)
            row(name + ", all stopped", "%.0f" % theirs, "ms", "",
                "%.0f x" % (theirs / own))


def bench(row, out, quick):
    program = cbuild.program("deep", ["tests/victims/threads/deep.c"])
    for n in (100, 1000) if quick else (100, 1000, 10000):
        look_at(row, program, n)
    with tool.Program(program, 25) as some:
        some.line()
        p50, p99, most, n = subprocess.run(
            [os.path.join(out, "stop"), str(some.pid), "40"], check=True,
            stdout=subprocess.PIPE, text=True).stdout.split()
        print("a stop of one thread, registers and 8 KiB of stack, %s times" % n)
        row("median", p50, "us")
        row("p99", p99, "us", "<= 300 us")
        row("longest", most, "us")
