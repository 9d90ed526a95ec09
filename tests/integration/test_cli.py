# SPDX-License-Identifier: Apache-2.0
"""The command line: exit status one by one, JSON, widths, recordings."""
import json
import os
import pty
import re
import select
import struct
import subprocess
import fcntl
import termios
import threading
import time
import unicodedata

import pytest

import tool
import world

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def stranded_pool(net, victim, conns):
    """A client whose server rebooted: eight stranded readers."""
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    for _ in range(8):
        client.read(client.dial("10.78.0.2:7000"))
        server.accept()
    world.power_cut(b, "10.78.0.1", server)
    return client


# Exit status, one by one.

def test_status_0_is_clean(waits, victim):
    with tool.Program(victim("mass"), "10") as quiet:
        quiet.truth()
        result = tool.stranded("check", quiet.pid)
        assert result.status == tool.CLEAN, result


def test_status_1_is_findings(stranded_pool):
    result = tool.stranded("check", "--min-blocked", "0s", stranded_pool.pid)
    assert result.status == tool.FINDINGS, result
    assert re.search(r"(?m)^PROVEN ", result.out), result
    assert "half-open" in result.out
    assert "10.78.0.2:7000" in result.out
    assert re.search(r"main\.go:\d+", result.out), result


def test_status_2_is_nothing_judged():
    child = subprocess.Popen(["sleep", "60"])
    try:
        # It has a thread, so there is something; but no goroutine.
        assert tool.stranded("ps", child.pid).status == tool.CLEAN
        assert tool.stranded("ps", "--format", "debug2",
                             child.pid).status == tool.NOTHING
    finally:
        child.kill()
        child.wait()


def test_status_3_is_gaps_without_findings(conns):
    program = conns()
    timer = threading.Timer(0.5, program.child.kill)
    timer.start()
    result = tool.stranded("check", program.pid)
    timer.join()
    assert result.status == tool.GAPS, result
    assert "No findings" not in result.out.splitlines()[-1] or \
        "ot seen" in result.out, result


def test_running_goroutines_are_counted_and_nothing_worse(conns):
    busy = conns()
    busy.do("spin", 1)
    for _ in range(20):
        result = tool.stranded("check", "--quick", "--format", "json",
                               busy.pid)
        # Who runs is not stuck: told, and no reason to doubt the rest.
        assert result.status == tool.CLEAN, result
        if "running" in [g["kind"] for g in result.json["gaps"]]:
            return
    pytest.fail("no look met the running goroutine")


@pytest.mark.parametrize("arguments", [
    [], ["--no-such-option"], ["check"],
    ["check", "--min-blocked"], ["check", "--min-blocked", "5", "1"],
    ["check", "--min-blocked", "-5s", "1"], ["check", "--format", "xml", "1"],
    ["ps", "--format", "yaml", "1"], ["check", "--rules", "/nonexistent", "1"],
    ["sockets", "--format", "debug2", "1"]])
def test_status_64_is_usage(arguments):
    result = tool.stranded(*arguments)
    assert result.status == tool.USAGE, result
    assert result.err.startswith("stranded: "), result
    assert result.out == "", result


def test_recording_that_is_not_there(waits):
    result = tool.stranded("check", "--net-from", "/nonexistent", waits.pid)
    assert result.status == tool.USAGE, result
    assert "/nonexistent" in result.err, result


def test_rules_that_do_not_parse_are_named_by_line(tmp_path, waits):
    path = tmp_path / "bad.rules"
    path.write_text("[broken\n\0\xff=\n")
    result = tool.stranded("check", "--rules", path, waits.pid)
    assert result.status == tool.USAGE, result
    assert "bad.rules" in result.err, result


@pytest.mark.parametrize("arguments", [["help"], ["--help"], ["version"],
                                       ["--version"], ["help", "check"],
                                       ["check", "--help"]])
def test_help_and_version_are_answers(arguments):
    result = tool.stranded(*arguments)
    assert result.status == tool.CLEAN, result
    assert result.out, result
    assert result.err == "", result


# JSON.

def walk(value, path=""):
    if isinstance(value, dict):
        for key, v in value.items():
            yield from walk(v, path + "." + key)
    elif isinstance(value, list):
        for v in value:
            yield from walk(v, path + "[]")
    else:
        yield path, value


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


def test_json_of_check_keeps_the_contract(stranded_pool):
    result = tool.stranded("check", "--format", "json", "--min-blocked", "0s",
                           stranded_pool.pid)
    report = result.json
    assert report["schema"] == 1
    assert report["tool"]["name"] == "stranded" and report["tool"]["version"]
    target = report["target"]
    assert target["pid"] == stranded_pool.pid
    assert target["exe"] == os.readlink("/proc/%d/exe" % stranded_pool.pid)
    assert re.match(r"go1\.\d+", target["runtime"])
    assert TIME.match(target["started"]), target
    begin = start_time(stranded_pool.pid)
    assert abs(parse_time(target["started"]) - begin) < 1.5, target
    summary = report["summary"]
    assert summary["tasks"] >= summary["blocked"] >= 8
    assert summary["findings"] == len(report["findings"]) == 1
    assert summary["stopped_ms"] == 0
    assert 1000 <= summary["duration_ms"] < 10000
    f = report["findings"][0]
    assert f["fingerprint"] and f["kind"] == "stranded-reader"
    assert f["count"] == len(f["tasks"]) == 8
    for task in f["tasks"]:
        assert task["wait"] == "IO wait" and task["deadline"] is None
        blocked = task["blocked_ms"]
        assert blocked["at_least"] >= 0
    for frame in f["stack"]:
        assert set(frame) >= {"function", "file", "line"}, frame
    assert f["created_by"]["function"] == "main.command"
    for e in f["socket"]["evidence"]:
        assert e["kind"] and e["text"] and TIME.match(e["at"]), e
        assert not e["text"].endswith("."), e
    assert all(isinstance(a, str) and a for a in f["advice"])
    for path, value in walk(report):
        assert not isinstance(value, float) or value == value, path


def parse_time(text):
    import datetime
    return datetime.datetime.fromisoformat(
        text.replace("Z", "+00:00")).timestamp()


def start_time(pid):
    with open("/proc/%d/stat" % pid) as f:
        ticks = int(f.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/stat") as f:
        boot = int(re.search(r"btime (\d+)", f.read()).group(1))
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def test_fingerprint_survives_a_restart(net, conns):
    seen = set()
    for round_ in range(2):
        a, b = net.pair()
        client, server = conns(a), conns(b)
        server.listen("10.78.0.2:%d" % (7000 + round_ * 0))
        client.read(client.dial("10.78.0.2:7000"))
        server.accept()
        world.power_cut(b, "10.78.0.1", server)
        report = world.check(client.pid).json
        seen |= {f["fingerprint"] for f in report["findings"]}
    assert len(seen) == 1


@pytest.mark.parametrize("arguments", [
    ["ps"], ["ps", "--stacks"], ["sockets"], ["check", "--quick"]])
def test_json_is_json(waits, arguments):
    result = tool.stranded(*arguments, "--format", "json", waits.pid)
    assert result.json["schema"] == 1
    assert isinstance(result.json["gaps"], list)
    assert result.json["target"]["pid"] == waits.pid


def test_sockets_are_those_of_the_kernel(waits):
    listed = tool.stranded("sockets", "--format", "json", waits.pid).json
    ss = subprocess.run(["ss", "-Htanp"], stdout=subprocess.PIPE, text=True)
    want = set()
    for line in ss.stdout.splitlines():
        if "pid=%d," % waits.pid in line:
            words = line.split()
            want.add((words[3].replace("*:", "[::]:"),
                      words[4].replace("*:", "[::]:")))
    got = {(s["local"], s["remote"] or s["local"].rsplit(":", 1)[0] + ":*")
           for s in listed["sockets"]}
    assert {x[0] for x in want} == {x[0] for x in got}
    assert len(listed["sockets"]) == len(want)


def test_check_all_reads_every_go_process(conns, victim):
    one, two = conns(), conns()
    result = tool.stranded("check", "--all", "--quick", "--format", "json")
    assert result.status in (0, 1, 3), result
    assert str(one.pid) in result.out and str(two.pid) in result.out


# Widths: a real terminal, not a variable.

def on_terminal(columns, *args, env=None):
    """Output of stranded on a terminal of that width, with its escapes."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(env or {}, TERM="xterm-256color")
        os.environ.pop("COLUMNS", None)
        time.sleep(0.2)     # until the size is set
        os.execv(tool.binary(), [tool.binary()] + [str(a) for a in args])
    fcntl.ioctl(fd, termios.TIOCSWINSZ,
                struct.pack("HHHH", 50, columns, 0, 0))
    out, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([fd], [], [], 0.5)[0]:
            continue
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        out += data
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    return os.waitstatus_to_exitcode(status), \
        out.decode().replace("\r\n", "\n")


def width(line):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1
               for c in ANSI.sub("", line))


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("arguments", [
    ["check", "--min-blocked", "0s"], ["ps"], ["sockets"]])
def test_no_line_is_wider_than_the_terminal(stranded_pool, columns, arguments):
    status, out = on_terminal(columns, *arguments, stranded_pool.pid)
    assert status in (tool.CLEAN, tool.FINDINGS, tool.GAPS), out
    lines = out.splitlines()
    assert len(lines) > 5
    for line in lines:
        assert width(line) <= columns, repr(line)


def test_colour_on_a_terminal_only(stranded_pool):
    args = ["check", "--min-blocked", "0s", stranded_pool.pid]
    assert "\x1b[" in on_terminal(80, *args)[1]
    assert "\x1b[" not in on_terminal(80, *args, env={"NO_COLOR": "1"})[1]
    assert "\x1b[" not in tool.stranded(*args).out


def test_names_from_the_target_are_escaped(victim, tmp_path):
    """A program's name and labels may carry escapes for a terminal."""
    import shutil
    path = str(tmp_path / "x\x1b]0;owned\x07\n")
    shutil.copy(victim("waits"), path)
    with tool.Program(path) as program:
        program.truth()
        for command in ("check", "ps", "sockets", "doctor"):
            result = tool.stranded(command, program.pid)
            assert "\x1b" not in result.out + result.err, result
            assert "\x07" not in result.out + result.err, result
        report = tool.stranded("check", "--quick", "--format", "json",
                               program.pid).json
        assert report["target"]["exe"] == path


# Recordings.

def judged(report):
    return [(f["kind"], f["grade"], f["count"], f["fingerprint"],
             f["socket"]["verdict"], f["socket"]["local"],
             [e["kind"] for e in f["socket"]["evidence"]])
            for f in report["findings"]]


def test_a_recording_is_judged_alike(stranded_pool, tmp_path):
    path = str(tmp_path / "net.rec")
    live = world.check(stranded_pool.pid, "--net-record", path)
    assert live.status == tool.FINDINGS, live
    again = world.check(stranded_pool.pid, "--net-from", path)
    assert again.status == tool.FINDINGS, again
    assert judged(live.json) == judged(again.json)
    listed = tool.stranded("sockets", "--format", "json", "--net-from", path,
                           stranded_pool.pid)
    assert len(listed.json["sockets"]) == 8, listed


@pytest.mark.parametrize("cut", [0, 5, 0.5, -1])
def test_a_broken_recording_is_refused(stranded_pool, tmp_path, cut):
    path = str(tmp_path / "net.rec")
    world.check(stranded_pool.pid, "--net-record", path)
    with open(path, "rb") as f:
        data = f.read()
    at = int(len(data) * cut) if isinstance(cut, float) else cut
    with open(path, "wb") as f:
        f.write(data[:at])
    result = world.check(stranded_pool.pid, "--net-from", path)
    assert result.status == tool.USAGE, result
    assert "net.rec" in result.err, result


def test_doctor_says_how_it_knows(waits):
    result = tool.stranded("doctor", waits.pid)
    assert result.status in (tool.CLEAN, tool.GAPS), result
    assert (result.status == tool.GAPS) == ("missing" in result.out), result
    assert re.search(r"go1\.\d+", result.out), result
    plain = tool.stranded("doctor")
    assert plain.status in (tool.CLEAN, tool.GAPS), plain
    assert plain.out
