# SPDX-License-Identifier: Apache-2.0
"""Bad input gets a clear line, the right exit status, and nothing is lost."""
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

import gobuild
import tool
import world

# mov $34,%eax; syscall; jmp to the start: pause() for ever
PAUSE = b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7"


def refused(result, status, *words):
    """One clear line on stderr, and nothing that looks like a crash."""
    assert result.status == status, result
    lines = [line for line in result.err.splitlines() if line]
    assert lines, result
    assert lines[0].startswith("stranded: "), result
    for word in words:
        assert re.search(word, result.err), (word, result)
    assert not lines[0].rstrip().endswith("."), result
    return lines


def dead_pid():
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


@pytest.mark.parametrize("command", ["check", "ps", "sockets"])
def test_no_such_pid(command):
    pid = dead_pid()
    refused(tool.stranded(command, pid), tool.NOTHING, str(pid),
            "no such process|no process|gone|does not exist")


def test_no_such_name():
    refused(tool.stranded("check", "no-such-program-here"), tool.NOTHING,
            "no-such-program-here")


@pytest.mark.parametrize("argument", ["0", "-1", "99999999999999999999",
                                      "12x/../34", ""])
def test_what_is_no_pid(argument):
    result = tool.stranded("check", "--", argument)
    assert result.status in (tool.NOTHING, tool.USAGE), result
    refused(result, result.status)


def test_name_that_fits_several_processes_reads_each(conns):
    one, two = conns(), conns()
    with open("/proc/%d/comm" % one.pid) as f:
        name = f.read().strip()
    result = tool.stranded("check", "--quick", name)
    assert result.status == tool.CLEAN, result
    for program in (one, two):
        assert "pid %d" % program.pid in result.out, result


def test_zombie():
    child = subprocess.Popen(["true"])
    try:
        assert tool.wait_until(lambda: ") Z " in open(
            "/proc/%d/stat" % child.pid).read())
        for command in ("check", "ps"):
            refused(tool.stranded(command, child.pid), tool.NOTHING,
                    "zombie", str(child.pid))
    finally:
        child.wait()


def test_kernel_thread():
    if not os.path.exists("/proc/2/stat") or \
            " (kthreadd) " not in open("/proc/2/stat").read():
        pytest.skip("pid 2 is no kernel thread here (a pid namespace)")
    refused(tool.stranded("check", 2), tool.NOTHING)


@pytest.fixture
def python_server():
    """A program that is not Go, with a connection."""
    child = subprocess.Popen(
        [sys.executable, "-c",
         "import socket,sys\n"
         "l=socket.create_server(('127.0.0.1',0)); print(l.getsockname()[1],"
         "flush=True)\nc=l.accept()[0]\nc.recv(1)"], stdout=subprocess.PIPE)
    port = int(child.stdout.readline())
    with socket.create_connection(("127.0.0.1", port)) as s:
        yield child.pid, port, s.getsockname()[1]
    child.kill()
    child.wait()
    child.stdout.close()


def test_not_go_has_threads_and_its_sockets_are_reported(python_server):
    pid, port, peer = python_server
    result = tool.stranded("check", pid)
    assert result.status in (tool.CLEAN, tool.GAPS), result
    assert "1 thread, 1 blocked" in result.out, result
    result = tool.stranded("ps", "--format", "json", pid)
    thread, = result.json["tasks"]
    assert thread["runtime"] == "thread" and thread["wait"] == "recvfrom", \
        result
    assert thread["remote"] == "127.0.0.1:%d" % peer, result
    refused(tool.stranded("ps", "--format", "debug2", pid), tool.NOTHING,
            "not a Go program")
    listed = tool.stranded("sockets", "--format", "json", pid)
    assert listed.status in (tool.CLEAN, tool.GAPS), listed
    assert ["127.0.0.1:%d" % peer] == [
        s["remote"] for s in listed.json["sockets"]
        if s["state"] == "established" and s["local"].endswith(":%d" % port)]


def test_dead_connection_of_a_program_that_is_not_go(net, conns):
    a, b = net.pair()
    server = conns(b)
    server.listen("10.78.0.2:7000")
    child = subprocess.Popen(
        a.prefix + [sys.executable, "-c",
                    "import socket\ns=socket.create_connection(('10.78.0.2',"
                    "7000))\nprint(flush=True)\ns.recv(1)"],
        stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        server.accept()
        world.power_cut(b, "10.78.0.1", server)
        result = world.check(child.pid)
        assert result.status == tool.FINDINGS, result
        found = world.findings(result.json)
        assert list(found) == ["half-open"], result
        assert "not a Go program" in result.json["target"]["no_runtime"]
        finding, = found["half-open"]
        assert finding["kind"] == "stranded-reader", result
        assert finding["runtime"] == "thread" and finding["count"] == 1, result
        assert finding["tasks"][0]["id"] == str(child.pid), result
        # That it is not Go leaves nothing unseen.
        assert "unsupported" not in [g["kind"] for g in result.json["gaps"]]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def as_nobody(tmp_path):
    """A command line prefix that runs our binary as somebody else."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv; apt-get install util-linux")
    return ["setpriv", "--reuid", "65534", "--regid", "65534",
            "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]


def readable_copy():
    folder = "/tmp/st-test-%d" % os.getpid()
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o755)
    path = os.path.join(folder, "stranded")
    shutil.copy(tool.binary(), path)
    os.chmod(path, 0o755)
    return folder, path


def test_permission_denied_names_what_would_help(waits, tmp_path):
    prefix = as_nobody(tmp_path)
    folder, path = readable_copy()
    try:
        for command in ("check", "ps"):
            result = tool.run(prefix + [path, command, str(waits.pid)])
            refused(result, tool.NOTHING, "CAP_SYS_PTRACE",
                    "root|user|uid", "ermission|denied|not permitted")
        everything = tool.run(prefix + [path, "doctor", str(waits.pid)])
        assert re.search("CAP_SYS_PTRACE", everything.out + everything.err)
    finally:
        shutil.rmtree(folder)


def test_same_user_needs_no_privilege(victim, tmp_path):
    prefix = as_nobody(tmp_path)
    yama = "/proc/sys/kernel/yama/ptrace_scope"
    if os.path.exists(yama) and open(yama).read().strip() != "0":
        pytest.skip("Yama forbids it here: ptrace_scope is not 0")
    folder, path = readable_copy()
    program = os.path.join(folder, "waits")
    shutil.copy(victim("waits"), program)
    os.chmod(program, 0o755)
    try:
        with tool.Program(program, prefix=prefix) as p:
            p.truth()
            result = tool.run(prefix + [path, "ps", "--format", "json",
                                        str(p.pid)])
            assert result.status in (tool.CLEAN, tool.GAPS), result
            assert len(result.json["tasks"]) > 70
            result = tool.run(prefix + [path, "check", "--format", "json",
                                        str(p.pid)])
            # What it may not see without privilege is a gap, not a silence.
            assert result.status != tool.CLEAN or not result.json["gaps"]
    finally:
        shutil.rmtree(folder)


def during_check(program, what, **run):
    """Do @what 0.5 s into a check, which lasts 1 s at least."""
    timer = threading.Timer(0.5, what)
    timer.start()
    try:
        return world.check(program.pid, **run)
    finally:
        timer.join()


def test_pid_gone_half_way_reports_what_was_read(net, conns):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    client.read(client.dial("10.78.0.2:7000"))
    server.accept()
    result = during_check(client, lambda: client.signal(signal.SIGKILL))
    assert result.status in (tool.FINDINGS, tool.GAPS), result
    assert "gone" in [g["kind"] for g in result.json["gaps"]], result
    assert result.json["summary"]["tasks"] > 0


REUSE = r"""
import os, subprocess, sys, time
stranded, victim = sys.argv[1:3]
def start():
    p = subprocess.Popen([victim], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
    p.stdout.readline()
    return p
one = start()
check = subprocess.Popen([stranded, "check", "--format", "json", str(one.pid)],
                         stdout=subprocess.PIPE)
time.sleep(0.5)
one.kill(); one.wait()
for _ in range(200):
    with open("/proc/sys/kernel/ns_last_pid", "w") as f:
        f.write(str(one.pid - 1))
    two = subprocess.Popen(["sleep", "5"])
    if two.pid == one.pid:
        break
    two.kill(); two.wait()
else:
    sys.exit(99)
out = check.communicate()[0]
sys.stdout.buffer.write(out)
two.kill()
sys.exit(check.returncode)
"""


def test_pid_reused_half_way_is_not_taken_for_the_same(root, victim):
    result = tool.run(["unshare", "--pid", "--fork", "--mount-proc",
                       sys.executable, "-c", REUSE, tool.binary(),
                       victim("waits")], timeout=60)
    if result.status == 99:
        pytest.skip("the pid could not be had again")
    assert result.status in (tool.FINDINGS, tool.GAPS), result
    assert "gone" in [g["kind"] for g in result.json["gaps"]], result
    assert result.json["target"]["exe"].endswith(
        os.path.basename(victim("waits")))


def test_deleted_executable_is_read_all_the_same(victim, tmp_path):
    path = str(tmp_path / "waits")
    shutil.copy(victim("waits"), path)
    with tool.Program(path) as program:
        known = program.truth()
        os.unlink(path)
        result = tool.stranded("ps", "--format", "json", "--stacks",
                               program.pid)
        assert result.status == tool.CLEAN, result
        ids = {int(t["id"]) for t in result.json["tasks"]}
        assert {g["id"] for g in known["goroutines"]} <= ids
        # A different file in its place must not be taken for it.
        shutil.copy("/bin/true", path)
        again = tool.stranded("ps", "--format", "json", "--stacks",
                              program.pid)
        assert again.status == tool.CLEAN, again
        assert {int(t["id"]) for t in again.json["tasks"]} == ids


def entry_offset(data):
    """File offset of an ELF program's first instruction."""
    entry, phoff = struct.unpack_from("<QQ", data, 24)
    size, count = struct.unpack_from("<HH", data, 54)
    for i in range(count):
        kind, _, off, vaddr, _, filesz = struct.unpack_from(
            "<IIQQQQ", data, phoff + i * size)
        if kind == 1 and vaddr <= entry < vaddr + filesz:
            return entry - vaddr + off
    raise ValueError("no entry")


def pausing(victim, path):
    """A Go program that never starts its runtime; its bytes."""
    with open(victim, "rb") as f:
        data = bytearray(f.read())
    at = entry_offset(data)
    data[at:at + len(PAUSE)] = PAUSE
    write_program(path, data)
    return data


def write_program(path, data):
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, 0o755)


def text_end(data):
    """File offset of the end of an ELF program's code."""
    phoff = struct.unpack_from("<Q", data, 32)[0]
    size, count = struct.unpack_from("<HH", data, 54)
    ret = 0
    for i in range(count):
        kind, flags, off, _, _, filesz = struct.unpack_from(
            "<IIQQQQ", data, phoff + i * size)
        if kind == 1 and flags & 1:
            ret = max(ret, off + filesz)
    return ret


@pytest.mark.parametrize("share", [0.8, 0.9, 0.97])
def test_truncated_executable(victim, tmp_path, share):
    path = str(tmp_path / "cut")
    data = pausing(victim("waits", None, "plain"), path)
    code = text_end(data)
    write_program(path, data[:code + int((len(data) - code) * share)])
    child = subprocess.Popen([path])
    try:
        time.sleep(0.1)
        assert child.poll() is None, "it does not run"
        refused(tool.stranded("ps", "--format", "debug2", child.pid),
                tool.NOTHING, "truncated|corrupt|not have started")
        # Its threads are seen; that its goroutines are not is a gap.
        for command in ("ps", "check"):
            result = tool.stranded(command, child.pid)
            assert result.status == tool.GAPS, result
            assert re.search("truncated|corrupt|not have started",
                             re.sub(r"\s+", " ", result.out)), result
    finally:
        child.kill()
        child.wait()


def test_packed_executable(tmp_path):
    """What UPX leaves of a program: no sections, a stub, and its mark."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    source = tmp_path / "packed.c"
    source.write_text(
        'const char mark[] __attribute__((section(".text"), used)) ='
        ' "$Info: This file is packed with the UPX executable packer '
        'http://upx.sf.net $\\n UPX! UPX!";\n'
        "int main(void) { for (;;) __builtin_ia32_pause(), "
        "({ extern int pause(void); pause(); }); }\n")
    path = str(tmp_path / "packed")
    subprocess.run(["cc", "-w", "-o", path, str(source)], check=True)
    gobuild.erase_sections(path)
    child = subprocess.Popen([path])
    try:
        result = tool.stranded("ps", child.pid)
        if "packed by" in re.sub(r"\s+", " ", result.out):
            assert result.status == tool.GAPS, result
        refused(tool.stranded("ps", "--format", "debug2", child.pid),
                tool.NOTHING, "packed|not a Go program")
    finally:
        child.kill()
        child.wait()


def test_process_being_execed(victim):
    with tool.Program(victim("exec")) as program:
        seen = set()
        for _ in range(60):
            result = tool.stranded("ps", "--stacks", "--format", "json",
                                   program.pid)
            assert result.status in (tool.CLEAN, tool.NOTHING, tool.GAPS), \
                result
            if result.status == tool.NOTHING:
                refused(result, tool.NOTHING)
            else:
                assert isinstance(result.json["tasks"], list)
            seen.add(result.status)
        result = tool.stranded("check", program.pid)
        assert result.status in (tool.CLEAN, tool.NOTHING, tool.GAPS), result


def test_go_inside_a_c_program(root):
    try:
        path = gobuild.shared()
    except gobuild.BuildError as e:
        pytest.skip(str(e)[-300:])
    with tool.Program(path) as program:
        assert program.line() == "started"
        time.sleep(0.5)
        result = tool.stranded("ps", "--stacks", "--format", "json",
                               program.pid)
        if result.status == tool.NOTHING:
            refused(result, tool.NOTHING, "shared|plugin|several")
            return
        parked = [t for t in result.json["tasks"] if any(
            f["function"] == "main.parkedInLibrary" for f in t["stack"])]
        assert len(parked) == 5, result


def test_output_that_cannot_be_written(waits):
    with open("/dev/full", "w") as full:
        done = subprocess.run([tool.binary(), "ps", str(waits.pid)],
                              stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode not in (tool.CLEAN, tool.FINDINGS), done
    assert done.returncode > 0, done
    assert "No space left" in done.stderr, done


def test_reader_that_goes_away(waits):
    done = subprocess.run("%s ps --stacks %d | head -1" % (
        tool.binary(), waits.pid), shell=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, timeout=20)
    assert "Sanitizer" not in done.stderr


def test_closed_standard_files_are_given_to_nothing_else(waits, tmp_path):
    """Or what is said on stderr would end in the recording."""
    run = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "-", tool.binary(), "-v",
         "--net-record", str(tmp_path / "rec"), str(waits.pid)])
    try:
        deadline = time.monotonic() + 10
        held = {}
        while len(held) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
            held = {}
            for fd in os.listdir("/proc/%d/fd" % run.pid):
                try:
                    held[fd] = os.readlink("/proc/%d/fd/%s" % (run.pid, fd))
                except OSError:
                    pass    # closed meanwhile
        assert {held.get(fd) for fd in "012"} == {"/dev/null"}, held
    finally:
        status = run.wait(timeout=20)
    assert status == tool.NOTHING
