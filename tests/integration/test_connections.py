# SPDX-License-Identifier: Apache-2.0
"""What is said of a connection, by the way in which it lives or dies."""
import shutil
import subprocess

import pytest

import tool
import world

# family: (server listens on, client dials, peer's address for the cut)
FAMILIES = {
    "ipv4": ("10.78.0.2:7000", "10.78.0.2:7000"),
    "ipv6": ("[fd78::2]:7000", "[fd78::2]:7000"),
}


def one_finding(result, verdict, grade):
    report = result.json
    assert result.status == tool.FINDINGS, result
    assert len(report["findings"]) == 1, result
    f = report["findings"][0]
    assert f["socket"]["verdict"] == verdict, result
    assert f["grade"] == grade, result
    assert f["socket"]["evidence"], result
    assert f["advice"], result
    return f


def client_of_a_rebooted_server(net, conns, family="ipv4"):
    """A client that reads from a server that has forgotten it, its end of
    the connection, and the goroutine that reads."""
    a, b = net.pair()
    client, server = conns(a), conns(b)
    listen, dial = FAMILIES[family]
    server.listen(listen)
    near = client.dial(dial)
    server.accept()
    reader = client.read(near)
    peer = "fd78::1" if family == "ipv6" else "10.78.0.1"
    world.power_cut(b, peer, server)
    return client, near, reader


@pytest.mark.parametrize("family", FAMILIES)
def test_client_of_a_rebooted_server_is_half_open(net, conns, family):
    client, near, reader = client_of_a_rebooted_server(net, conns, family)
    f = one_finding(world.check(client.pid), "half-open", "proven")
    assert f["kind"] == "stranded-reader"
    assert world.task_ids(f) == {reader}
    assert f["tasks"][0]["fd"] == near["fd"]
    assert f["socket"]["local"] == near["local"]
    assert f["socket"]["remote"] == near["remote"]
    assert f["socket"]["state"] == "established"
    assert "peer-netns-lookup" in [e["kind"] for e in f["socket"]["evidence"]]


# A host that is busy just when other namespaces are looked at the first time.
SLOW_SETNS = """
#define _GNU_SOURCE
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static long long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}
int setns(int fd, int type)
{
	static long long first;
	if (!first)
		first = now_ms();
	if (now_ms() - first < 900)
		usleep(60000);
	return syscall(SYS_setns, fd, type);
}
"""


def test_a_slow_look_at_the_peer_is_proof_as_well(net, conns, tmp_path):
    slow = tmp_path / "slow.so"
    (tmp_path / "slow.c").write_text(SLOW_SETNS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", slow, tmp_path / "slow.c"],
                   check=True)
    client, near, reader = client_of_a_rebooted_server(net, conns)
    result = world.check(client.pid, env={
        "LD_PRELOAD": str(slow),
        "ASAN_OPTIONS": "verify_asan_link_order=0"})
    f = one_finding(result, "half-open", "proven")
    assert world.task_ids(f) == {reader}
    assert result.seconds > 1.2, "it was not slow"
    assert f["stack"][0]["function"]
    assert any(s["function"] == "main.readReply" for s in f["stack"])


def test_soft_limit_of_open_files_hides_no_peer(net, conns):
    """A node has more namespaces than a shell's limit has room for."""
    client, _, _ = client_of_a_rebooted_server(net, conns)
    result = world.check(client.pid, prefix=("prlimit", "--nofile=12:1024"))
    one_finding(result, "half-open", "proven")


def test_hard_limit_of_open_files_is_a_gap_and_no_all_clear(net, conns):
    """The peer is gone, and wherever there is no descriptor left to go and
    see, that is told: 6 are too few for anything, 24 are enough."""
    client, _, _ = client_of_a_rebooted_server(net, conns)
    limits = set()
    for n in range(7, 25):
        result = tool.stranded("check", "--format", "json", client.pid,
                               prefix=("prlimit", "--nofile=%d:%d" % (n, n)))
        if result.status == tool.FINDINGS:
            break
        assert result.status in (tool.GAPS, tool.NOTHING), (n, result)
        if result.status == tool.GAPS:
            limits |= {g["kind"] for g in result.json["gaps"]}
    assert "limit" in limits and n > 9, (n, limits)
    one_finding(result, "half-open", "proven")


@pytest.mark.parametrize("family", ["ipv6", "v4-mapped"])
def test_server_of_a_client_that_lost_power_is_half_open(net, conns, family):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("[::]:7000")
    client.dial("[fd78::2]:7000" if family == "ipv6" else "10.78.0.2:7000")
    far = server.accept()
    reader = server.read(far)
    world.power_cut(a, "fd78::2" if family == "ipv6" else "10.78.0.2", client)
    f = one_finding(world.check(server.pid), "half-open", "proven")
    assert world.task_ids(f) == {reader}
    assert f["socket"]["remote"].replace("[::ffff:", "").replace("]:", ":") \
        == far["remote"].replace("]:", ":")


@pytest.mark.parametrize("family", ["ipv4", "ipv6", "v4-mapped"])
def test_idle_connection_to_a_living_peer_is_no_finding(net, conns, family):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("[::]:7000")
    near = client.dial(FAMILIES.get(family, FAMILIES["ipv4"])[1])
    far = server.accept()
    client.read(near)
    server.read(far)
    for program in (client, server):
        result = world.check(program.pid)
        assert result.json["findings"] == [], result
        assert result.status == tool.CLEAN, result


def test_living_peer_in_the_same_namespace(net, conns):
    ns = net.namespace("lone")
    client, server = conns(ns), conns(ns)
    server.listen("127.0.0.1:7000")
    client.read(client.dial("127.0.0.1:7000"))
    server.read(server.accept())
    for program in (client, server):
        result = world.check(program.pid)
        assert result.status == tool.CLEAN, result


def test_dead_peer_in_the_same_namespace(net, conns):
    if not shutil.which("nft"):
        pytest.skip("needs nft, to drop an RST; apt-get install nftables")
    ns = net.namespace("lone")
    client, server = conns(ns), conns(ns)
    server.listen("127.0.0.1:7000")
    near = client.dial("127.0.0.1:7000")
    server.accept()
    reader = client.read(near)
    port = near["local"].rsplit(":", 1)[1]
    ns.run("nft", "add table ip t; add chain ip t in { type filter hook input"
           " priority 0; }; add rule ip t in tcp dport %s drop" % port)
    ns.forget("sport = :7000 and dport = :" + port)
    ns.run("nft", "delete table ip t")
    assert not ns.sockets("sport = :7000")
    f = one_finding(world.check(client.pid), "half-open", "proven")
    assert world.task_ids(f) == {reader}


def nat(net, how):
    """client a - router r - server b; returns (a, r, b, address to dial)."""
    if not shutil.which("nft"):
        pytest.skip("needs nft, for NAT; apt-get install nftables")
    a, r, b = (net.namespace(label) for label in "arb")
    net.cable(a, r, "eth0", "eth0")
    net.cable(b, r, "eth0", "eth1")
    a.address("eth0", "10.78.1.1/24")
    r.address("eth0", "10.78.1.254/24")
    r.address("eth1", "10.78.2.254/24")
    b.address("eth0", "10.78.2.2/24")
    r.sysctl("net.ipv4.ip_forward", 1)
    a.ip("route", "add", "default", "via", "10.78.1.254")
    if how == "dnat":
        b.ip("route", "add", "default", "via", "10.78.2.254")
        r.run("nft", "add table ip n; add chain ip n pre { type nat hook "
              "prerouting priority -100; }; add rule ip n pre ip daddr "
              "10.78.1.254 tcp dport 7000 dnat to 10.78.2.2:7001")
        return a, r, b, "10.78.1.254:7000"
    r.run("nft", "add table ip n; add chain ip n post { type nat hook "
          "postrouting priority 100; }; add rule ip n post oifname eth1 "
          "masquerade random")
    return a, r, b, "10.78.2.2:7001"


@pytest.mark.parametrize("how", ["snat", "dnat"])
def test_living_peer_behind_nat_is_no_finding(net, conns, how):
    a, _, b, dial = nat(net, how)
    client, server = conns(a), conns(b)
    server.listen("10.78.2.2:7001")
    client.read(client.dial(dial))
    server.read(server.accept())
    for program in (client, server):
        result = world.check(program.pid)
        assert result.json["findings"] == [], result
        assert result.status == tool.CLEAN, result


@pytest.mark.parametrize("how", ["snat", "dnat"])
def test_dead_peer_behind_nat_is_half_open(net, conns, how):
    a, _, b, dial = nat(net, how)
    client, server = conns(a), conns(b)
    server.listen("10.78.2.2:7001")
    near = client.dial(dial)
    far = server.accept()
    reader = client.read(near)
    cut = "10.78.2.254" if how == "snat" else "10.78.2.254"
    assert far["remote"].startswith("10.78.2.254" if how == "snat"
                                    else "10.78.1.1")
    world.power_cut(b, cut, server)
    f = one_finding(world.check(client.pid), "half-open", "proven")
    assert world.task_ids(f) == {reader}
    assert f["socket"]["remote"] == near["remote"]


def test_stranger_with_the_peers_address_proves_nothing(net, conns):
    a, b = net.pair()
    stranger, other = net.namespace("c"), net.namespace("d")
    net.cable(stranger, other)
    stranger.address("eth0", "10.78.0.2/24")
    client, server = conns(a), conns(b)
    conns(stranger)
    server.listen("10.78.0.2:7000")
    client.read(client.dial("10.78.0.2:7000"))
    server.accept()
    result = world.check(client.pid)
    assert "half-open" not in world.findings(result.json), result
    assert result.status == tool.CLEAN, result


def test_stranger_with_the_peers_address_does_not_hide_its_death(net, conns):
    a, b = net.pair()
    stranger, other = net.namespace("c"), net.namespace("d")
    net.cable(stranger, other)
    stranger.address("eth0", "10.78.0.2/24")
    client, server = conns(a), conns(b)
    conns(stranger)
    server.listen("10.78.0.2:7000")
    client.read(client.dial("10.78.0.2:7000"))
    server.accept()
    world.power_cut(b, "10.78.0.1", server)
    one_finding(world.check(client.pid), "half-open", "proven")


@pytest.mark.slow
def test_data_in_flight_unanswered_is_unreachable(net, conns):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    near = client.dial("10.78.0.2:7000")
    server.accept()
    a.cut("10.78.0.2")
    client.send(near, 100)
    reader = client.read(near)
    ask = "dport = :7000"
    assert tool.wait_until(lambda: "timer:(on" in a.run("ss", "-Htno", ask) and
                           int(a.run("ss", "-Htno", ask).rsplit(",", 1)[1]
                               .split(")")[0]) >= 7, timeout=60, step=0.5)
    f = one_finding(world.check(client.pid), "unreachable", "likely")
    assert world.task_ids(f) == {reader}
    assert "retransmissions" in [e["kind"] for e in f["socket"]["evidence"]]


@pytest.mark.slow
def test_failing_keepalive_is_unreachable(net, conns):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    near = client.dial("10.78.0.2:7000", keepalive=3)
    server.accept()
    reader = client.read(near)
    a.cut("10.78.0.2")
    # The peer's own table says ESTABLISHED all the time: that it is there is
    # no sign that packets reach it. An outage of seconds is none of death.
    ask = ("ss", "-Htno", "dport = :7000")
    assert tool.wait_until(lambda: ",2)" in a.run(*ask), 20, 0.2)
    assert world.check(client.pid).json["findings"] == []
    early = tool.stranded("sockets", "--format", "json", client.pid).json
    assert [s["verdict"] for s in early["sockets"]] == ["silent"]
    assert tool.wait_until(lambda: ",4)" in a.run(*ask), 20, 0.2)
    f = one_finding(world.check(client.pid), "unreachable", "likely")
    assert world.task_ids(f) == {reader}
    assert "keepalive" in [e["kind"] for e in f["socket"]["evidence"]]


def test_address_that_went_away_is_a_local_cause(net, conns):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    reader = client.read(client.dial("10.78.0.2:7000"))
    server.accept()
    a.ip("addr", "del", "10.78.0.1/24", "dev", "eth0")
    f = one_finding(world.check(client.pid), "local-cause", "proven")
    assert world.task_ids(f) == {reader}


def test_held_close_wait_is_half_closed(net, conns):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    near = client.dial("10.78.0.2:7000")
    far = server.accept()
    server.close_conn(far)
    assert tool.wait_until(lambda: "CLOSE-WAIT" in "".join(a.sockets()))
    result = world.check(client.pid)
    found = world.findings(result.json)
    assert list(found) == ["half-closed"], result
    f = found["half-closed"][0]
    assert f["kind"] == "half-closed-held"
    assert f["socket"]["local"] == near["local"]
    assert f["socket"]["state"] == "close_wait"


def test_writer_to_a_peer_that_does_not_read(net, conns):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    near = client.dial("10.78.0.2:7000")
    server.accept()
    writer = client.write(near, 64 << 20)
    assert tool.wait_until(
        lambda: "timer:(persist" in a.run("ss", "-Htno", "dport = :7000"), 30)
    result = world.check(client.pid)
    found = world.findings(result.json)
    assert list(found) == ["peer-not-reading"], result
    f = found["peer-not-reading"][0]
    assert f["kind"] == "stranded-writer"
    assert world.task_ids(f) == {writer}


def test_unread_data_is_not_the_networks_fault(net, conns):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    near = client.dial("10.78.0.2:7000")
    far = server.accept()
    client.rawread(near)
    server.send(far, 10)
    assert tool.wait_until(lambda: a.sockets()[0].split()[1] == "10")
    result = world.check(client.pid)
    for verdict in world.findings(result.json):
        assert verdict == "data-waiting", result


def test_dead_connection_that_nobody_waits_on(net, conns):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    near = client.dial("10.78.0.2:7000")
    server.accept()
    world.power_cut(b, "10.78.0.1", server)
    f = one_finding(world.check(client.pid), "half-open", "proven")
    assert f["kind"] == "dead-idle-connection"
    assert f["tasks"] == []
    assert f["socket"]["local"] == near["local"]


def test_reader_with_a_deadline_will_return(net, conns):
    a, b = net.pair()
    client, server = conns(a), conns(b)
    server.listen("10.78.0.2:7000")
    client.read(client.dial("10.78.0.2:7000"), 3600)
    server.accept()
    world.power_cut(b, "10.78.0.1", server)
    result = world.check(client.pid)
    assert result.json["findings"] == [], result
    assert result.json["summary"]["ended_by_deadline"] == 1, result
    named = tool.stranded("sockets", "--format", "json", client.pid)
    assert [s["verdict"] for s in named.json["sockets"]] == ["half-open"]
