# SPDX-License-Identifier: Apache-2.0
"""Network namespaces of a test's own: named st-*, removed for certain."""
import itertools
import os
import re
import signal
import subprocess
import time

_count = itertools.count()
NOWHERE = "02:00:5e:00:00:99"   # a hardware address that nobody has


def sh(*argv):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(map(str, argv)),
                                       done.stderr.strip()))
    return done.stdout


def remove_leftovers():
    """Namespaces of test runs that were killed."""
    for line in sh("ip", "netns", "list").splitlines():
        match = re.match(r"(st-t(\d+)-\S+)", line)
        if match and not os.path.exists("/proc/" + match.group(2)):
            _remove(match.group(1))


def _remove(name):
    done = subprocess.run(["ip", "netns", "pids", name], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for pid in done.stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass
    subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


class Namespace:
    def __init__(self, label):
        self.name = "st-t%d-%d%s" % (os.getpid(), next(_count), label)
        sh("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *args):
        return sh("ip", "-n", self.name, *args)

    def run(self, *argv):
        return sh("ip", "netns", "exec", self.name, *argv)

    @property
    def prefix(self):
        """Put before a command line to run it in here."""
        return ["ip", "netns", "exec", self.name]

    def sysctl(self, key, value):
        self.run("sysctl", "-qw", "%s=%s" % (key, value))

    def address(self, device, *addresses):
        for address in addresses:
            extra = ["nodad"] if ":" in address else []
            self.ip("addr", "add", address, "dev", device, *extra)
        self.ip("link", "set", device, "up")

    def sockets(self, *filters):
        """Lines of ss for TCP here; without listeners."""
        text = self.run("ss", "-Htan", *filters)
        return [line for line in text.splitlines() if "LISTEN" not in line]

    def cut(self, peer, device="eth0"):
        """From now on what we send to @peer reaches nobody."""
        self.ip("neigh", "replace", peer, "lladdr", NOWHERE, "dev", device,
                "nud", "permanent")

    def mend(self, peer, device="eth0"):
        self.ip("neigh", "del", peer, "dev", device)

    def forget(self, *filters):
        """Take TCP sockets out of the kernel; an RST is sent, see cut()."""
        self.run("ss", "-K", "-Htan", *filters)

    def remove(self):
        _remove(self.name)


class Net:
    """A set of namespaces and cables between them."""

    def __init__(self):
        self.all = []

    def namespace(self, label):
        ns = Namespace(label)
        self.all.append(ns)
        return ns

    def cable(self, a, b, device_a="eth0", device_b="eth0"):
        a.ip("link", "add", device_a, "type", "veth", "peer", "name",
             device_b, "netns", b.name)

    def pair(self, net4="10.78.0", net6="fd78::"):
        """Two namespaces, .1 and .2, IPv4 and IPv6."""
        a, b = self.namespace("a"), self.namespace("b")
        self.cable(a, b)
        a.address("eth0", net4 + ".1/24", net6 + "1/64")
        b.address("eth0", net4 + ".2/24", net6 + "2/64")
        self._carrier(a)
        return a, b

    @staticmethod
    def _carrier(ns):
        for _ in range(100):
            if "NO-CARRIER" not in ns.ip("link", "show", "eth0"):
                return
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for ns in self.all:
            ns.remove()
