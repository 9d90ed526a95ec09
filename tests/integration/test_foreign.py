# SPDX-License-Identifier: Apache-2.0
"""Stripped programs of other people: every goroutine, every socket."""
import http.client
import os
import re
import select
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

import dump
import foreign
import tool


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fetched(get, *args):
    try:
        return get(*args)
    except foreign.NotHere as e:
        pytest.skip(str(e))


class Daemon:
    """A program of somebody else's, and the address it listens on."""

    def __init__(self, argv, port, **popen):
        self.port = port
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE,
                                      stdout=subprocess.DEVNULL, **popen)
        self.pid = self.child.pid
        if not tool.wait_until(self.listens, 30):
            self.end()
            pytest.fail("%s does not listen on %d" % (argv[0], port))

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdin.close()


def own_sockets(pid):
    """What ss says: {fd: (state, local, remote)} of TCP sockets."""
    ret = {}
    out = subprocess.run(["ss", "-Htanp"], stdout=subprocess.PIPE,
                         text=True).stdout
    for line in out.splitlines():
        for fd in re.findall(r"pid=%d,fd=(\d+)" % pid, line):
            words = line.split()
            ret[int(fd)] = (words[0], words[3], words[4])
    return ret


def port_of(address):
    return int(address.rsplit(":", 1)[1])


def joined(pid, client_port, listener_port):
    """Every IO wait has its fd; listener and our connection are named."""
    listed = tool.stranded("ps", "--stacks", "--format", "json", pid)
    assert listed.status in (tool.CLEAN, tool.GAPS), listed
    tasks = listed.json["tasks"]
    sockets = own_sockets(pid)
    waiting = [t for t in tasks if t["wait"] == "IO wait"]
    assert waiting
    fds = set(os.listdir("/proc/%d/fd" % pid))
    for t in waiting:
        assert isinstance(t["fd"], int), t
        assert str(t["fd"]) in fds, t
    accepting = [t for t in waiting
                 if sockets.get(t["fd"], ("",))[0] == "LISTEN" and
                 port_of(sockets[t["fd"]][1]) == listener_port]
    assert len(accepting) == 1, (accepting, sockets)
    assert any("Accept" in f["function"] for f in accepting[0]["stack"])
    reading = [t for t in waiting
               if sockets.get(t["fd"], ("",))[0] == "ESTAB" and
               port_of(sockets[t["fd"]][2]) == client_port]
    assert len(reading) == 1, (reading, sockets)
    assert any(f["function"].endswith(".Read") for f in reading[0]["stack"])
    named = tool.stranded("sockets", "--format", "json", pid).json["sockets"]
    assert {port_of(s["local"]) for s in named if s["state"] == "listen"} == \
        {port_of(s[1]) for s in sockets.values() if s[0] == "LISTEN"}
    assert client_port in [port_of(s["remote"]) for s in named
                           if s["state"] == "established"]


def keep_alive(port, path):
    """One request over a connection that stays; returns it."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    c.request("GET", path)
    c.getresponse().read()
    return c


def crash_dump(stderr):
    """The goroutines that a program prints when it gets SIGQUIT."""
    blocks = [b for b in stderr.split("\n\n") if b.startswith("goroutine ")
              and not b.startswith("goroutine 0 ")]
    text = "\n\n".join(re.sub(r"(\+0x[0-9a-f]+) fp=.*", r"\1", b)
                       for b in blocks)
    return dump.without_runtime(dump.parse(
        re.sub(r"(?ms)^(rax|exit status).*", "", text)))


@pytest.mark.parametrize("version", foreign.ESBUILD)
def test_esbuild_serve(root, version, tmp_path):
    path = fetched(foreign.esbuild, version)
    (tmp_path / "index.html").write_text("hello\n")
    (tmp_path / "a.js").write_text("export let a = 1\n")
    port = free_port()
    daemon = Daemon([path, "--serve=127.0.0.1:%d" % port,
                     "--servedir=%s" % tmp_path, "a.js",
                     "--outdir=%s" % tmp_path], port, cwd=tmp_path,
                    stderr=subprocess.PIPE, text=False,
                    env=dict(os.environ, GOTRACEBACK="all"))
    try:
        client = keep_alive(port, "/index.html")
        time.sleep(0.5)
        joined(daemon.pid, client.sock.getsockname()[1], port)
        seen = tool.stranded("ps", "--format", "debug2", daemon.pid)
        assert seen.status in (tool.CLEAN, tool.GAPS), seen
        daemon.child.send_signal(signal.SIGQUIT)
        err = b""
        while select.select([daemon.child.stderr], [], [], 20)[0]:
            data = os.read(daemon.child.stderr.fileno(), 1 << 16)
            if not data:
                break
            err += data
        own = crash_dump(err.decode())
        assert own, err
        theirs = dump.without_runtime(dump.parse(seen.out))
        drop_go_wrappers(own, theirs)
        n, found = dump.compare(own, theirs, quit_changes(own))
        assert not found, "\n".join(found)
        assert n >= 3
        client.close()
    finally:
        daemon.end()
        daemon.child.stderr.close()


def drop_go_wrappers(own, theirs):
    """Before Go 1.21 the wrapper of a go statement has a closure's name; only
    a dump made while crashing shows it."""
    for number, g in own.items():
        if number in theirs and \
                g.frames[:-1] == theirs[number].frames and \
                re.search(r"\.func\d+$", g.frames[-1].function):
            g.frames.pop()


def quit_changes(own):
    """The goroutine that the signal interrupted prints its own crash."""
    return {n for n, g in own.items() if g.running or any(
        f.function in ("runtime.sigtramp", "runtime.asyncPreempt")
        for f in g.frames)}


def against_pprof(daemon, url):
    """Goroutines that pprof shows alike before and after us."""
    def get():
        with urllib.request.urlopen(url, timeout=30) as r:
            return dump.parse(r.read().decode())
    for _ in range(5):
        before = get()
        seen = tool.stranded("ps", "--format", "debug2", daemon.pid)
        assert seen.status in (tool.CLEAN, tool.GAPS), seen
        theirs = dump.parse(seen.out)
        after = get()
        stable = {n: g for n, g in before.items() if n in after and
                  not g.running and g.frames == after[n].frames and
                  g.state == after[n].state}
        n, found = dump.compare(
            stable, {k: g for k, g in theirs.items() if k in stable})
        if not found:
            break
    assert not found, "\n".join(found)
    assert n >= 20 and n >= len(before) * 0.6
    # What we list beyond the stable ones came or went meanwhile.
    strange = theirs.keys() - before.keys() - after.keys()
    assert len(strange) <= 5, strange


def test_prometheus(root, tmp_path):
    path = fetched(foreign.debian, "prometheus", "usr/bin/prometheus")
    port = free_port()
    config = tmp_path / "p.yml"
    config.write_text("scrape_configs: []\n")
    daemon = Daemon([path, "--config.file=%s" % config,
                     "--storage.tsdb.path=%s" % (tmp_path / "data"),
                     "--web.listen-address=127.0.0.1:%d" % port], port,
                    stderr=subprocess.DEVNULL, cwd=tmp_path)
    try:
        client = keep_alive(port, "/-/healthy")
        time.sleep(1)
        joined(daemon.pid, client.sock.getsockname()[1], port)
        against_pprof(daemon, "http://127.0.0.1:%d/debug/pprof/goroutine"
                      "?debug=2" % port)
        client.close()
    finally:
        daemon.end()


def test_etcd(root, tmp_path):
    path = fetched(foreign.debian, "etcd-server", "usr/bin/etcd")
    port, peer = free_port(), free_port()
    url = "http://127.0.0.1:%d" % port
    peer_url = "http://127.0.0.1:%d" % peer
    daemon = Daemon([path, "--data-dir=%s" % (tmp_path / "data"),
                     "--listen-client-urls=" + url,
                     "--advertise-client-urls=" + url,
                     "--listen-peer-urls=" + peer_url,
                     "--initial-advertise-peer-urls=" + peer_url,
                     "--initial-cluster=default=" + peer_url,
                     "--enable-pprof"], port, stderr=subprocess.DEVNULL)
    try:
        client = keep_alive(port, "/version")
        time.sleep(2)
        joined(daemon.pid, client.sock.getsockname()[1], port)
        against_pprof(daemon, url + "/debug/pprof/goroutine?debug=2")
        client.close()
    finally:
        daemon.end()
