# SPDX-License-Identifier: Apache-2.0
"""`probe` and `check --probe`: what a packet tells of an idle connection."""
import os
import random
import re
import subprocess
import sys
import threading
import time

import pytest

import tool
import world


@pytest.fixture
def apart(net, conns):
    """A client and a server, and the server's end cannot be looked at: what
    lies between could change packets, so its absence would prove nothing."""
    a, b = net.pair()
    a.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    return a, b, conns(a), conns(b)


def connect(client, server, port):
    server.listen("10.78.0.2:%d" % port)
    near = client.dial("10.78.0.2:%d" % port)
    return near, server.accept()


def reboot(b, server):
    """@b forgets its connections without a word, and is reachable."""
    world.power_cut(b, "10.78.0.1", server)


def probe(pid, *more, **run):
    return tool.stranded("probe", "--format", "json", *more, pid, **run)


def connections(result):
    return {s["remote"]: s for s in result.json["sockets"]
            if s["state"] != "listen"}


def no_tables(*namespaces):
    for ns in namespaces:
        assert "stranded" not in ns.run("nft", "list", "ruleset")


def test_living_peer_is_alive_after_a_probe(apart):
    _, _, client, server = apart
    near, _ = connect(client, server, 7000)
    client.read(near)
    result = probe(client.pid, "--fd", near["fd"])
    s = connections(result)[near["remote"]]
    assert result.status == tool.CLEAN, result
    assert (s["before"], s["verdict"]) == ("alive", "alive"), result
    p = s["probe"]
    assert (p["method"], p["result"], p["sent"]) == ("window", "answered", 1)
    assert 0 <= p["answered_ms"] < 1000 and p["window_ms"] == 15000
    assert p["why"] is None and p["shielded"] is False
    assert len(p["probes"]) == 1 and p["probes"][0]["at"].endswith("Z")
    assert "probe" in [e["kind"] for e in s["evidence"]]
    assert result.seconds < 5


def test_rebooted_peer_under_the_shield(apart):
    a, b, client, server = apart
    near, _ = connect(client, server, 7000)
    reader = client.read(near)
    reboot(b, server)
    result = probe(client.pid, "--rst-shield")
    s = connections(result)[near["remote"]]
    assert result.status == tool.FINDINGS, result
    assert (s["before"], s["verdict"]) == ("silent", "half-open"), result
    assert s["certain"] and s["probe"]["result"] == "rst"
    assert s["probe"]["shielded"] is True
    no_tables(a)
    # the program has not noticed
    assert a.sockets("state", "established")
    f = world.check(client.pid, "--probe", "--rst-shield",
                    timeout=30).json["findings"]
    assert len(f) == 1 and f[0]["grade"] == "proven", f
    assert world.task_ids(f[0]) == {reader}
    assert f[0]["socket"]["verdict"] == "half-open"
    assert a.sockets("state", "established")
    # without the shield the reset goes through
    result = probe(client.pid, "--fd", near["fd"])
    s = connections(result)[near["remote"]]
    assert s["probe"]["result"] == "rst", result
    assert s["probe"]["shielded"] is False
    assert tool.wait_until(lambda: not a.sockets("state", "established"))


# Waits for two windows of 15 s and 11 s in which nothing comes; the other tests
# of probes run through the same code.
@pytest.mark.slow
def test_machine_that_is_gone_is_unreachable(apart):
    a, b, client, server = apart
    near, _ = connect(client, server, 7000)
    reader = client.read(near)
    world.power_cut(b, "10.78.0.1", server, back=False)
    result = world.check(client.pid, "--probe", timeout=40)
    f = result.json["findings"]
    assert result.status == tool.FINDINGS, result
    assert len(f) == 1 and f[0]["grade"] == "likely", result
    assert f[0]["socket"]["verdict"] == "unreachable"
    assert world.task_ids(f[0]) == {reader}
    assert 15 < result.seconds < 20
    text = tool.stranded("probe", client.pid, "--window", "11s", timeout=40)
    assert text.status == tool.FINDINGS, text
    assert "before  silent" in text.out and "after   unreachable" in text.out
    assert len(re.findall(r"UTC  window: no answer", text.out)) == 3, text
    assert a.sockets("state", "established")


def test_check_never_probes_unless_asked(apart):
    _, _, client, server = apart
    near, _ = connect(client, server, 7000)
    client.read(near)
    before = tool.stranded("sockets", "--format", "json", client.pid)
    world.check(client.pid)
    after = tool.stranded("sockets", "--format", "json", client.pid)
    sent = [s["samples"][-1]["segs_out"] for r in (before, after)
            for s in r.json["sockets"] if s["remote"] == near["remote"]]
    assert len(sent) == 2 and sent[0] == sent[1]
    assert "probe" not in after.json["sockets"][0]


def test_what_is_named_and_what_is_not(apart):
    _, _, client, server = apart
    first, _ = connect(client, server, 7000)
    other, _ = connect(client, server, 7001)
    result = probe(client.pid, "--remote", "10.78.0.2:7001")
    got = connections(result)
    assert got[other["remote"]]["probe"]["result"] == "answered", result
    assert got[first["remote"]]["probe"]["result"] == "refused"
    assert got[first["remote"]]["probe"]["why"] == "not asked for"
    assert got[first["remote"]]["probe"]["sent"] == 0
    result = probe(client.pid, "--remote", "10.78.0.2")
    assert {s["probe"]["result"] for s in connections(result).values()} == \
        {"answered"}, result
    for args, status in ((("--fd", "999"), tool.NOTHING),
                         (("--fd", "0"), tool.NOTHING),
                         (("--remote", "10.9.9.9"), tool.NOTHING),
                         (("--remote", "nowhere"), tool.USAGE),
                         (("--window", "999s"), tool.USAGE)):
        result = probe(client.pid, *args)
        assert result.status == status, result
        assert result.err and not result.out, result


def test_no_nft_no_shield_no_probe(apart):
    a, b, client, server = apart
    near, _ = connect(client, server, 7000)
    reboot(b, server)
    result = probe(client.pid, "--rst-shield",
                   prefix=("setpriv", "--bounding-set", "-net_admin"))
    assert result.status == tool.NOTHING, result
    assert "CAP_NET_ADMIN" in result.err
    result = probe(client.pid, "--rst-shield", prefix=(
        "unshare", "-m", "sh", "-c",
        'mount --bind /dev/null "$(command -v nft)" && exec "$@"', "sh"))
    assert result.status == tool.NOTHING, result
    assert "install nftables" in result.err
    assert a.sockets("state", "established"), "it was probed all the same"


def test_half_closed_by_keepalive_and_what_it_had_is_put_back(apart):
    a, _, client, server = apart
    near, far = connect(client, server, 7000)
    server.close_conn(far)
    assert tool.wait_until(lambda: a.sockets("state", "close-wait"))
    before = tool.stranded("sockets", "--format", "json", client.pid).json
    result = probe(client.pid, "--fd", near["fd"])
    after = tool.stranded("sockets", "--format", "json", client.pid).json
    s = connections(result)[near["remote"]]
    assert s["probe"]["method"] == "keepalive", result
    assert s["probe"]["result"] in ("answered", "rst"), result
    if s["probe"]["result"] == "answered":
        assert before["sockets"][0]["options"] == \
            after["sockets"][0]["options"]


def test_recording_holds_the_probe(apart, tmp_path):
    a, b, client, server = apart
    near, _ = connect(client, server, 7000)
    reboot(b, server)
    path = str(tmp_path / "net")
    result = probe(client.pid, "--rst-shield", "--net-record", path)
    assert result.status == tool.FINDINGS, result
    again = tool.stranded("sockets", "--format", "json", "--net-from", path)
    s = connections(again)[near["remote"]]
    assert s["verdict"] == "half-open", again
    assert len(again.json["sockets"]) == len(result.json["sockets"])


@pytest.mark.slow
def test_short_outage_is_no_alarm(apart):
    """Two probes are lost, the third arrives."""
    a, _, client, server = apart
    near, _ = connect(client, server, 7000)
    client.read(near)
    a.cut("10.78.0.2")
    timer = threading.Timer(5.0, a.mend, ["10.78.0.2"])
    timer.start()
    try:
        result = probe(client.pid, "--fd", near["fd"])
    finally:
        timer.join()
    s = connections(result)[near["remote"]]
    assert result.status == tool.CLEAN, result
    assert s["verdict"] == "alive", result
    assert s["probe"]["sent"] == 3 and s["probe"]["answered_ms"] >= 4500


@pytest.mark.slow
def test_full_queue_on_the_way_is_no_alarm(apart):
    """128 kbit/s, and 96 kB before us: the answer takes longer than any
    time-out that the kernel has estimated."""
    a, _, client, server = apart
    near, _ = connect(client, server, 7000)
    client.read(near)
    a.run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate",
          "128kbit", "burst", "4kb", "limit", "110kb")
    a.run(sys.executable, "-c", "import socket; s = socket.socket("
          "socket.AF_INET, socket.SOCK_DGRAM)\n"
          "for i in range(96): s.sendto(bytes(1000), ('10.78.0.2', 9))")
    result = probe(client.pid, "--fd", near["fd"])
    s = connections(result)[near["remote"]]
    assert result.status == tool.CLEAN, result
    assert s["verdict"] == "alive", result
    assert s["probe"]["answered_ms"] > 2500, result


@pytest.mark.slow
def test_killed_while_probing_leaves_nothing(apart):
    """SIGKILL around the moment when the shield goes up and probes leave;
    200 times with STRANDED_TEST_LONG=1."""
    a, b, client, server = apart
    near, _ = connect(client, server, 7000)
    client.read(near)
    world.power_cut(b, "10.78.0.1", server, back=False)
    before = tool.stranded("sockets", "--format", "json", client.pid).json
    count = 200 if os.environ.get("STRANDED_TEST_LONG") == "1" else 10
    for _ in range(count):
        child = subprocess.Popen(
            [tool.binary(), "probe", "--rst-shield", "--fd",
             str(near["fd"]), str(client.pid)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        time.sleep(0.95 + random.random() * 0.3)
        child.kill()
        child.wait()
        # the guardian must not hold our end of the report's pipe open
        assert child.stdout.read() is not None
        child.stdout.close()
        assert tool.wait_until(lambda: "stranded" not in
                               a.run("nft", "list", "tables"))
    time.sleep(0.5)     # nor does any come late
    assert "stranded" not in a.run("nft", "list", "tables")
    after = tool.stranded("sockets", "--format", "json", client.pid).json
    assert [s["options"] for s in before["sockets"]] == \
        [s["options"] for s in after["sockets"]]
