# SPDX-License-Identifier: Apache-2.0
"""stranded gate before commands that others depend on: nothing changes.

This project's own make, and packages of google.golang.org/grpc: bare, and
under the gate.
"""
import collections
import json
import os
import re
import shutil
import subprocess

import pytest

import gate
import gobuild

pytestmark = pytest.mark.slow

# What a make around the tests hands down.
MAKES_OWN = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "SAN", "DEV",
             "V", "BUILD", "VERSION", "CFLAGS", "LDFLAGS", "CC")


def bare(*command, cwd, env):
    """As gate.gate(), without it."""
    return gate.Run(subprocess.run(
        [str(c) for c in command], cwd=cwd, env=gate.environment(env),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, timeout=300), None)


# --- a build


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """What a clone of this project holds, and make finds nothing built in."""
    to = str(tmp_path_factory.mktemp("make"))
    names = subprocess.run(["git", "ls-files", "-z"], cwd=gobuild.ROOT,
                           stdout=subprocess.PIPE, check=True).stdout
    for name in filter(None, names.decode().split("\0")):
        path = os.path.join(to, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy2(os.path.join(gobuild.ROOT, name), path)
    return to


def make(run, sources, *arguments):
    """make by @run(): the result, and {file: content} of all that was built."""
    out = os.path.join(sources, "out")
    own = {"CCACHE_DISABLE": "1", "LC_ALL": "C"}
    mark = gate.mark()
    # of env(1), so that what is unset for make is unset for it alone
    done = run("env", *["--unset=" + n for n in MAKES_OWN], "make", "BUILD=out",
               "VERSION=test", "CFLAGS=-O0", *arguments, cwd=sources,
               env=dict(own, **mark))
    assert not gate.left_behind(mark), done
    built = {}
    for at, _, files in os.walk(out):
        for path in (os.path.join(at, f) for f in files):
            with open(path, "rb") as f:
                built[os.path.relpath(path, out)] = f.read()
    shutil.rmtree(out, ignore_errors=True)
    return done, built


def lines(text):
    """Two jobs at once have no order."""
    return sorted(text.splitlines())


def test_make_of_this_project(sources):
    want, built = make(bare, sources, "-j2")
    assert want.status == 0, want
    run, also = make(gate.gate, sources, "-j2")
    assert run.status == 0, run
    assert lines(run.out) == lines(want.out)
    assert lines(run.err) == lines(want.err)
    assert sorted(also) == sorted(built)
    assert [n for n in built if also[n] != built[n]] == []
    assert "stranded" in built
    # each of these had a shell or cc, its compiler and its assembler below it
    objects = [n for n in built if n.endswith(".o")]
    assert run.report["summary"]["exits"] > 3 * len(objects) > 300, run
    assert not run.leaks and not run.report["orphans"], run


def test_make_that_fails(sources):
    path = os.path.join(sources, "base", "arena.c")
    with open(path) as f:
        text = f.read()
    try:
        with open(path, "w") as f:
            f.write(text + "\nint broken(void) { return nothing; }\n")
        want, built = make(bare, sources, "-j1")
        run, also = make(gate.gate, sources, "-j1")
    finally:
        with open(path, "w") as f:
            f.write(text)
    assert want.status == 2 and "'nothing' undeclared" in want.err, want
    assert (run.status, run.out, run.err) == (2, want.out, want.err), run
    assert also == built and not run.leaks, run


# --- go test of a large module

GRPC = "google.golang.org/grpc"
CLEAN = ["codes", "credentials", "encoding", "health", "internal/channelz",
         "internal/grpcsync", "metadata", "stats", "status", "test/bufconn"]
# TestResolver dials and closes nothing; TestCheckRegisterIgnore has one sleep
# that its own checker is told to overlook.
LEAKY = ["internal/leakcheck", "resolver/manual"]

POLICY = """
[resolver]
reason = TestResolver does not close its ClientConn
package = google.golang.org/grpc/resolver/manual

[ignored]
reason = it is what the test wants its checker to ignore
test = TestCheckRegisterIgnore
max = 1
"""

GOLEAK = """
package %s

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	status := m.Run()
	if err := goleak.Find(); err != nil {
		os.WriteFile("%s", []byte(err.Error()), 0o666)
	}
	os.Exit(status)
}
"""


@pytest.fixture(scope="module")
def grpc():
    try:
        return gobuild.module(GRPC, "v1.67.1")
    except gobuild.BuildError as e:
        pytest.skip(str(e)[-400:])


def grpc_env():
    # A collection under way at an exit would keep others from their end.
    return dict(gate.go_env(), GOFLAGS="-mod=readonly", GOGC="off")


def results(run):
    """{(package, test or None): result} of go test -json."""
    said = map(json.loads, run.out.splitlines())
    return {(e["Package"], e.get("Test")): e["Action"] for e in said
            if e["Action"] in ("pass", "fail", "skip")}


def packages(processes):
    return sorted({p["package"][len(GRPC) + 1:] for p in processes})


def test_go_test_of_grpc(grpc, tmp_path):
    policy = tmp_path / "policy.ini"
    policy.write_text(POLICY)
    command = ["go", "test", "-count=1", "-short", "-json",
               *["./" + p for p in CLEAN + LEAKY]]
    want = bare(*command, cwd=grpc, env=grpc_env())
    assert want.status == 0, want
    mark = gate.mark()
    run = gate.gate(*command, cwd=grpc, env=dict(grpc_env(), **mark),
                    options=["--policy", policy])
    assert run.status == 0, run.err
    assert not gate.left_behind(mark), run
    assert results(run) == results(want)
    assert {p for p, test in results(want) if not test} == {
        GRPC + "/" + p for p in CLEAN + LEAKY}
    judged = [p for p in run.report["processes"] if p["outcome"] == "judged"]
    assert packages(judged) == sorted(CLEAN + LEAKY), run
    assert packages(p for p, _ in run.leaks) == LEAKY, run
    assert {l["ignored_by"]["rule"] for _, l in run.leaks} == {
        "resolver", "ignored"}, run


def overlay(grpc, tmp_path, said):
    """Adds goleak's own look to each of LEAKY; the arguments of go test."""
    replace = {}
    for package, name in zip(LEAKY, ("leakcheck", "manual_test")):
        source = tmp_path / (name + ".go")
        source.write_text(GOLEAK % (name, said[package]))
        replace[os.path.join(grpc, package, "goleak_test.go")] = str(source)
    path = tmp_path / "overlay.json"
    path.write_text(json.dumps({"Replace": replace}))
    for ext in ("mod", "sum"):
        shutil.copy(os.path.join(grpc, "go." + ext), tmp_path / ("x." + ext))
    mod = tmp_path / "x.mod"
    subprocess.run(["go", "mod", "edit", "-require=go.uber.org/goleak@v1.2.1",
                    mod], cwd=grpc, env=gate.environment(gate.go_env()),
                   check=True)
    return ["-overlay", path, "-modfile", mod]


def goroutines(text):
    """{(state, function on top, creator): how many} as goleak puts them."""
    found = re.findall(r"Goroutine \d+ in state ([^,\n]+).*?, with (\S+) on top"
                       r".*?\ncreated by (\S+)", text, re.S)
    assert len(found) == len(
        re.findall(r"Goroutine \d+ in state", text)), text
    return collections.Counter(found)


def test_what_is_found_in_grpc_is_what_goleak_finds(grpc, tmp_path):
    """Both look at the same processes."""
    said = {p: tmp_path / p.replace("/", "-") for p in LEAKY}
    run = gate.gate("go", "test", "-count=1", "-run", "Resolver|Ignore",
                    *overlay(grpc, tmp_path, said), *["./" + p for p in LEAKY],
                    cwd=grpc, env=gate.go_env())
    assert run.status != 0, run
    for package in LEAKY:
        ours = collections.Counter()
        for p, l in run.leaks:
            if p["package"] == GRPC + "/" + package:
                ours[l["state"], l["stack"][0]["function"],
                     l["created_by"]["function"]] += l["count"]
        assert ours == goroutines(said[package].read_text()), run
