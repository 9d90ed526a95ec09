# SPDX-License-Identifier: Apache-2.0
"""heal: real programs on connections that died, and on those that did not."""
import ctypes
import json
import os
import shutil
import socket
import subprocess
import time

import pytest

import tool
import world

REFUSED = tool.NOTHING


def heal(pid, *more, **run):
    return tool.stranded("heal", pid, "--format", "json", *more, **run)


def only(result):
    """The one connection of heal's JSON."""
    connections = result.json["heal"]["connections"]
    assert len(connections) == 1, result
    return connections[0]


@pytest.fixture
def redis(tmp_path):
    """Starts redis servers in namespaces."""
    if not shutil.which("redis-server"):
        pytest.skip("needs redis-server; apt-get install redis-server")
    started = []

    def start(ns, address):
        program = tool.Program(
            "redis-server", "--bind", address, "--port", "6379", "--save", "",
            "--appendonly", "no", "--protected-mode", "no", "--dir", tmp_path,
            prefix=ns.prefix)
        started.append(program)
        return program
    yield start
    for program in started:
        program.end()


@pytest.fixture
def subscribers(net, victim, redis):
    """50 readers of one redis, whose machine vanishes, and 10 of another."""
    a, b = net.pair()
    c = net.namespace("c")
    net.cable(a, c, "eth1", "eth0")
    a.address("eth1", "10.78.1.1/24")
    c.address("eth0", "10.78.1.3/24")
    dying = redis(b, "10.78.0.2")
    redis(c, "10.78.1.3")
    program = tool.Program(victim("redis"), "10.78.0.2:6379", "50",
                           "10.78.1.3:6379", "10", prefix=a.prefix)
    with program:
        program.known = program.truth()
        program.vanish = lambda: world.power_cut(b, "10.78.0.1", dying)
        yield program


def status(program):
    return json.loads(program.ask("status"))


def dead_finding(program):
    """As check reports it: its fingerprint, and that it is the right one."""
    found = world.findings(world.check(program.pid).json)
    assert list(found) == ["half-open"], found
    assert len(found["half-open"]) == 1
    f = found["half-open"][0]
    assert f["grade"] == "proven" and f["count"] == 50
    assert world.task_ids(f) == {r["id"] for r in program.known[0]["readers"]}
    return f["fingerprint"]


def test_stranded_subscribers_of_a_dead_redis_are_freed(subscribers):
    program = subscribers
    program.vanish()
    fingerprint = dead_finding(program)
    before = status(program)
    assert [s["waiting"] for s in before] == [50, 10]

    dry = heal(program.pid, "--finding", fingerprint, "--dry-run")
    assert dry.status == tool.CLEAN, dry
    assert {c["result"] for c in dry.json["heal"]["connections"]} == \
        {"planned"}
    assert dead_finding(program) == fingerprint
    assert status(program) == before

    result = heal(program.pid, "--finding", fingerprint[:6])
    assert result.status == tool.CLEAN, result
    report = result.json["heal"]
    assert report["summary"]["healed"] == 50
    assert report["summary"]["gone"] == 50
    assert report["summary"]["still"] == report["summary"]["unknown"] == 0
    assert report["watched_ms"] < 1000
    assert {t["id"] for c in report["connections"] for t in c["tasks"]} == \
        {r["id"] for r in program.known[0]["readers"]}
    assert {c["local"] for c in report["connections"]} == \
        {r["local"] for r in program.known[0]["readers"]}

    # What the program itself says of it.
    dead, healthy = status(program)
    assert dead["waiting"] == 0
    assert dead["ends"] == {" software caused connection abort": 50}
    assert healthy == before[1]
    assert json.loads(program.ask("publish 1 hello")) == {"receivers": 10}
    assert tool.wait_until(lambda: status(program)[1]["messages"] == 10)
    assert world.check(program.pid).status == tool.CLEAN

    again = heal(program.pid, "--finding", fingerprint)
    assert again.status == REFUSED and again.out == "", again
    assert "there is no finding" in again.err


def test_those_that_connect_anew_have_moved_on(subscribers):
    program = subscribers
    program.ask("reconnect 0 1")
    program.vanish()
    fingerprint = dead_finding(program)
    result = heal(program.pid, "--finding", fingerprint)
    assert result.status == tool.CLEAN, result
    assert result.json["heal"]["summary"]["moved"] == 50, result
    assert tool.wait_until(lambda: [s["waiting"] for s in status(program)] ==
                           [0, 60])
    assert world.check(program.pid).status == tool.CLEAN


def test_program_that_ends_over_it_is_not_healed(subscribers):
    program = subscribers
    program.ask("fatal 0")
    program.vanish()
    result = heal(program.pid, "--finding", dead_finding(program))
    assert result.status == tool.FINDINGS, result
    assert result.json["heal"]["process_ended"] is True
    assert program.child.wait(10) == 1


def test_text_says_what_is_done_and_what_came_of_it(subscribers):
    program = subscribers
    program.vanish()
    fingerprint = dead_finding(program)
    result = tool.stranded("heal", program.pid, "--finding", fingerprint,
                           "--how", "eof")
    assert result.status == tool.CLEAN, result
    assert "50 connections to heal" in result.out
    assert "who reads gets the end of file" in result.out
    assert "50 of 50 connections healed" in result.out
    assert "50 gone, 0 moved on, 0 still there" in " ".join(result.out.split())
    # who is gone is in the sum; only others would have a row of their own
    assert "gone: it has returned" not in result.out, result
    assert status(program)[0]["ends"] == {"EOF": 50}


# One connection between two programs.

@pytest.fixture
def pair(net, conns):
    """A client that reads from a server, and the machines of both."""
    class Pair:
        pass
    p = Pair()
    p.a, p.b = net.pair()
    p.client, p.server = conns(p.a), conns(p.b)
    p.server.listen("10.78.0.2:7000")
    p.near = p.client.dial("10.78.0.2:7000")
    p.far = p.server.accept()
    p.reader = p.client.read(p.near)
    return p


def assert_untouched(p):
    """The client reads what the server sends, as ever."""
    p.server.send(p.far, 100)
    assert tool.wait_until(lambda: all(
        line.split()[1:3] == ["0", "0"] for line in p.a.sockets()))
    assert any("ESTAB" in line for line in p.a.sockets())
    seen = tool.stranded("sockets", "--format", "json", p.client.pid).json
    assert [s["task"] for s in seen["sockets"] if s["task"]] == [p.reader]


def read_error(program, timeout=5):
    """What the client's reader was told; conns writes it to stderr."""
    os.set_blocking(program.child.stderr.fileno(), False)
    text = b""

    def some():
        nonlocal text
        text += program.child.stderr.read() or b""
        return text.endswith(b"\n")
    assert tool.wait_until(some, timeout), text
    return text.decode()


def test_living_connection_is_refused_unless_forced(pair):
    result = tool.stranded("heal", pair.client.pid, "--fd", pair.near["fd"])
    assert result.status == REFUSED, result
    assert "its peer is alive" in result.out
    assert "would cut a connection that works" in result.out
    report = heal(pair.client.pid, "--fd", pair.near["fd"])
    assert report.status == REFUSED
    assert only(report)["result"] == "refused"
    assert only(report)["allowed"] is False
    dry = heal(pair.client.pid, "--fd", pair.near["fd"], "--force",
               "--dry-run")
    assert dry.status == tool.CLEAN and only(dry)["result"] == "planned"
    assert_untouched(pair)
    result = tool.stranded("heal", pair.client.pid, "--fd", pair.near["fd"],
                           "--force")
    assert result.status == tool.CLEAN, result
    assert "--force overrides: fd %d: its peer is alive" % pair.near["fd"] in \
        result.out
    assert "software caused connection abort" in read_error(pair.client)


def without(*capabilities):
    """Run what follows without them, as root all the same."""
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv; apt-get install util-linux")
    drop = ",".join("-" + c for c in capabilities)
    return ["setpriv", "--bounding-set", drop, "--inh-caps", drop]


def test_silent_connection_is_refused(pair):
    # Nobody can look into the peer's namespace, so nothing is proven.
    blind = pair.a.prefix + without("sys_admin")
    result = heal(pair.client.pid, "--fd", pair.near["fd"], prefix=blind)
    assert result.status == REFUSED, result
    assert only(result)["verdict"] == "silent"
    assert only(result)["result"] == "refused"
    assert_untouched(pair)


@pytest.mark.slow
def test_connection_that_answers_no_probe_is_healed(pair):
    """Nobody can look into the peer's namespace, so the peer is asked."""
    blind = pair.a.prefix + without("sys_admin")
    ask = ("--probe", "--window", "11s", "--remote", "10.78.0.2:7000")
    result = heal(pair.client.pid, *ask, prefix=blind)
    assert result.status == REFUSED, result
    assert only(result)["verdict"] == "alive"
    pair.a.cut("10.78.0.2")
    result = heal(pair.client.pid, *ask, prefix=blind)
    assert result.status == tool.CLEAN, result
    assert only(result)["verdict"] == "unreachable"
    assert only(result)["result"] == "healed"
    assert "software caused connection abort" in read_error(pair.client)


def test_half_closed_connection_is_refused(pair):
    """The peer said goodbye; the answer to it may still be written."""
    pair.server.close_conn(pair.far)
    assert tool.wait_until(lambda: "CLOSE-WAIT" in "".join(pair.a.sockets())
                           or not pair.a.sockets())
    dialled = pair.client.dial("10.78.0.2:7000")
    far = pair.server.accept()
    pair.server.close_conn(far)
    assert tool.wait_until(lambda: "CLOSE-WAIT" in "".join(pair.a.sockets()))
    result = heal(pair.client.pid, "--fd", dialled["fd"])
    assert result.status == REFUSED, result
    assert only(result)["verdict"] == "half-closed"
    assert "CLOSE-WAIT" in "".join(pair.a.sockets())


def test_what_is_no_connection_is_refused(pair):
    for fd, why in ((0, "is no TCP connection"), (999, "is not open")):
        result = heal(pair.client.pid, "--fd", fd, "--force")
        assert result.status == REFUSED, result
        assert why in result.err and result.out == "", result
    listens = tool.stranded("sockets", "--format", "json",
                            pair.server.pid).json["sockets"]
    fd = [s["fd"] for s in listens if s["state"] == "listen"][0]
    result = heal(pair.server.pid, "--fd", fd, "--force", "--how", "eof")
    assert result.status == REFUSED, result
    assert only(result)["verdict"] == "listening"
    # It still listens.
    pair.client.dial("10.78.0.2:7000")
    pair.server.accept()
    assert_untouched(pair)


@pytest.mark.parametrize("arguments", [
    [], ["--fd", "x"], ["--fd", "-1"], ["--fd", "3", "--finding", "a"],
    ["--fd", "3", "--how", "kill"], ["--fd", "3", "--how", "eof",
                                     "--arm-keepalive", "15s,15s,9"],
    ["--fd", "3", "--arm-keepalive", "15,15,9"]])
def test_wrong_usage_touches_nothing(pair, arguments):
    result = tool.stranded("heal", pair.client.pid, *arguments)
    assert result.status == tool.USAGE, result
    assert result.err.startswith("stranded: ") and result.out == ""
    assert_untouched(pair)


def test_without_the_capability_destroy_fails_and_eof_works(pair):
    pair_dies(pair)
    # Who may look into namespaces and not end connections.
    weak = without("net_admin")
    result = heal(pair.client.pid, "--fd", pair.near["fd"], "--force",
                  prefix=weak)
    assert result.status == REFUSED, result
    assert only(result)["result"] == "failed"
    assert "CAP_NET_ADMIN" in only(result)["error"]
    result = heal(pair.client.pid, "--fd", pair.near["fd"], "--force", "--how",
                  "eof", prefix=weak)
    assert result.status == tool.CLEAN, result
    assert [t["fate"] for t in only(result)["tasks"]] == ["gone"]
    assert "EOF" in read_error(pair.client)


def pair_dies(p):
    world.power_cut(p.b, "10.78.0.1", p.server)


def test_eof_does_not_free_who_writes(net, conns):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    near = client.dial("10.78.0.2:7000")
    server.accept()
    writer = client.write(near, 64 << 20)
    assert tool.wait_until(
        lambda: "timer:(persist" in a.run("ss", "-Htno", "dport = :7000"), 30)
    result = heal(client.pid, "--fd", near["fd"], "--how", "eof", "--force")
    assert result.status == tool.FINDINGS, result
    assert only(result)["result"] == "healed"
    assert [(t["id"], t["fate"]) for t in only(result)["tasks"]] == \
        [(writer, "still")]
    assert 2000 <= result.json["heal"]["watched_ms"] < 3000
    result = heal(client.pid, "--fd", near["fd"], "--force")
    assert result.status == tool.CLEAN, result
    assert [t["fate"] for t in only(result)["tasks"]] == ["gone"]
    assert "software caused connection abort" in read_error(client)


def socket_of(pid, fd):
    """A duplicate of a socket of another process."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        dup = libc.syscall(438, pidfd, fd, 0)   # pidfd_getfd
        assert dup >= 0, os.strerror(ctypes.get_errno())
        return socket.socket(fileno=dup)
    finally:
        os.close(pidfd)


def keepalive_of(pid, fd):
    with socket_of(pid, fd) as s:
        tcp = socket.IPPROTO_TCP
        return (s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                s.getsockopt(tcp, socket.TCP_KEEPIDLE),
                s.getsockopt(tcp, socket.TCP_KEEPINTVL),
                s.getsockopt(tcp, socket.TCP_KEEPCNT))


@pytest.mark.slow
def test_armed_keepalive_lets_the_kernel_end_a_dead_connection(pair):
    fd = pair.near["fd"]
    before = keepalive_of(pair.client.pid, fd)
    assert before[0] == 0
    arm = ("--fd", fd, "--arm-keepalive", "2s,1s,3")
    dry = heal(pair.client.pid, *arm, "--dry-run")
    assert dry.status == tool.CLEAN, dry
    assert keepalive_of(pair.client.pid, fd) == before

    # Alive or not: it ends nothing that answers.
    result = tool.stranded("heal", pair.client.pid, *arm)
    assert result.status == tool.CLEAN, result
    assert "the kernel ends it in at most 5 s" in " ".join(result.out.split())
    assert keepalive_of(pair.client.pid, fd) == (1, 2, 1, 3)
    assert "timer:(keepalive," in pair.a.run("ss", "-Htno", "dport = :7000")
    time.sleep(6)
    assert_untouched(pair)

    pair.a.cut("10.78.0.2")
    begin = time.monotonic()
    assert "connection timed out" in read_error(pair.client, 10)
    # 5 s from the last segment, and that was a moment ago.
    assert 2 < time.monotonic() - begin < 7


def test_arming_says_that_a_user_timeout_ends_it_sooner(pair):
    with socket_of(pair.client.pid, pair.near["fd"]) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20000)
    result = tool.stranded("heal", pair.client.pid, "--fd", pair.near["fd"],
                           "--arm-keepalive", "15s,15s,9")
    assert result.status == tool.CLEAN, result
    text = " ".join(result.out.split())
    assert "the program has set TCP_USER_TIMEOUT to 20 s" in text, result
    assert "in 30 s at the earliest" in text, result


@pytest.mark.slow
def test_killed_heal_leaves_nothing_half_done(pair):
    """Whenever it is killed: keepalive is off, or on with all its settings."""
    fd = pair.near["fd"]
    argv = [tool.binary(), "heal", str(pair.client.pid), "--fd", str(fd),
            "--arm-keepalive", "15s,16s,9"]
    seen = set()
    rounds = 200 if os.environ.get("STRANDED_TEST_LONG") == "1" else 30
    for i in range(rounds):
        child = subprocess.Popen(argv, stdout=subprocess.PIPE)
        # The plan is out before anything is done.
        while b"most" not in child.stdout.readline():
            pass
        end = time.monotonic() + i % 30 * 20e-6
        while time.monotonic() < end:
            pass
        child.kill()
        child.wait()
        child.stdout.close()
        state = keepalive_of(pair.client.pid, fd)
        assert state[0] == 0 or state == (1, 15, 16, 9), state
        seen.add(state[0])
        with socket_of(pair.client.pid, fd) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    assert 1 in seen, "it was always too early: nothing was tried"
    assert_untouched(pair)


# The policy: would they notice?

def policy(pid, expression, *more, **run):
    return tool.stranded("sockets", "--format", "json", "--policy", expression,
                         *more, pid, **run)


def verdicts(result):
    return {s["local"]: s["policy"] for s in result.json["sockets"]}


@pytest.fixture
def three(net, conns):
    """Keepalive off, 5 s + n x 5 s, and 5 s with a user timeout of 20 s."""
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    client.off = client.dial("10.78.0.2:7000")
    client.on = client.dial("10.78.0.2:7000", keepalive=5)
    client.timed = client.dial("10.78.0.2:7000", keepalive=5)
    client.own = client.listen("10.78.0.1:7001")
    with socket_of(client.pid, client.on["fd"]) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 9)
    with socket_of(client.pid, client.timed["fd"]) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20000)
    client.reader = client.read(client.off)
    return client


def test_connections_that_would_not_notice_are_named(three):
    result = policy(three.pid, "keepalive<=60s")
    assert result.status == tool.FINDINGS, result
    assert result.json["policy"] == {
        "expression": "keepalive<=60s", "ok": False, "checked": 3,
        "violations": 1, "unknown": 0}
    assert verdicts(result) == {
        three.off["local"]: {"ok": False, "detects_ms": None},
        three.on["local"]: {"ok": True, "detects_ms": 50000},
        three.timed["local"]: {"ok": True, "detects_ms": 20000},
        three.own: {"ok": None, "detects_ms": None}}
    text = tool.stranded("sockets", "--policy", "keepalive<=60s", three.pid)
    assert text.status == tool.FINDINGS, text
    assert three.off["local"] in text.out and three.on["local"] not in text.out
    words = " ".join(text.out.split())
    assert "never keepalive off goroutine %s (read)" % three.reader in words
    assert "1 of 3 connections would not notice" in words


def test_a_tighter_limit_is_violated_by_more(three):
    result = policy(three.pid, "keepalive <= 20s")
    assert result.json["policy"]["violations"] == 2, result
    assert verdicts(result)[three.on["local"]]["ok"] is False
    result = policy(three.pid, "user-timeout<=30s")
    assert result.json["policy"]["violations"] == 2, result
    assert verdicts(result)[three.timed["local"]] == {"ok": True,
                                                      "detects_ms": 20000}


def test_policy_that_is_kept_is_clean(three):
    armed = heal(three.pid, "--fd", three.off["fd"], "--arm-keepalive",
                 "15s,15s,3")
    assert armed.status == tool.CLEAN, armed
    result = policy(three.pid, "keepalive<=60s")
    assert result.status == tool.CLEAN, result
    assert result.json["policy"]["ok"] is True


def test_settings_that_are_not_known_are_a_gap(three, tmp_path):
    path = tmp_path / "recording"
    armed = heal(three.pid, "--fd", three.off["fd"], "--arm-keepalive",
                 "15s,15s,3")
    assert armed.status == tool.CLEAN, armed
    whole = policy(three.pid, "keepalive<=60s", "--net-record", path)
    assert whole.status == tool.CLEAN, whole
    replayed = tool.stranded("sockets", "--format", "json", "--policy",
                             "keepalive<=60s", "--net-from", path)
    assert verdicts(replayed) == verdicts(whole)
    # As if the kernel had refused; of the same length, which is recorded too.
    old = b'"known":true,"error":0,"keepalive":true,"keepidle_s":15,'
    new = b'"known":false,"error":1,"keepalive":true,"keepidle_s":1,'
    text = path.read_bytes()
    assert old in text and len(old) == len(new)
    path.write_bytes(text.replace(old, new))
    result = tool.stranded("sockets", "--format", "json", "--policy",
                           "keepalive<=60s", "--net-from", path)
    assert result.status == tool.GAPS, result
    assert result.json["policy"]["ok"] is False
    assert result.json["policy"]["unknown"] > 0
    assert any("settings could not be read" in g["text"]
               for g in result.json["gaps"]), result


@pytest.mark.parametrize("expression", ["", "keepalive<60s", "keepalive<=60",
                                        "colour<=60s"])
def test_what_is_no_policy_is_usage(expression):
    result = tool.stranded("sockets", "--policy", expression, os.getpid())
    assert result.status == tool.USAGE, result
    assert "is no policy" in result.err
