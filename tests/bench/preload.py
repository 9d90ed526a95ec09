# SPDX-License-Identifier: Apache-2.0
"""What `stranded run` costs a program: per switch of Boost.Context, per call
that would block, per read that does not. Rounds with the hook and without take
turns, so that both see the same machine."""
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


def bench(row):
    print("preload: programs under stranded run, medians of %d rounds"
          % ROUNDS)
    boost = cbuild.program("bench_boost", ["tests/hook/bench_boost.cc"],
                           "-lboost_context")
    show(row, "switch of Boost.Context", rounds(boost)[0], "<= +15")
    recv = rounds(cbuild.program("bench_recv", ["tests/hook/bench_recv.c"]))
    show(row, "recv() that would block", recv[0], "")
    show(row, "read() of one byte", recv[1], "")
