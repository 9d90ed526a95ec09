# SPDX-License-Identifier: Apache-2.0
"""Reads the table of coroutines of a running program, as table.h lays it out.

Not stranded's own reader: tests of the hook hold the table itself against what
a program knows. No care is taken of what changes while it is read.
"""
import collections
import re
import struct
import subprocess

MAGIC = b"stranded hook 1\0"
FREE, CREATED, RUNNING, PARKED, SEEN = range(5)
OPS = ("other", "read", "write", "accept", "connect", "poll", "sleep", "mutex",
       "cond", "chan-send", "chan-recv", "join")
FD_TOLD, PC_RETURN, SYSTEM, MARKED, MORE = 1, 2, 4, 8, 16
ROOT = struct.Struct("<16s10Iq4Q2IQ")

Line = collections.namedtuple(
    "Line", "seq incarnation sp pc bp stack_hi since state op flags reserved "
    "fd site parent")
LINE = struct.Struct("<2I5Q4Bi2I")
Site = collections.namedtuple("Site", "pc start created ended")


class Table:
    """What stood there when it was made: created, ended, lines, sites."""

    def __init__(self, pid, root=None):
        with open("/proc/%d/mem" % pid, "rb") as self.mem:
            self._take(root or root_address(pid))

    def _read(self, address, size):
        self.mem.seek(address)
        return self.mem.read(size)

    def _take(self, root):
        (magic, _, _, line_size, _, site_size, chunk_lines, _, _,
         self.activity, self.pid, _, _, self.created, self.ended,
         self.dropped, n_lines, n_sites, sites) = ROOT.unpack(
             self._read(root, ROOT.size))
        assert magic == MAGIC, magic
        chunks = struct.unpack("<256Q", self._read(root + ROOT.size, 2048))
        self.all = []
        for i in range(0, n_lines, chunk_lines):
            n = min(chunk_lines, n_lines - i)
            data = self._read(chunks[i // chunk_lines], n * line_size)
            self.all += [Line(*LINE.unpack_from(data, k * line_size))
                         for k in range(n)]
        data = self._read(sites, n_sites * site_size) if sites else b""
        self.sites = [Site(*struct.unpack_from("<4Q", data, i))
                      for i in range(0, len(data), site_size)]
        self.lines = [x for x in self.all if x.state != FREE]

    def parked(self):
        return [x for x in self.lines
                if x.state == PARKED and not x.flags & SYSTEM]

    def seen(self):
        return [x for x in self.lines if x.state == SEEN]


def root_address(pid):
    """Of the library that is mapped in the process."""
    with open("/proc/%d/maps" % pid) as f:
        for line in f:
            match = re.match(r"(\w+)-\w+ \S+ 0+ .* (/\S*libstranded-hook\S*)",
                             line)
            if match:
                out = subprocess.run(["nm", "-D", match.group(2)], check=True,
                                     capture_output=True, text=True).stdout
                symbol = re.search(r"(\w+) \w stranded_hook_table_v1", out)
                return int(match.group(1), 16) + int(symbol.group(1), 16)
    raise AssertionError("no hook in process %d" % pid)
