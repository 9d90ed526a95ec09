# SPDX-License-Identifier: Apache-2.0
"""stranded run: what becomes of a program that is run with the hook."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

import cbuild
import tool
from cbuild import built

# The hook is built without a sanitizer, and run is no more than an execve().
pytestmark = pytest.mark.slow

ST_EXAMPLES = "/usr/share/doc/libst-dev/examples"


def needs(program):
    path = shutil.which(program, path=os.environ["PATH"] +
                        ":/usr/sbin:/usr/lib/postgresql/15/bin")
    if not path:
        pytest.skip("needs %s" % program)
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def same(*argv, timeout=120):
    """It says and answers the same with the hook and without; returns that."""
    plain = tool.run(list(argv), timeout=timeout)
    hooked = tool.stranded("run", "--", *argv, timeout=timeout)
    assert (hooked.status, hooked.out, hooked.err) == \
        (plain.status, plain.out, plain.err), (plain, hooked)
    return hooked


# The command keeps what is its own.

def test_the_status_is_the_commands_own():
    for status in (0, 1, 7, 64, 126, 255):
        assert tool.stranded("run", "sh", "-c",
                             "exit %d" % status).status == status
    assert tool.stranded("run", "sh", "-c", "kill -TERM $$").status == \
        -signal.SIGTERM


def test_the_pid_and_the_options_are_the_commands_own():
    child = subprocess.Popen(
        [tool.binary(), "run", "sh", "-c", 'echo $$ "$@"', "-x", "--help",
         "--", "-q"], stdout=subprocess.PIPE, text=True)
    out, _ = child.communicate(timeout=30)
    assert out == "%d --help -- -q\n" % child.pid


def test_what_stranded_set_for_itself_is_put_back():
    script = "ulimit -n; ls /proc/self/fd | wc -l"
    limited = ["sh", "-c", 'ulimit -S -n 200; exec "$@" <&-', "sh"]
    plain = tool.run(limited + ["sh", "-c", script])
    assert plain.out.startswith("200\n"), plain
    hooked = tool.run(limited + [tool.binary(), "run", "sh", "-c", script])
    assert hooked.out == plain.out, hooked


def test_the_hook_comes_first_and_what_was_preloaded_stays():
    # stranded is started under it, too, and may be built with a sanitizer
    calm = {"ASAN_OPTIONS": "verify_asan_link_order=0"}
    result = tool.stranded("run", "sh", "-c", 'echo "$LD_PRELOAD"',
                           env=dict(calm, LD_PRELOAD="libm.so.6"))
    assert re.fullmatch(r"/\S+/libstranded-hook\.so:libm\.so\.6\n",
                        result.out), result
    again = tool.stranded("run", tool.binary(), "run", "sh", "-c",
                          'echo "$LD_PRELOAD"', env=calm)
    assert again.out.count("libstranded-hook.so") == 1, again


def test_a_child_of_a_script_has_the_hook(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\ncat /proc/self/maps\n")
    script.chmod(0o755)
    result = tool.stranded("run", str(script))
    assert "libstranded-hook.so" in result.out, result
    assert result.err == ""


# What it cannot do is said before, in one line.

def refused(result, what):
    lines = result.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("stranded: "), result
    assert what in lines[0], result


def test_not_found_and_not_executable_are_127_and_126(tmp_path):
    result = tool.stranded("run", "no-such-command")
    assert result.status == 127
    refused(result, "cannot run 'no-such-command'")
    plain = tmp_path / "plain"
    plain.write_text("x")
    for path in (plain, tmp_path):
        result = tool.stranded("run", str(path))
        assert result.status == 126
        refused(result, "Permission denied")
    # the interpreter of a script is missing
    plain.write_text("#!/no/such/interpreter\n")
    plain.chmod(0o755)
    assert tool.stranded("run", str(plain)).status == 127


def test_a_setuid_program_is_told_and_run(root, tmp_path):
    program = tmp_path / "id"
    shutil.copy(needs("id"), program)
    os.chown(program, 65534, -1)
    program.chmod(0o4755)
    tmp_path.chmod(0o755)
    result = tool.stranded("run", str(program), "-u")
    assert result.out == "65534\n", result
    refused(result, "setuid")


def test_file_capabilities_are_told_for_others_than_root(root, tmp_path):
    program = tmp_path / "id"
    shutil.copy(needs("id"), program)
    subprocess.run([needs("setcap"), "cap_net_raw+ep", str(program)],
                   check=True)
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    hook = hook_for_all(tmp_path)
    nobody = ["setpriv", "--reuid=65534", "--clear-groups", "--regid=65534"]
    result = tool.run(nobody + [tool.binary(), "run", str(program), "-u"],
                      env={"STRANDED_HOOK": hook})
    assert result.out == "65534\n", result
    refused(result, "file capabilities")
    # root has them all: no secure execution
    result = tool.stranded("run", str(program), "-u")
    assert (result.out, result.err) == ("0\n", ""), result


def hook_for_all(folder):
    """A copy of the hook that others than root can read."""
    name = "libstranded-hook.so"
    path = os.environ.get("STRANDED_HOOK") or \
        os.path.join(os.path.dirname(tool.binary()), name)
    copy = os.path.join(folder, name)
    shutil.copy(path, copy)
    os.chmod(copy, 0o755)
    return copy


def test_a_static_program_is_told_and_run(tmp_path):
    source = tmp_path / "s.c"
    source.write_text('#include <stdio.h>\nint main(void) { puts("x"); }\n')
    for how in (["-static"], ["-static-pie"]):
        path = built("static" + how[0], [str(source)], *how)
        result = tool.stranded("run", path)
        assert (result.out, result.status) == ("x\n", 0), result
        refused(result, "linked statically")


def test_a_program_of_musl_is_told_and_runs_without_the_hook(tmp_path):
    needs("musl-gcc")
    source, program = tmp_path / "m.c", tmp_path / "m"
    source.write_text('#include <stdio.h>\n#include <stdlib.h>\n'
                      'int main(void) { puts(getenv("LD_PRELOAD") ? '
                      '"preloaded" : "not preloaded"); return 6; }\n')
    subprocess.run(["musl-gcc", "-o", str(program), str(source)], check=True)
    result = tool.stranded("run", str(program))
    assert (result.out, result.status) == ("not preloaded\n", 6), result
    refused(result, "musl")


def test_a_program_of_32_bits_is_told(tmp_path):
    with open(needs("true"), "rb") as f:
        program = bytearray(f.read())
    program[4] = 1      # EI_CLASS: ELFCLASS32, at which the kernel looks not
    path = tmp_path / "true32"
    path.write_bytes(program)
    path.chmod(0o755)
    result = tool.stranded("run", str(path))
    refused(result, "no program of this machine's own 64 bits")


def test_without_a_hook_it_is_said_how_to_get_one():
    result = tool.stranded("run", "true",
                           env={"STRANDED_HOOK": "/no/such/hook.so"})
    assert result.status == tool.USAGE
    refused(result, "no libstranded-hook.so at '/no/such/hook.so'")


# Programs that have nothing to do with coroutines run as they did.

def test_bash_and_python_run_as_they_did():
    same("bash", "-c", "echo a | (read x; echo $x; false); echo $?; exit 3")
    same("python3", "-c", """
import asyncio, socket, subprocess, threading
a, b = socket.socketpair()
threading.Thread(target=lambda: b.sendall(b"x" * 100000)).start()
n = 0
while n < 100000:
    n += len(a.recv(4096))
a.setblocking(False)
try:
    a.recv(1)
except BlockingIOError as e:
    print(e)
print(subprocess.run(["echo", "child"], stdout=subprocess.PIPE).stdout)
async def serve(r, w):
    w.write(await r.readline())
    await w.drain()
    w.close()
async def main():
    s = await asyncio.start_server(serve, "127.0.0.1", 0)
    r, w = await asyncio.open_connection(*s.sockets[0].getsockname())
    w.write(b"line\\n")
    print(await r.readline())
    w.close()
    s.close()
asyncio.run(main())
raise SystemExit(4)
""")


def test_curl_runs_as_it_did(tmp_path):
    needs("curl")
    (tmp_path / "big").write_bytes(b"0123456789" * 200000)
    port = free_port()
    server = subprocess.Popen(
        [tool.binary(), "run", "python3", "-m", "http.server", str(port),
         "--bind", "127.0.0.1", "--directory", str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert tool.wait_until(lambda: answers(port))
        result = same("curl", "-sS", "http://127.0.0.1:%d/big" % port)
        assert len(result.raw) == 2000000
        same("curl", "-sS", "--fail", "http://127.0.0.1:%d/none" % port)
    finally:
        server.kill()
        server.wait()
    # refused: connect fails, not with EINPROGRESS
    assert same("curl", "-sS", "http://127.0.0.1:%d/" % port).status == 7


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def test_redis_runs_as_it_did(tmp_path):
    server, cli = needs("redis-server"), needs("redis-cli")
    port = free_port()
    child = subprocess.Popen(
        [tool.binary(), "run", server, "--port", str(port), "--bind",
         "127.0.0.1", "--dir", str(tmp_path), "--save", "",
         "--io-threads", "2"],
        stdout=subprocess.DEVNULL)
    try:
        assert tool.wait_until(lambda: answers(port))
        ask = [cli, "-p", str(port)]
        assert same(*ask, "set", "a", "1").out == "OK\n"
        assert same(*ask, "get", "a").out == "1\n"
        assert same(*ask, "eval", "return redis.call('get', 'a')", "0")
        assert same(*ask, "-r", "100", "ping").out == "PONG\n" * 100
        tool.stranded("run", *ask, "shutdown", "nosave")
        assert child.wait(20) == 0
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def test_psql_and_postgres_run_as_they_did(root, tmp_path):
    """As another user, as the server wants it; its workers are forks."""
    bin_folder = os.path.dirname(needs("initdb"))
    data, port = str(tmp_path / "data"), free_port()
    hook = hook_for_all(str(tmp_path))
    os.makedirs(data)
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    shutil.chown(data, "postgres", "postgres")
    user = ["setpriv", "--reuid=postgres", "--regid=postgres",
            "--clear-groups"]
    hooked = user + ["env", "LD_PRELOAD=" + hook, "LC_ALL=C"]
    made = tool.run(hooked + [bin_folder + "/initdb", "-D", data, "-A",
                              "trust", "--no-sync"])
    assert made.status == 0, made
    child = subprocess.Popen(
        hooked + [bin_folder + "/postgres", "-D", data, "-p", str(port), "-h",
                  "127.0.0.1", "-k", data],
        cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert tool.wait_until(lambda: answers(port), 30)
        psql = [needs("psql"), "-h", "127.0.0.1", "-p", str(port),
                "-U", "postgres", "-Atc"]
        assert same(*psql, "select sum(x) from generate_series(1, 100000) x"
                    ).out == "5000050000\n"
        assert same(*psql, "select pg_sleep(0.2), 1/0").status == 1
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    assert child.returncode == 0


def test_java_runs_as_it_did(tmp_path):
    needs("javac")
    (tmp_path / "T.java").write_text("""
import java.net.*;
public class T {
    public static void main(String[] a) throws Exception {
        ServerSocket s = new ServerSocket(0, 5, InetAddress.getLoopbackAddress());
        Thread t = new Thread(() -> {
            try (Socket c = new Socket(s.getInetAddress(), s.getLocalPort())) {
                c.getOutputStream().write("hello".getBytes());
            } catch (Exception e) { throw new RuntimeException(e); }
        });
        t.start();
        System.out.println(new String(s.accept().getInputStream().readAllBytes()));
        System.exit(5);
    }
}
""")
    subprocess.run(["javac", "T.java"], cwd=tmp_path, check=True)
    assert same("java", "-Xmx64m", "-cp", str(tmp_path), "T").status == 5


# The suites of the libraries that the hook knows.

@pytest.fixture(scope="module")
def pth():
    if not os.path.exists("/usr/include/pth.h"):
        pytest.skip("needs pth.h; apt-get install libpth-dev")
    try:
        return cbuild.debian_source("pth")
    except cbuild.BuildError as e:
        pytest.skip(str(e))


def pth_test(folder, name):
    # written for C89 and for other compilers
    return built("pth-" + name,
                 [folder + "/test_%s.c" % name, folder + "/test_common.c"],
                 "-w", "-lpth")


# All that end by themselves; test_std is what its "make check" runs.
@pytest.mark.parametrize("name", ["std", "mp", "misc", "uctx"])
def test_the_tests_of_pth_pass(pth, name):
    program = pth_test(pth, name)
    plain = tool.run([program])
    assert plain.status == 0, plain
    hooked = tool.stranded("run", program)
    assert hooked.status == 0, hooked
    assert without_numbers(hooked.out) == without_numbers(plain.out)
    assert without_numbers(hooked.err) == without_numbers(plain.err)


def without_numbers(text):
    """Without what differs from run to run: times, addresses, pids."""
    return re.sub(r"0x[0-9a-f]+|[0-9]+(\.[0-9]+)?", "N", text)


def test_the_server_of_pth_serves(pth):
    program, port = pth_test(pth, "httpd"), free_port()
    child = subprocess.Popen([tool.binary(), "run", program, str(port)],
                             stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    try:
        assert tool.wait_until(lambda: answers(port))
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", port), 10) as s:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b""
                while True:
                    data = s.recv(65536)
                    if not data:
                        break
                    answer += data
                assert answer.startswith(b"HTTP/1.0 200"), answer
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


@pytest.fixture(scope="module")
def st():
    if not os.path.exists(ST_EXAMPLES):
        pytest.skip("needs the examples of State Threads; apt-get install "
                    "libst-dev")
    return ST_EXAMPLES


def st_program(folder, name, *more):
    return built("st-" + name, [os.path.join(folder, n + ".c")
                                for n in (name,) + more],
                 "-w", "-l:libst.a", "-lresolv")


def test_the_proxy_of_state_threads_passes_on(st):
    """Its example with 40 connections at once, data both ways."""
    program = st_program(st, "proxy")
    echo = socket.create_server(("127.0.0.1", 0), backlog=100)
    port = free_port()

    def serve(conn):
        with conn:
            while True:
                data = conn.recv(65536)
                if not data:
                    return
                conn.sendall(data)

    def accept():
        while True:
            try:
                conn, _ = echo.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(conn,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    child = subprocess.Popen(
        [tool.binary(), "run", program, "-X", "-l", "127.0.0.1:%d" % port,
         "-r", "127.0.0.1:%d" % echo.getsockname()[1]],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert tool.wait_until(lambda: answers(port))
        clients = [socket.create_connection(("127.0.0.1", port), 10)
                   for _ in range(40)]
        for turn in range(20):
            for i, c in enumerate(clients):
                c.sendall(b"%03d %03d %s\n" % (turn, i, b"x" * 1000))
            for i, c in enumerate(clients):
                want = b"%03d %03d %s\n" % (turn, i, b"x" * 1000)
                got = b""
                while len(got) < len(want):
                    data = c.recv(65536)
                    assert data, (turn, i)
                    got += data
                assert got == want
        for c in clients:
            c.close()
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
        echo.close()


def test_the_server_of_state_threads_serves(st, tmp_path):
    program, port = st_program(st, "server", "error"), free_port()
    child = subprocess.Popen(
        [tool.binary(), "run", program, "-l", str(tmp_path), "-i", "-p", "1",
         "-b", "127.0.0.1:%d" % port], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert tool.wait_until(lambda: answers(port)), child.stdout.read1()
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", port), 10) as s:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert s.recv(65536).startswith(b"HTTP/1.0 200 OK")
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("threads", [1, 3])
def test_fibers_of_boost_run_as_they_did(threads):
    program = built("fibers", ["tests/hook/fibers.cc"], "-lboost_fiber",
                    "-lboost_context")
    with tool.Program(tool.binary(), "run", program, 200, threads) as fibers:
        truth = fibers.truth()
        assert len(truth["fds"]) == 200
        assert threads == 1 or truth["moved"] > 0, truth
        assert json.loads(fibers.ask("go")) == \
            {"ended": 200, "sum": 200 * 4950}


def test_contexts_of_boost_run_as_they_did():
    program = built("contexts", ["tests/hook/contexts.cc"], "-lboost_context")
    with tool.Program(tool.binary(), "run", program, 10) as contexts:
        assert contexts.truth() == {"created": 40, "parked": 20, "with": 10,
                                    "values": 10}
        assert json.loads(contexts.ask("go")) == {"unwound": 40}
