# SPDX-License-Identifier: Apache-2.0
"""Labs of a test's own, and small programs that talk in them."""
import itertools
import json
import os
import sys

import tool

_count = itertools.count()

# One line in, one line out. A server echoes; it may be told to say nothing.
PEER = r"""
import errno, socket, sys, threading
conns = []
def say(text):
    print(text, flush=True)
def echo(conn):
    try:
        while True:
            data = conn.recv(65536)
            if not data:
                return
            conn.sendall(data)
    except OSError:
        pass
def serve(listener):
    while True:
        conn, _ = listener.accept()
        conns.append(conn)
        threading.Thread(target=echo, args=(conn,), daemon=True).start()
def listen(port):
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", int(port)))
    listener.listen(16)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    say("ok")
def connect(addr, port, seconds="5"):
    conn = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET)
    conn.settimeout(float(seconds))
    conn.connect((addr, int(port)))
    conns.append(conn)
    say("%d %s" % (len(conns) - 1, conn.getsockname()[1]))
def talk(i, seconds, text):
    conn = conns[int(i)]
    conn.settimeout(float(seconds))
    conn.sendall(text.encode())
    got = ""
    while not got.endswith(text):       # echoes of earlier words may come first
        data = conn.recv(65536).decode()
        if not data:
            return say("eof")
        got += data
    say(text)
def recv(i, seconds):
    conns[int(i)].settimeout(float(seconds))
    say(conns[int(i)].recv(65536).decode() or "eof")
def send(i, n):
    conns[int(i)].setblocking(False)
    say(str(conns[int(i)].send(b"x" * int(n))))
def peer(i):
    say(str(conns[int(i)].getpeername()[1]))
for line in sys.stdin:
    word, *args = line.split()
    try:
        globals()[word](*args)
    except socket.timeout:
        say("timeout")
    except OSError as e:
        say(errno.errorcode.get(e.errno, str(e)))
"""


class Peer(tool.Program):
    def connect(self, addr, port=7000, seconds=5):
        """The number of the connection, or how it failed."""
        self.said = self.ask("connect %s %s %s" % (addr, port, seconds))
        return self.said.split()[0]

    def talk(self, conn, seconds=5):
        """True: what was said came back."""
        text = "hello%d" % next(_count)
        self.said = self.ask("talk %s %s %s" % (conn, seconds, text))
        return self.said == text


def lab(*args, **run):
    return tool.stranded("lab", *args, **run)


class Lab:
    """`lab up` ... `lab down`."""

    def __init__(self, topology, prefix=()):
        self.name = "t%d-%d" % (os.getpid(), next(_count))
        self.topology = topology
        self.prefix = list(prefix)
        self.programs = []
        done = self.run("up", topology)
        assert done.status == 0, done

    def run(self, verb, *args, **run):
        return lab(verb, "--name", self.name, *args, prefix=self.prefix, **run)

    def ok(self, verb, *args):
        done = self.run(verb, *args)
        assert done.status == 0, done
        return done.out

    def exec_prefix(self, host):
        return self.prefix + [tool.binary(), "lab", "exec", "--name",
                              self.name, host, "--"]

    def sh(self, host, *argv):
        """Run it there; its Result."""
        return tool.run(self.exec_prefix(host) + [str(a) for a in argv])

    def start(self, host, *argv):
        program = tool.Program(*argv, prefix=self.exec_prefix(host))
        self.programs.append(program)
        return program

    def peer(self, host, port=None):
        program = Peer(sys.executable, "-c", PEER,
                       prefix=self.exec_prefix(host))
        self.programs.append(program)
        if port:
            assert program.ask("listen %d" % port) == "ok"
        return program

    def fault(self, *args):
        self.ok("fault", *args)

    def heal(self, name):
        self.ok("heal-fault", name)

    @property
    def status(self):
        return json.loads(self.ok("status", "--format", "json"))["labs"][0]

    def host(self, name):
        return next(h for h in self.status["hosts"] if h["name"] == name)

    def address(self, host, family):
        """Of the host's end towards a."""
        for text in self.host(host)["addresses"]:
            if (":" in text) == (family == 6):
                return text.split("/")[0]
        raise KeyError(host)

    def b(self, family):
        return self.address("b", family)

    def netns(self):
        """Inodes of the hosts' namespaces."""
        return {os.stat("/proc/%d/ns/net" % h["pid"]).st_ino
                for h in self.status["hosts"] if h["pid"]}

    def down(self):
        for program in self.programs:
            program.child.kill()
        done = self.run("down")
        for program in self.programs:
            program.end()
        return done

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()


def inhabitants(inodes):
    """Pids of living processes in one of the network namespaces."""
    ret = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat("/proc/%s/ns/net" % pid).st_ino in inodes:
                ret.append(int(pid))
        except OSError:
            pass
    return ret


def processes(name):
    """{role: pid} of what holds the lab; all began as `lab up --name NAME`."""
    ret = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                words = f.read().split(b"\0")
            with open("/proc/%s/comm" % pid) as f:
                comm = f.read().strip()
        except OSError:
            continue
        # a zombie has no command line
        if name.encode() in words and comm.startswith("lab-"):
            ret[comm.rsplit("-", 1)[1]] = int(pid)
    return ret
