# SPDX-License-Identifier: Apache-2.0
"""watch-tasks: which place in a program creates what never ends."""
import json
import signal
import threading
import time

import pytest

import cbuild
import tool

COROUTINES = """
#include <err.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <stdio.h>
#define BYTES (32 << 10)
static ucontext_t main_context, contexts[4096];
static int n, ended;
static void park(int i) { swapcontext(&contexts[i], &main_context); }
static void end(int i) { (void)i; ended++; }
#define MAKE(f) do { \\
	ucontext_t *u = &contexts[n]; \\
	getcontext(u); \\
	u->uc_stack.ss_sp = mmap(NULL, BYTES, 3, MAP_PRIVATE | MAP_ANONYMOUS, \\
				 -1, 0); \\
	u->uc_stack.ss_size = BYTES; \\
	u->uc_link = &main_context; \\
	makecontext(u, (void (*)(void))f, 1, n); \\
	swapcontext(&main_context, u); \\
	n++; \\
} while (0)
static __attribute__((noinline)) void leak(void) { MAKE(park); usleep(0); }
static __attribute__((noinline)) void serve(void) { MAKE(end); usleep(0); }
int main(void)
{
	puts("{}");
	fflush(stdout);
	while (n < 4000) {
		leak();
		serve();
		usleep(50000);
	}
	pause();
}
"""


def by_function(result, name):
    return [s for s in result.json["watch"]["sites"]
            if s["created_by"] and s["created_by"]["function"] == name]


def test_goroutines_that_never_end_are_told_by_their_line(victim):
    with tool.Program(victim("grow")) as program:
        program.truth()
        before = program.ask("?")
        result = tool.stranded("watch-tasks", "--for", "4s", "--every", "200ms",
                               "--format", "json", program.pid)
        after = program.ask("?")
        counts = [json.loads(line) for line in (before, after)]
        assert result.status == tool.FINDINGS, result
        watch = result.json["watch"]
        assert watch["looks"] >= 15 and watch["growing"] == 1, result
        grows = watch["sites"][0]
        assert grows["grows"] and grows["ended"] == 0, result
        assert grows["created_by"]["function"] == "main.main", result
        # Between the two answers more was made than between the two looks.
        assert 0 < grows["created"] <= counts[1]["leaked"] - \
            counts[0]["leaked"], (counts, grows)
        assert grows["created"] >= 0.7 * (counts[1]["leaked"] -
                                          counts[0]["leaked"]), (counts, grows)
        assert grows["oldest_at_least_ms"] >= 3900, grows
        others = [s for s in by_function(result, "main.main")
                  if not s["grows"] and s["created"]]
        assert others and max(s["ended"] for s in others) > 50, result
        # Those that end at once are seen by their ids, if by nothing.
        assert watch["unseen_at_most"] > 50, result
        text = tool.stranded("watch-tasks", "--for", "1s", program.pid)
        assert "CREATED BY" in text.out, text


def test_coroutines_are_counted_by_the_hook(tmp_path):
    source = tmp_path / "grow.c"
    source.write_text(COROUTINES)
    path = cbuild.program("grow", [str(source)], "-D_GNU_SOURCE",
                          "-fno-optimize-sibling-calls")
    with tool.Program(tool.binary(), "run", "--", path) as program:
        program.truth()
        result = tool.stranded("watch-tasks", "--for", "3s", "--format",
                               "json", program.pid)
        assert result.status == tool.FINDINGS, result
        sites = {s["created_by"]["function"]: s
                 for s in result.json["watch"]["sites"] if s["created_by"]}
        leak, serve = sites["leak"], sites["serve"]
        assert leak["runtime"] == serve["runtime"] == "coroutine", result
        assert leak["grows"] and leak["ended"] == 0, result
        assert not serve["grows"] and serve["ended"] > 25, result
        assert abs(serve["created"] - serve["ended"]) <= 1, result
        assert leak["created"] == leak["alive"] - leak["alive_first"] > 25


def test_a_program_that_ends_is_told_and_what_was_seen(victim):
    with tool.Program(victim("grow")) as program:
        program.truth()
        timer = threading.Timer(1.5, program.signal, [signal.SIGKILL])
        timer.start()
        begin = time.monotonic()
        result = tool.stranded("watch-tasks", "--for", "30s", "--every",
                               "200ms", "--format", "json", program.pid)
        timer.join()
        assert time.monotonic() - begin < 10, result
        assert result.status == tool.GAPS, result
        assert result.json["target"]["gone"], result
        assert result.json["watch"]["looks"] > 3, result


def test_too_few_looks_are_refused():
    result = tool.stranded("watch-tasks", "--for", "4s", "--every", "2s", 1)
    assert result.status == tool.USAGE and "quarter" in result.err, result


@pytest.mark.parametrize("args", [("--for", "0s"), ("--every", "1ms"),
                                  ("--for", "x"), ("--for", "2d")])
def test_wrong_durations(args):
    result = tool.stranded("watch-tasks", *args, 1)
    assert result.status == tool.USAGE and "is no duration" in result.err
