# SPDX-License-Identifier: Apache-2.0
"""`stranded lab`: what it builds is there, and what it breaks is broken.

The truth comes from programs that talk in the lab, and from ip, ss and ping.
STRANDED_TEST_KILLS sets how often the parts of a lab are killed (default 12).
"""
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

import tool
from lab import Lab, inhabitants, lab, processes

TOPOLOGIES = ["pair", "lan", "routed", "nat", "proxy"]
ROUTERS = ["routed", "nat", "proxy"]
KILLS = int(os.environ.get("STRANDED_TEST_KILLS", "12"))

# Most of it is waiting; under the sanitizers every scenario of test_scenario.py
# runs through the same code.
pytestmark = [pytest.mark.usefixtures("lab_tools"), pytest.mark.slow]


@pytest.fixture(scope="module")
def lab_tools(root):
    for name in ("nft", "ping", "socat", "conntrack"):
        if not shutil.which(name):
            pytest.skip("needs %s" % name)


@pytest.fixture
def make():
    """Builds labs, which are taken down whatever happens."""
    labs = []

    def build(topology, **how):
        labs.append(Lab(topology, **how))
        return labs[-1]
    yield build
    for one in labs:
        one.down()


class World:
    """A connection of each family from a to b, and one to c."""

    def __init__(self, the_lab):
        self.lab = the_lab
        self.server = the_lab.peer("b", 7000)
        self.healthy = the_lab.peer("c", 7000)
        self.client = the_lab.peer("a")
        self.conns = {f: self.client.connect(the_lab.b(f)) for f in (4, 6)}
        self.to_c = self.client.connect("10.90.3.2")
        assert self.works() and self.healthy_works()

    def works(self, seconds=5):
        return all([self.client.talk(c, seconds) for c in self.conns.values()])

    def silent(self, seconds=0.7):
        """Nothing comes back on either."""
        said = []
        for conn in self.conns.values():
            self.client.talk(conn, seconds)
            said.append(self.client.said)
        return said == ["timeout", "timeout"] or said

    def healthy_works(self):
        return self.client.talk(self.to_c)

    def new(self, family, seconds=2):
        """A new connection: its number, or how it failed."""
        return self.client.connect(self.lab.b(family), 7000, seconds)


@pytest.fixture
def world(make):
    return lambda topology: World(make(topology))


def link(the_lab, host, device):
    return json.loads(the_lab.sh(host, "ip", "-j", "link", "show", device)
                      .out)[0]


# what is built

@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_reaches_b_and_c_on_both_families(world, topology):
    w = world(topology)
    seen = w.lab.sh("b", "ss", "-Htn", "state", "established").out
    if topology == "nat":
        assert "10.90.2.254]" in seen and "[fd90:2::fe]" in seen, seen
        assert "10.90.1.1" not in seen, seen
    else:
        assert "10.90.1.1]" in seen and "[fd90:1::1]" in seen, seen
    assert w.lab.sh("a", "ping", "-c1", "-W2", "fd90:3::2").status == 0


def test_devices_are_named_after_where_they_lead(make):
    the_lab = make("routed")
    for host, devices in {"a": {"lo", "to-s", "to-c"},
                          "r": {"lo", "to-s", "to-b"},
                          "s": {"lo", "to-a", "to-r", "switch"},
                          "b": {"lo", "to-r"}}.items():
        links = json.loads(the_lab.sh(host, "ip", "-j", "link").out)
        assert {x["ifname"] for x in links} == devices


def test_the_proxy_forwards_to_b_on_both_families(make):
    the_lab = make("proxy")
    the_lab.peer("b", 7000)
    client = the_lab.peer("a")
    for family in (4, 6):
        conn = client.connect(the_lab.address("p", family))
        assert client.talk(conn), client.said


def test_two_labs_at_once_do_not_meet(world):
    one, two = world("routed"), world("routed")
    one.lab.fault("router-drop")
    assert one.silent() is True
    assert two.works()
    assert one.lab.netns().isdisjoint(two.lab.netns())


# exec

def test_exec_passes_streams_and_status(make):
    the_lab = make("pair")
    argv = the_lab.exec_prefix("a") + [
        "sh", "-c", "cat; echo err >&2; echo $STRANDED_LAB_HOST; exit 7"]
    done = subprocess.run(argv, input="in\n", text=True, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\na\n",
                                                           "err\n")


def test_exec_keeps_the_limit_of_open_files(make):
    """select(2) breaks in a program that may open more than 1,024."""
    the_lab = make("pair")
    argv = ["prlimit", "--nofile=1000:2000"] + the_lab.exec_prefix("a") + [
        "sh", "-c", "ulimit -Sn; ulimit -Hn"]
    done = subprocess.run(argv, text=True, capture_output=True)
    assert done.stdout.split() == ["1000", "2000"], done


def test_exec_dies_of_the_signal_that_the_program_dies_of(make):
    the_lab = make("pair")
    assert the_lab.sh("a", "sh", "-c", "kill -USR1 $$").status == \
        -signal.SIGUSR1
    program = the_lab.start("a", "sleep", "100")
    program.signal(signal.SIGTERM)
    assert program.child.wait(5) == -signal.SIGTERM


def test_exec_says_what_cannot_run(make):
    the_lab = make("pair")
    done = the_lab.sh("a", "no-such-program-here")
    assert done.status == 127 and "no-such-program-here" in done.err
    assert the_lab.sh("a", "/etc/passwd").status == 126
    done = the_lab.sh("r", "true")
    assert done.status == tool.USAGE and "no host 'r'" in done.err


# names and arguments

@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a b", "-x",
                                  "a\nb", "é", "x" * 32])
def test_odd_names_are_refused(name):
    done = lab("up", "pair", "--name=" + name)
    assert done.status == tool.USAGE and "no name for a lab" in done.err, done


def test_a_lab_that_is_up_is_not_built_again(make):
    the_lab = make("pair")
    before = the_lab.netns()
    done = the_lab.run("up", "pair")
    assert done.status == tool.USAGE and "up already" in done.err
    assert the_lab.netns() == before


def test_what_is_not_there_is_named():
    assert "no topology 'ring'" in lab("up", "ring").err
    done = lab("status", "--name", "nobody")
    assert done.status == tool.NOTHING and "no lab 'nobody' is up" in done.err
    done = lab("down", "--name", "nobody")
    assert done.status == tool.NOTHING
    assert lab("fly").status == tool.USAGE
    assert lab().status == tool.USAGE


def test_faults_are_checked_before_anything_breaks(world):
    w = world("pair")
    for args, text in [
            (["nat-flush"], "needs the topology nat; this lab is pair"),
            (["router-drop"], "needs the topology routed, nat or proxy"),
            (["earthquake"], "no fault 'earthquake'"),
            (["outage"], "needs a number"),
            (["outage", "0"], "use a number from 1"),
            (["outage", "5x"], "use a number"),
            (["peer-frozen", "now"], "takes no 'now'"),
            (["one-way-loss", "c-a"], "no direction")]:
        done = w.lab.run("fault", *args)
        assert done.status == tool.USAGE and text in done.err, done
    assert w.works() and w.lab.status["faults"] == []


def test_a_fault_that_is_on_or_off_already_is_refused(make):
    the_lab = make("routed")
    the_lab.fault("mtu-black-hole", "1300")
    assert the_lab.status["faults"] == [{"name": "mtu-black-hole",
                                         "args": ["1300"]}]
    assert "is on already" in the_lab.run("fault", "mtu-black-hole").err
    the_lab.heal("mtu-black-hole")
    assert the_lab.status["faults"] == []
    done = the_lab.run("heal-fault", "mtu-black-hole")
    assert done.status == tool.USAGE and "is not on" in done.err


def test_faults_and_labs_are_listed(make):
    known = lab("faults", "--format", "json").json
    assert [t["name"] for t in known["topologies"]] == TOPOLOGIES
    text = lab("faults").out
    for fault in known["faults"]:
        assert "  " + fault["name"] in text
    one, two = make("pair"), make("lan")
    labs = {x["name"]: x for x in lab("list", "--format", "json").json["labs"]}
    assert labs[one.name]["topology"] == "pair"
    assert labs[two.name]["owner"] is None
    lines = lab("list").out.splitlines()
    assert one.name + " pair" in lines and two.name + " lan" in lines
    done = lab("status")
    assert done.status == tool.USAGE and "say which by --name" in done.err


def test_a_program_that_is_missing_is_named_and_nothing_is_left():
    name = "missing-%d" % os.getpid()
    done = lab("up", "proxy", "--name", name, env={"PATH": "/nowhere"})
    assert done.status == tool.NOTHING, done
    assert "needs the program socat" in done.err
    assert not processes(name)
    assert lab("status", "--name", name).status == tool.NOTHING


# cables and machines

@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_peer_link_cut(world, topology):
    w = world(topology)
    w.lab.fault("peer-link-cut")
    assert w.silent() is True
    assert w.healthy_works()
    device = "to-b" if topology == "pair" else "to-s"
    # a sees it only where it is the other end
    assert (link(w.lab, "a", device)["operstate"] == "UP") == \
        (topology != "pair")
    w.lab.heal("peer-link-cut")
    assert w.works(20), w.client.said
    assert w.new(4).isdigit() and w.new(6).isdigit()


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_peer_machine_gone(world, topology):
    w = world(topology)
    b = {os.stat("/proc/%d/ns/net" % w.lab.host("b")["pid"]).st_ino}
    w.lab.fault("peer-machine-gone")
    assert inhabitants(b) == []
    assert w.lab.host("b")["pid"] is None
    assert w.silent() is True
    # neither FIN nor RST came
    seen = w.lab.sh("a", "ss", "-Htn", "state", "established").out
    assert len(seen.splitlines()) == 3, seen
    assert w.healthy_works()
    done = w.lab.run("heal-fault", "peer-machine-gone")
    assert done.status == tool.USAGE and "cannot be undone" in done.err
    done = w.lab.sh("b", "true")
    assert done.status == tool.NOTHING and "machine 'b' is gone" in done.err


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_peer_rebooted_answers_rst(world, topology):
    w = world(topology)
    device = "to-a" if topology == "pair" else \
        "to-s" if topology == "lan" else "to-r"
    before = link(w.lab, "b", device)["address"]
    w.lab.fault("peer-rebooted")
    assert link(w.lab, "b", device)["address"] == before
    for conn in w.conns.values():
        assert not w.client.talk(conn)
        assert w.client.said == "ECONNRESET"
    assert w.healthy_works()
    w.lab.peer("b", 7000)
    assert w.client.talk(w.new(4)) and w.client.talk(w.new(6))


def test_a_machine_that_was_gone_can_boot_again(world):
    w = world("routed")
    w.lab.fault("peer-machine-gone")
    assert w.silent() is True
    w.lab.fault("peer-rebooted")
    assert [f["name"] for f in w.lab.status["faults"]] == ["peer-rebooted"]
    assert w.new(4) == "ECONNREFUSED"


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_carrier_lost(world, topology):
    w = world(topology)
    w.lab.fault("carrier-lost")
    seen = link(w.lab, "a", "to-b" if topology == "pair" else "to-s")
    assert "NO-CARRIER" in seen["flags"] and "UP" in seen["flags"]
    assert w.healthy_works()
    w.lab.heal("carrier-lost")
    assert w.works(20), w.client.said


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_next_hop_dead(world, topology):
    w = world(topology)
    w.lab.fault("next-hop-dead")
    device = "to-b" if topology == "pair" else "to-s"
    assert w.silent() is True
    assert link(w.lab, "a", device)["operstate"] == "UP"
    # or a would believe for half a minute more that it was there
    w.lab.sh("a", "ip", "neigh", "flush", "dev", device)

    def failed():
        text = w.lab.sh("a", "ip", "neigh", "show", "dev", device).out
        return text.count("FAILED") + text.count("INCOMPLETE") >= 2
    assert tool.wait_until(failed, timeout=20)
    assert w.healthy_works()
    w.lab.heal("next-hop-dead")
    assert w.works(30), w.client.said


@pytest.mark.parametrize("topology", ["pair", "routed"])
def test_address_removed(world, topology):
    w = world(topology)
    w.lab.fault("address-removed")
    seen = w.lab.sh("a", "ip", "addr").out
    assert "10.90.1.1" not in seen and "fd90:1::1" not in seen
    assert "10.90.3.1" in seen and "fd90:3::1" in seen
    w.lab.heal("address-removed")
    assert w.works(20), w.client.said


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_route_removed(world, topology):
    w = world(topology)
    routes = [sorted(w.lab.sh("a", "ip", f, "route").out.splitlines())
              for f in ("-4", "-6")]
    w.lab.fault("route-removed")
    for f in (4, 6):
        assert w.lab.sh("a", "ip", "route", "get", w.lab.b(f)).status != 0
        assert w.new(f) == "ENETUNREACH"
    assert w.healthy_works()
    w.lab.heal("route-removed")
    assert w.works(20), w.client.said
    assert w.new(4).isdigit() and w.new(6).isdigit()
    for f, before in zip(("-4", "-6"), routes):
        after = w.lab.sh("a", "ip", f, "route").out.splitlines()
        assert len(after) == len(before), (before, after)


# the way

@pytest.mark.parametrize("topology", ROUTERS)
def test_router_drop(world, topology):
    w = world(topology)
    w.lab.fault("router-drop")
    assert w.silent() is True
    assert w.new(4, 0.5) == "timeout" and w.new(6, 0.5) == "timeout"
    assert w.healthy_works()
    w.lab.heal("router-drop")
    assert w.works(20), w.client.said


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("way", ["a-b", "b-a"])
def test_one_way_loss(world, topology, way):
    w = world(topology)

    def got():
        text = w.lab.sh("b", "ss", "-Htni", "state", "established").out
        return sum(int(word.split(":")[1]) for word in text.split()
                   if word.startswith("bytes_received:"))
    before = got()
    w.lab.fault("one-way-loss", way)
    assert w.silent() is True
    # b hears a if only the way back is lost
    assert (got() > before) == (way == "b-a")
    assert w.healthy_works()
    w.lab.heal("one-way-loss")
    assert w.works(20), w.client.said


@pytest.mark.parametrize("topology", ROUTERS)
def test_firewall_reject(world, topology):
    w = world(topology)
    w.lab.fault("firewall-reject-icmp")
    assert w.new(4) == "EHOSTUNREACH" and w.new(6) == "EHOSTUNREACH"
    assert w.silent() is True
    w.lab.heal("firewall-reject-icmp")
    assert w.works(20), w.client.said
    w.lab.fault("firewall-reject-rst")
    for conn in w.conns.values():
        assert not w.client.talk(conn)
        assert w.client.said == "ECONNRESET"
    assert w.new(4) == "ECONNREFUSED" and w.new(6) == "ECONNREFUSED"
    assert w.healthy_works()
    w.lab.heal("firewall-reject-rst")
    assert w.new(4).isdigit() and w.new(6).isdigit()


@pytest.mark.parametrize("topology", ROUTERS)
def test_mtu_black_hole(world, topology):
    w = world(topology)
    w.lab.fault("mtu-black-hole", "1400")
    before = w.lab.sh("a", "nstat", "-az", "IcmpInDestUnreachs").out
    for conn in w.conns.values():
        assert w.client.talk(conn)              # small ones pass
        w.client.ask("send %s 20000" % conn)
        assert w.client.ask("recv %s 1" % conn) == "timeout"
    seen = w.lab.sh("a", "ip", "route", "get", w.lab.b(4)).out
    assert "mtu" not in seen, (before, seen)
    w.lab.heal("mtu-black-hole")
    for conn in w.conns.values():
        assert w.client.ask("recv %s 30" % conn).startswith("xxx")


def test_short_outage_ends_by_itself(world):
    for topology in ("pair", "lan", "routed"):
        w = world(topology)
        w.lab.fault("outage", "2")
        begin = time.monotonic()
        assert w.silent(0.4) is True
        assert w.lab.status["faults"][0]["name"] == "outage"
        assert tool.wait_until(lambda: w.new(4, 0.2).isdigit(), timeout=10)
        assert 1.5 < time.monotonic() - begin < 5
        assert w.lab.status["faults"] == []
        assert w.works(20), w.client.said


@pytest.mark.parametrize("topology", ["lan", "routed", "nat"])
def test_long_delay_loses_nothing(world, topology):
    w = world(topology)
    w.lab.fault("long-delay", "1500")
    for conn in w.conns.values():
        begin = time.monotonic()
        assert w.client.talk(conn, 20), w.client.said
        assert 1.2 < time.monotonic() - begin < 4.5
    # nor do the neighbours that nobody has asked for yet
    for host in ("r", "a", "b"):
        if topology != "lan" or host != "r":
            w.lab.sh(host, "ip", "neigh", "flush", "all")
    assert w.client.talk(w.conns[4], 20), w.client.said
    hop = w.lab.sh("s" if topology == "lan" else "r", "tc", "-s", "qdisc",
                   "show", "dev", "to-b").out
    assert "tbf" in hop and "dropped 0" in hop, hop
    assert w.healthy_works()
    w.lab.heal("long-delay")
    begin = time.monotonic()
    assert w.works()
    assert time.monotonic() - begin < 1
    left = [p for p in inhabitants(w.lab.netns()) if "lab-filler" in
            open("/proc/%d/comm" % p).read()]
    assert left == []


@pytest.mark.parametrize("topology", ["lan", "routed"])
def test_the_default_delay_is_longer_than_neighbours_wait(make, topology):
    """4 s; ARP and neighbour discovery give up after 3 s."""
    the_lab = make(topology)
    the_lab.fault("long-delay")
    for address in (the_lab.b(4), the_lab.b(6)):
        done = the_lab.sh("a", "ping", "-c1", "-W9", address)
        assert done.status == 0, done
        took = float(done.out.split("time=")[1].split()[0])
        assert 3500 < took < 6000, done
    the_lab.heal("long-delay")
    assert "PERMANENT" not in the_lab.sh("b", "ip", "neigh").out
    assert the_lab.sh("a", "ping", "-c1", "-W2", the_lab.b(6)).status == 0


# NAT

def test_nat_flush_is_healed_by_the_next_packet(world):
    w = world("nat")
    assert "10.90.1.1" in w.lab.sh("r", "conntrack", "-L", "-p", "tcp").out
    w.lab.fault("nat-flush")
    assert "10.90.1.1" not in w.lab.sh("r", "conntrack", "-L", "-p", "tcp").out
    assert w.works(), w.client.said
    w.lab.fault("nat-flush")        # an act, not a state
    w.lab.heal("nat-flush")


def test_nat_flush_strict_is_silent(world):
    w = world("nat")
    w.lab.fault("nat-flush-strict")
    assert w.silent() is True
    assert w.new(4).isdigit() and w.new(6).isdigit()
    w.lab.heal("nat-flush-strict")
    assert w.works(20), w.client.said


def test_nat_flush_new_port_makes_another_connection_of_it(world):
    w = world("nat")
    w.lab.fault("nat-flush-new-port")
    for conn in w.conns.values():
        assert not w.client.talk(conn)
        assert w.client.said == "ECONNRESET"
    assert w.new(4).isdigit()
    ports = w.lab.sh("b", "ss", "-Htn", "state", "established", "dport",
                     "ge", ":10000", "dport", "le", ":20000").out
    assert "10.90.2.254" in ports, ports
    assert w.healthy_works()


# programs in b

@pytest.mark.parametrize("fault", ["peer-frozen", "peer-not-reading"])
def test_peer_frozen(world, fault):
    w = world("routed")
    w.lab.fault(fault)
    with open("/proc/%d/stat" % w.server.pid) as f:
        assert f.read().rsplit(")", 1)[1].split()[0] == "T"
    assert w.silent() is True
    # the kernel lives: what was sent is acknowledged
    text = w.lab.sh("a", "ss", "-Htn", "dst", w.lab.b(4)).out
    assert text.split()[2] == "0", text
    w.lab.heal(fault)
    assert w.client.ask("recv %s 5" % w.conns[4]).startswith("hello")


def test_peer_not_reading_fills_its_window(world):
    w = world("routed")
    w.lab.fault("peer-not-reading")

    def full():
        w.client.ask("send %s 1000000" % w.conns[4])
        text = w.lab.sh("a", "ss", "-Htnoi", "dst", w.lab.b(4)).out
        return "timer:(persist" in text
    assert tool.wait_until(full, timeout=20)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_peer_half_closed(world, topology):
    w = world(topology)
    w.lab.fault("peer-half-closed")
    for conn in w.conns.values():
        assert w.client.ask("recv %s 5" % conn) == "eof"
    seen = w.lab.sh("a", "ss", "-Htn", "state", "close-wait").out
    assert len(seen.splitlines()) == 2, seen
    assert w.healthy_works()


def test_half_closing_nothing_is_an_error(make):
    done = make("pair").run("fault", "peer-half-closed")
    assert done.status == tool.USAGE and "connect first" in done.err


def test_backend_dead_leaves_the_proxy_alive(make):
    the_lab = make("proxy")
    the_lab.peer("b", 7000)
    client = the_lab.peer("a")
    conns = [client.connect(the_lab.address("p", f)) for f in (4, 6)]
    assert all([client.talk(c) for c in conns])
    the_lab.fault("backend-dead")
    for conn in conns:
        assert not client.talk(conn, 0.7) and client.said == "timeout"
    text = the_lab.sh("a", "ss", "-Htn", "state", "established").out
    assert text.count(":7000") == 2, text       # the proxy acknowledged all
    assert all(line.split()[1] == "0" for line in text.splitlines()), text


# the end

def gone(the_lab, inodes, timeout=20):
    """Nothing is left of it; what is, else."""
    def left():
        return (inhabitants(inodes) + list(processes(the_lab.name)) +
                [d for d in ("/run/stranded/lab/" + the_lab.name,)
                 if os.path.exists(d)])
    tool.wait_until(lambda: not left(), timeout=timeout)
    return left()


def comm(pid):
    with open("/proc/%d/comm" % pid) as f:
        return f.read().strip()


def test_who_holds_a_lab_is_named(make):
    """A command that was stopped, or hangs, must not be looked for."""
    the_lab = make("pair")
    lock = os.open("/run/stranded/lab/" + the_lab.name, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = the_lab.run("down")
        assert done.status == tool.NOTHING
        assert "process %d holds it" % os.getpid() in done.err, done
    finally:
        os.close(lock)
    assert the_lab.run("down").status == 0


def test_down_ends_every_program(make):
    the_lab = make("proxy")
    inodes = the_lab.netns()
    the_lab.start("a", "sleep", "1000")
    # one that lets go of everything, and of its environment
    the_lab.sh("b", "sh", "-c", "env -i setsid sleep 1000 >/dev/null 2>&1 &")
    frozen = the_lab.start("b", "sleep", "1000")
    # before that it is a stranded that may have locked the lab
    tool.wait_until(lambda: comm(frozen.pid) == "sleep")
    frozen.signal(signal.SIGSTOP)
    assert the_lab.run("down").status == 0
    assert gone(the_lab, inodes, 0) == []
    assert the_lab.run("down").status == tool.NOTHING


def test_an_owned_lab_ends_with_its_owner(make):
    owner = subprocess.Popen(["sleep", "1000"])
    name = "owned-%d" % os.getpid()
    try:
        done = lab("up", "routed", "--name", name, "--owner", owner.pid)
        assert done.status == 0, done
    finally:
        owner.kill()
        owner.wait()
    assert tool.wait_until(
        lambda: lab("status", "--name", name).status == tool.NOTHING)
    assert tool.wait_until(lambda: not processes(name))


@pytest.mark.parametrize("round_", range(KILLS))
def test_whoever_is_killed_nothing_is_left(round_):
    """At random the keeper or the warden."""
    chance = random.Random(round_)
    the_lab = Lab(chance.choice(TOPOLOGIES))
    inodes = the_lab.netns()
    try:
        program = the_lab.start("b", "sleep", "1000")
        the_lab.sh("a", "sh", "-c",
                   "env -i setsid sleep 1000 >/dev/null 2>&1 &")
        victim = chance.choice(["keeper", "warden"])
        os.kill(processes(the_lab.name)[victim], signal.SIGKILL)
        assert gone(the_lab, inodes) == [], victim
        program.child.wait(5)
    finally:
        the_lab.down()


def test_both_killed_at_once_is_cleared_by_the_next_command(make):
    the_lab = make("routed")
    inodes = the_lab.netns()
    program = the_lab.start("b", "sleep", "1000")
    parts = processes(the_lab.name)
    for part in ("warden", "keeper"):
        os.kill(parts[part], signal.SIGSTOP)
    for part in ("warden", "keeper"):
        os.kill(parts[part], signal.SIGKILL)
    program.child.poll()
    done = lab("list")
    assert done.status == 0 and the_lab.name not in done.out
    assert gone(the_lab, inodes) == []


@pytest.mark.parametrize("round_", range(KILLS))
def test_a_command_that_is_killed_leaves_a_lab_or_none(round_):
    chance = random.Random(round_)
    name = "k%d-%d" % (os.getpid(), round_)
    child = subprocess.Popen([tool.binary(), "lab", "up", "nat", "--name",
                              name], stdout=subprocess.DEVNULL)
    time.sleep(chance.random() * 0.06)
    child.kill()
    child.wait()
    # whatever it had begun is now whole, or is not
    status = lab("status", "--name", name)
    if status.status == 0:
        assert lab("exec", "--name", name, "a", "--", "ping", "-c1", "-W2",
                   "10.90.2.2").status == 0
        assert lab("down", "--name", name).status == 0
    else:
        assert status.status == tool.NOTHING, status
    assert tool.wait_until(lambda: not processes(name)), processes(name)
    assert not os.path.exists("/run/stranded/lab/" + name)


def test_a_fault_that_is_killed_can_be_repeated(world):
    w = world("routed")
    for round_ in range(KILLS):
        child = subprocess.Popen([tool.binary(), "lab", "fault", "--name",
                                  w.lab.name, "router-drop"])
        time.sleep(random.Random(round_).random() * 0.03)
        child.kill()
        child.wait()
        done = w.lab.run("fault", "router-drop")
        assert done.status == 0 or "is on already" in done.err, done
        w.lab.heal("router-drop")
        assert w.works(20), w.client.said


@pytest.mark.parametrize("fault", ["peer-machine-gone", "peer-rebooted",
                                   "long-delay", "peer-link-cut"])
def test_a_fault_that_is_killed_halfway_can_be_repeated(make, fault):
    chance = random.Random(fault)
    for _ in range(max(KILLS // 4, 3)):
        the_lab = make("routed")
        the_lab.start("b", "sleep", "1000")
        inodes = the_lab.netns()
        child = subprocess.Popen([tool.binary(), "lab", "fault", "--name",
                                  the_lab.name, fault])
        time.sleep(chance.random() * 0.05)
        child.kill()
        child.wait()
        done = the_lab.run("fault", fault)
        assert done.status == 0 or "is on already" in done.err or \
            "is gone" in done.err or "rebooted once" in done.err, done
        ping = the_lab.sh("a", "ping", "-c1", "-W1", "10.90.2.2").status
        assert (ping == 0) == (fault in ("peer-rebooted", "long-delay")) or \
            (fault == "long-delay"), done
        assert the_lab.down().status == 0
        assert inhabitants(inodes) == []


def test_a_state_file_is_not_trusted(make):
    the_lab = make("pair")
    path = "/run/stranded/lab/%s/state.json" % the_lab.name
    with open(path) as f:
        good = f.read()
    state = json.loads(good)
    for change in ({"keeper": {"pid": 1, "start": 0}}, {"topology": "ring"},
                   {"hosts": [{}] * 9}, {"hosts": 5}, {"name": "other"},
                   {"faults": [{"name": "x" * 99}]}, {"id": 5}):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            json.dump(dict(state, **change), f)
        done = the_lab.run("status")
        assert done.status == tool.NOTHING, done
        assert "no sense" in done.err or "killed" in done.err, done
    assert os.path.exists("/proc/1")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(good)
    assert the_lab.run("status").status == 0


# without root

def userns():
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534",
                           "--clear-groups", "unshare", "-Urn", "true"])
    return done.returncode == 0


def test_without_root(make):
    if not userns():
        pytest.skip("needs user namespaces for everyone")
    the_lab = make("nat", prefix=[
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    w = World(the_lab)
    w.lab.fault("nat-flush-strict")
    assert w.silent() is True
    w.lab.heal("nat-flush-strict")
    w.lab.fault("long-delay", "500")
    begin = time.monotonic()
    assert w.client.talk(w.conns[4], 10)
    assert time.monotonic() - begin > 0.4
    w.lab.heal("long-delay")
    new = w.new(6)
    assert w.client.talk(new)
    w.lab.fault("peer-half-closed")
    assert w.client.ask("recv %s 5" % new) == "eof"
    w.lab.fault("peer-rebooted")
    assert w.healthy_works()
    inodes = the_lab.netns()
    assert the_lab.down().status == 0
    assert inhabitants(inodes) == []
    shutil.rmtree("/tmp/stranded-65534", ignore_errors=True)


def test_user_namespaces_off_is_said(tmp_path):
    """In a user namespace of its own whose limit is zero."""
    script = ("echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv "
              "--bounding-set=-all --inh-caps=-all --ambient-caps=-all %s "
              "lab up pair" % tool.binary())
    done = tool.run(["setpriv", "--reuid=65534", "--regid=65534",
                     "--clear-groups", "unshare", "-Ur", "sh", "-c", script])
    assert done.status == tool.NOTHING, done
    assert "max_user_namespaces = 0" in done.err, done
    shutil.rmtree("/tmp/stranded-0", ignore_errors=True)
