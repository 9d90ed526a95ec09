# SPDX-License-Identifier: Apache-2.0
"""Makes the memory of a stopped Go program lie, one word at a time."""
import os
import re
import signal
import struct

WORD = 8


class Memory:
    """/proc/PID/mem of a program that is stopped, and how to undo changes."""

    def __init__(self, program):
        self.pid = program.pid
        self.program = program
        program.signal(signal.SIGSTOP)
        self.mem = os.open("/proc/%d/mem" % self.pid, os.O_RDWR)
        self.undo = []

    def read(self, addr, n):
        return os.pread(self.mem, n, addr)

    def word(self, addr):
        return struct.unpack("<Q", self.read(addr, WORD))[0]

    def words(self, addr, n):
        return struct.unpack("<%dQ" % n, self.read(addr, n * WORD))

    def write(self, addr, value):
        self.undo.append((addr, self.read(addr, WORD)))
        os.pwrite(self.mem, struct.pack("<Q", value & (1 << 64) - 1), addr)

    def restore(self):
        for addr, data in reversed(self.undo):
            os.pwrite(self.mem, data, addr)
        self.undo = []

    def regions(self, writable=True):
        """[(start, end, name)] of private memory, vsyscall left out."""
        ret = []
        with open("/proc/%d/maps" % self.pid) as f:
            for line in f:
                m = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+"
                             r"\s*(.*)", line)
                if m.group(3).startswith("rw" if writable else "r") and \
                        not m.group(4).startswith("[v"):
                    ret.append((int(m.group(1), 16), int(m.group(2), 16),
                                m.group(4)))
        return ret

    def mapped(self, addr):
        return any(a <= addr < b for a, b, _ in self.regions())

    def readable(self, addr, n):
        try:
            return len(self.read(addr, n)) == n
        except (OSError, OverflowError):
            return False

    def is_g(self, addr):
        """Is this the record of a goroutine? Its sched.g points back."""
        return addr % WORD == 0 and addr > 4096 and \
            self.readable(addr, 80) and self.word(addr + 72) == addr

    def waiter_of(self, chan):
        """(sudog, g) of somebody who waits on the channel at @chan."""
        for sudog in self.words(chan, 12):
            if sudog % WORD == 0 and self.readable(sudog, 96) and \
                    self.is_g(self.word(sudog)):
                return sudog, self.word(sudog)
        raise LookupError("nobody waits on 0x%x" % chan)

    def data(self):
        """The program's own data segment and what follows it."""
        exe = os.readlink("/proc/%d/exe" % self.pid)
        ret, last = [], 0
        for start, end, name in self.regions():
            if name == exe or (name in ("", "[heap]") and start == last):
                ret.append((start, end))
                last = end
        return ret

    def all_gs(self):
        """Addresses of slice headers that hold all goroutines."""
        ret = []
        for start, end in self.data():
            data = self.read(start, end - start)
            words = struct.unpack("<%dQ" % (len(data) // WORD),
                                  data[:len(data) // WORD * WORD])
            for i in range(len(words) - 2):
                p, n, cap = words[i:i + 3]
                if 8 <= n <= cap < 1 << 20 and p % WORD == 0 and \
                        self.readable(p, n * WORD) and \
                        all(self.is_g(g) for g in self.words(p, 8)):
                    ret.append(start + i * WORD)
        return ret

    def module_data(self):
        """Address of the first word that points at a pc table, or None."""
        magics = {0xfffffffa, 0xfffffff0, 0xfffffff1}
        for start, end in self.data():
            data = self.read(start, end - start)
            for i in range(0, len(data) // WORD * WORD, WORD):
                p = struct.unpack_from("<Q", data, i)[0]
                if p % WORD == 0 and p > 4096 and self.readable(p, 8) and \
                        struct.unpack("<I", self.read(p, 4))[0] in magics and \
                        self.read(p + 4, 4) == b"\0\0\1\x08":
                    return start + i
        return None

    def close(self):
        self.restore()
        os.close(self.mem)
        self.program.signal(signal.SIGCONT)
