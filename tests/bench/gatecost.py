# SPDX-License-Identifier: Apache-2.0
"""What the gate costs, beside the same command without it."""
import json
import os
import statistics
import subprocess
import tempfile
import time

import gobuild
import tool

SHORT = "i=0; while [ $i -lt 2000 ]; do /bin/true; i=$((i+1)); done"


def seconds(argv, env=None, cwd=None):
    begin = time.monotonic()
    subprocess.run(argv, env=env, cwd=cwd, check=False,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - begin


def pairs(times, argv, **more):
    """Medians without and with the gate; in turns, on a machine that others
    use, too."""
    bare, gated = [], []
    for _ in range(times):
        bare.append(seconds(argv, **more))
        gated.append(seconds([tool.binary(), "gate", "--"] + argv, **more))
    return statistics.median(bare), statistics.median(gated)


def test_binary(out):
    path = os.path.join(out, "many.test")
    subprocess.run([gobuild.base_go(), "test", "-c", "-o", path, "."],
                   check=True, cwd=os.path.join(gobuild.ROOT, "tests",
                                                "victims", "many"))
    return path


def held(path, goroutines):
    """Milliseconds for which the exit was held, without time of grace."""
    with tempfile.NamedTemporaryFile() as report:
        subprocess.run([tool.binary(), "gate", "--grace", "0", "--report",
                        "json=" + report.name, "--", path],
                       env=dict(os.environ, GOROUTINES=str(goroutines)),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       check=False)
        process, = json.load(open(report.name))["processes"]
    assert sum(l["count"] for l in process["leaks"]) == goroutines, process
    return process["held_ms"]


def bench(row, quick, out):
    times = 3 if quick else 7
    os.makedirs(out, exist_ok=True)
    path = test_binary(out)
    bare, gated = pairs(times, [path])
    row("gate: 200 tests in a package, added",
        "%.1f" % ((gated / bare - 1) * 100), "%", "<= 3",
        "%.0f ms without" % (bare * 1000))
    bare, gated = pairs(times, ["sh", "-c", SHORT])
    row("gate: added to each of 2,000 short processes",
        "%.2f" % ((gated - bare) / 2.0), "ms", "<= 1",
        "ratio %.2f" % (gated / bare))
    bare, gated = pairs(times, ["true"])
    row("gate: a command by itself", "%.1f" % ((gated - bare) * 1000), "ms")
    row("gate: exit held, 10,000 goroutines",
        "%.0f" % statistics.median(held(path, 10000) for _ in range(times)),
        "ms", "<= 50", "with stacks, first look")
