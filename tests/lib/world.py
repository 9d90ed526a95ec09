# SPDX-License-Identifier: Apache-2.0
"""Connections between namespaces, and the ways in which they die."""
import json
import subprocess

import tool


class Conns(tool.Program):
    """tests/victims/conns, by its commands."""

    def __init__(self, path, prefix=()):
        super().__init__(path, prefix=prefix, stderr=subprocess.PIPE)

    def end(self):
        super().end()
        self.child.stderr.close()

    def do(self, *words):
        return json.loads(self.ask(" ".join(str(w) for w in words)))

    def listen(self, addr, network="tcp"):
        return self.do("listen", network, addr)["addr"]

    def dial(self, addr, keepalive=-1, network="tcp"):
        return self.do("dial", network, addr, keepalive)

    def accept(self):
        return self.do("accept")

    def read(self, conn, *seconds):
        """A goroutine that reads @conn; returns its id as stranded has it."""
        return str(self.do("read", conn["conn"], *seconds)["id"])

    def rawread(self, conn):
        return str(self.do("rawread", conn["conn"])["id"])

    def write(self, conn, n):
        return str(self.do("write", conn["conn"], n)["id"])

    def send(self, conn, n):
        self.do("send", conn["conn"], n)

    def close_conn(self, conn):
        self.do("close", conn["conn"])


def power_cut(machine, peer, program, device="eth0", back=True):
    """@machine stops sending to @peer, its @program dies, its kernel forgets.

    With @back the machine is reachable again afterwards, and knows nothing.
    """
    machine.sysctl("net.ipv4.tcp_orphan_retries", 1)
    machine.cut(peer, device)
    program.end()
    assert tool.wait_until(lambda: not machine.sockets(), timeout=30), \
        "the kernel still knows %s" % machine.sockets()
    if back:
        machine.mend(peer, device)


def findings(report):
    """{verdict or kind: [finding]} of `check --format json`."""
    ret = {}
    for f in report["findings"]:
        key = (f.get("socket") or {}).get("verdict") or f["kind"]
        ret.setdefault(key, []).append(f)
    return ret


def task_ids(finding):
    return {t["id"] for t in finding["tasks"]}


def check(pid, *more, **run):
    """`stranded check` as JSON, with everything that blocks >= 0 s."""
    return tool.stranded("check", "--format", "json", "--min-blocked", "0s",
                         *more, pid, **run)
