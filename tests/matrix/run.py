#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every Go version, every way to link: is what stranded sees what Go says?

For each toolchain and flavour a program with a goroutine in every kind of wait
is built and run; `stranded ps --format debug2` must equal the program's own
debug=2 text for every parked goroutine, and `ps --format json` what the
program knows of its file descriptors, deadlines, channels, locks and labels.

usage: run.py [--flavours A,B] [TOOLCHAIN...]
environment: MATRIX=edges (default: first and last patch of each minor)
                    latest (last patch of each minor)
                    all (every one known here)
             CI=true: a toolchain that could not be had is a failure
Exit status: 0 all passed, 1 failures, 2 nothing could be tested.
"""
import argparse
import concurrent.futures
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import dump         # noqa: E402
import gobuild      # noqa: E402
import tool         # noqa: E402
import truth        # noqa: E402

# minor: the patches that the module proxy serves and that are of interest
SERVED = {
    "1.17": ["1.17.1", "1.17.6", "1.17.13"],
    "1.18": ["1.18", "1.18.10"],
    "1.19": ["1.19.2", "1.19.13"],
    "1.20": ["1.20", "1.20.14"],
    "1.21": ["1.21.0", "1.21.13"],
    "1.22": ["1.22.0", "1.22.12"],
    "1.23": ["1.23.0", "1.23.12"],
    "1.24": ["1.24.0", "1.24.13"],
    "1.25": ["1.25.0", "1.25.14"],
    "1.26": ["1.26.0", "1.26.11"],
    "1.27": ["1.27.0", "1.27.4"],
}
LOGS = os.path.join(gobuild.ROOT, "build", "matrix")


def chosen():
    which = os.environ.get("MATRIX", "edges")
    pick = {
        "all": lambda v: v,
        "latest": lambda v: v[-1:],
        "edges": lambda v: [v[0], v[-1]],
    }.get(which)
    if pick is None:
        sys.exit("MATRIX is %r; edges, latest or all" % which)
    return [t for minor in SERVED.values() for t in pick(minor)]


def differences(program):
    """What is not equal. The program stands still but for its dumper."""
    known = program.truth()
    own = dump.parse(tool.own_dump(program))
    seen = tool.stranded("ps", "--format", "debug2", "--stacks", program.pid)
    if seen.status not in (tool.CLEAN, tool.GAPS):
        return 0, ["ps --format debug2: %r" % seen]
    again = dump.parse(tool.own_dump(program))
    moved = {g for g in own if g not in again or
             own[g].frames != again[g].frames or
             own[g].state != again[g].state}
    n, ret = dump.compare(own, dump.parse(seen.out), moved | runtime_only(own))
    if not known["complete"]:
        ret.append("the program did not get all its goroutines to wait")
    listed = tool.stranded("ps", "--format", "json", "--stacks", program.pid)
    if listed.status not in (tool.CLEAN, tool.GAPS):
        return n, ret + ["ps --format json: %r" % listed]
    return n, ret + truth.check(known, listed.json)


def runtime_only(own):
    """Goroutines that dump themselves: what they do depends on who looks."""
    return {number for number, g in own.items()
            if any(f.function == "main.control" for f in g.frames)}


def attempt(path):
    """(goroutines compared, differences); once more when the machine is slow."""
    for last in (False, True):
        try:
            with tool.Program(path, stderr=subprocess.DEVNULL) as program:
                n, found = differences(program)
        except (AssertionError, ValueError, KeyError, OSError) as e:
            n, found = 0, ["%s: %s" % (type(e).__name__, e)]
        if last or not found:
            return n, found


def prepare(toolchain, flavours):
    """Build all flavours: {flavour: path or BuildError}."""
    ret = {}
    for flavour in flavours:
        try:
            ret[flavour] = gobuild.victim("waits", toolchain, flavour)
        except gobuild.BuildError as e:
            ret[flavour] = e
    return ret


class Tally:
    def __init__(self):
        self.passed = self.failed = self.uncovered = 0

    def show(self, toolchain, flavour, n, found, seconds):
        log = os.path.join(LOGS, "%s-%s.txt" % (toolchain, flavour))
        if not found:
            self.passed += 1
            if os.path.exists(log):
                os.unlink(log)
            print("  PASS  %-8s %-16s %4d goroutines  %4.1f s"
                  % (toolchain, flavour, n, seconds), flush=True)
            return
        self.failed += 1
        with open(log, "w") as f:
            f.write("\n".join(found) + "\n")
        print("  FAIL  %-8s %-16s %4d goroutines  %d differences: %s"
              % (toolchain, flavour, n, len(found),
                 os.path.relpath(log, gobuild.ROOT)))
        for text in found[:3]:
            print("          " + text[:600].replace("\n", "\n          "))
        sys.stdout.flush()

    def show_uncovered(self, toolchain, flavour, why):
        self.uncovered += 1
        print("  NONE  %-8s %-16s %s" % (toolchain, flavour,
                                         str(why)[-300:].replace("\n", " ")))

    def test(self, toolchain, built):
        for flavour, path in built.items():
            if isinstance(path, gobuild.BuildError):
                self.show_uncovered(toolchain, flavour, path)
                continue
            begin = time.monotonic()
            n, found = attempt(path)
            self.show(toolchain, flavour, n, found, time.monotonic() - begin)


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--flavours", default=",".join(gobuild.FLAVOURS))
    parser.add_argument("toolchains", nargs="*")
    args = parser.parse_args()
    if args.help:
        print(__doc__)
        return 0
    toolchains = args.toolchains or chosen()
    flavours = args.flavours.split(",")
    os.makedirs(LOGS, exist_ok=True)
    begin = time.monotonic()
    tally = Tally()
    try:
        gobuild.newest_base()
    except gobuild.BuildError as e:
        print("no toolchain can be had: %s" % e, file=sys.stderr)
        print("0 passed, 0 failed")
        return 1 if os.environ.get("CI") == "true" else 2
    # One toolchain is built while the one before it is tested.
    with concurrent.futures.ThreadPoolExecutor(1) as builder:
        jobs = [builder.submit(prepare, t, flavours) for t in toolchains]
        for toolchain, job in zip(toolchains, jobs):
            tally.test(toolchain, job.result())
    if tally.uncovered:
        print("not covered: %d of %d; no such toolchain here, or no network"
              % (tally.uncovered, len(toolchains) * len(flavours)))
    print("%d toolchains, %d flavours, %d min %02d s"
          % (len(toolchains), len(flavours),
             *divmod(int(time.monotonic() - begin), 60)))
    print("%d passed, %d failed" % (tally.passed, tally.failed))
    if tally.failed or (tally.uncovered and os.environ.get("CI") == "true"):
        return 1
    return 0 if tally.passed else 2


if __name__ == "__main__":
    sys.exit(main())
