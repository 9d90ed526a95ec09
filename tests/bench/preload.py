# SPDX-License-Identifier: Apache-2.0
"""What the hook costs a program: per switch of ucontext and of Boost.Context,
per call of stranded/hook.h, per call that would block, per read that does not.
Rounds with the hook and without take turns, so that both see the same
machine."""
import os
import statistics

import cbuild
import tool

ROUNDS = 9


def rounds(program):
    """[(without, with), ...], a pair for each number that it prints."""
    plain, hooked = [], []
    for _ in range(ROUNDS):
        plain.append(numbers(tool.run([program])))
        hooked.append(numbers(tool.stranded("run", program)))
    return [(statistics.median(a), statistics.median(b))
            for a, b in zip(zip(*plain), zip(*hooked))]


def numbers(result):
    if result.status:
        raise RuntimeError(repr(result))
    return [float(x) for x in result.out.split()]


def show(row, what, pair, budget):
    row(what + ", without", "%.1f" % pair[0], "ns")
    row(what + ", hooked", "%.1f" % pair[1], "ns", budget,
        "%+.1f ns" % (pair[1] - pair[0]))


def show_header(row):
    archive = os.path.join(os.path.dirname(tool.binary()),
                           "libstranded-hook.a")
    program = cbuild.program("bench_header", ["tests/hook/bench_header.c"],
                             archive)
    runs = [numbers(tool.run([program])) for _ in range(ROUNDS)]
    plain, told = (statistics.median(x) for x in zip(*runs))
    row("own switch, there and back", "%.1f" % plain, "ns")
    row("the same with a park and an unpark", "%.1f" % told, "ns",
        "<= +2 a call", "%+.1f ns a call" % ((told - plain) / 2))


def show_ucontext(row):
    """Both kinds of switch are in one process; what is new, is in two."""
    program = cbuild.program("bench_ucontext",
                             ["tests/hook/bench_ucontext.c"])
    runs = rounds(program)
    hooked = [numbers(tool.stranded("run", program)) for _ in range(ROUNDS)]
    plain, told = (statistics.median(x) for x in list(zip(*hooked))[:2])
    row("swapcontext, without", "%.1f" % plain, "ns")
    row("swapcontext, hooked", "%.1f" % told, "ns", "<= +3 %",
        "%+.1f %%" % (100 * told / plain - 100))
    show(row, "makecontext and its stack", runs[2], "")
    show(row, "first switch there and back, ucontext", runs[3], "<= +60")


def bench(row):
    print("preload: programs under stranded run, medians of %d rounds"
          % ROUNDS)
    show_ucontext(row)
    show_header(row)
    boost = cbuild.program("bench_boost", ["tests/hook/bench_boost.cc"],
                           "-lboost_context")
    show(row, "switch of Boost.Context", rounds(boost)[0], "<= +15")
    recv = rounds(cbuild.program("bench_recv", ["tests/hook/bench_recv.c"]))
    show(row, "recv() that would block", recv[0], "")
    show(row, "read() of one byte", recv[1], "")
