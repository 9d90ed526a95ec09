# SPDX-License-Identifier: Apache-2.0
"""Reads Go's own text form of goroutines (debug=2) and compares two of them."""
import collections
import re

Frame = collections.namedtuple("Frame", "function file line offset")

HEADER = re.compile(r"^goroutine (\d+)(?: gp=\S+ m=\S+(?: mp=\S+)?)? "
                    r"\[([^]]*)\](.*):$")
PLACE = re.compile(r"^\t(.*):(\d+)(?: \+(0x[0-9a-f]+))?$")
CREATED = re.compile(r"^created by (.*?)(?: in goroutine (\d+))?$")
ELIDED = re.compile(r"^\.\.\.(?:(\d+) frames elided|additional frames elided)"
                    r"\.\.\.$")


class Goroutine:
    def __init__(self, number, words, rest):
        parts = [p.strip() for p in words.split(",")]
        self.id = number
        self.state = parts[0]
        self.minutes = 0
        self.locked = "locked to thread" in parts
        for part in parts[1:]:
            match = re.match(r"(\d+) minutes$", part)
            if match:
                self.minutes = int(match.group(1))
        self.rest = rest.strip()
        self.frames = []
        self.elided = None      # (frames before the cut, how many are missing)
        self.created_by = None  # Frame
        self.parent = 0

    @property
    def running(self):
        return self.state.split(" (")[0] in ("running", "runnable", "preempted",
                                             "copystack", "idle")


def function_of(text):
    """'main.(*T).run(0x1, {...})' -> 'main.(*T).run'"""
    if not text.endswith(")"):
        raise ValueError("not a call: %r" % text)
    depth = 0
    for at in range(len(text) - 1, -1, -1):
        if text[at] == ")":
            depth += 1
        elif text[at] == "(":
            depth -= 1
            if depth == 0:
                return text[:at]
    raise ValueError("not a call: %r" % text)


def _place(line):
    match = PLACE.match(line)
    if not match:
        raise ValueError("not a place: %r" % line)
    return (match.group(1), int(match.group(2)),
            int(match.group(3), 16) if match.group(3) else None)


def _parse_one(lines):
    match = HEADER.match(lines[0])
    if not match:
        raise ValueError("not a goroutine: %r" % lines[0])
    g = Goroutine(int(match.group(1)), match.group(2), match.group(3))
    at = 1
    while at < len(lines):
        line = lines[at]
        elided = ELIDED.match(line)
        created = CREATED.match(line)
        if elided:
            g.elided = (len(g.frames), int(elided.group(1) or 0))
            at += 1
        elif line.startswith("\tgoroutine running on other thread"):
            at += 1
        elif created:
            g.parent = int(created.group(2) or 0)
            g.created_by = Frame(created.group(1), *_place(lines[at + 1]))
            at += 2
        else:
            g.frames.append(Frame(function_of(line), *_place(lines[at + 1])))
            at += 2
    return g


def parse(text):
    """{goroutine id: Goroutine}; ValueError when the text is not that form."""
    ret = collections.OrderedDict()
    for block in text.strip("\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line]
        if not lines:
            continue
        g = _parse_one(lines)
        if g.id in ret:
            raise ValueError("goroutine %d twice" % g.id)
        ret[g.id] = g
    return ret


def _same_frames(own, theirs):
    """Where two stacks differ, or None. Go may have cut its own."""
    a, b = own.frames, theirs.frames
    if theirs.elided == own.elided and a == b:
        return None
    if own.elided:
        before, missing = own.elided
        after = len(a) - before
        if a[:before] != b[:before]:
            return _difference(a[:before], b[:before])
        if missing and len(b) != len(a) + missing:
            return "%d frames, Go has %d" % (len(b), len(a) + missing)
        if after and a[before:] != b[-after:]:
            return _difference(a[before:], b[-after:])
        return None
    if len(a) >= 90 and b[:len(a)] == a:
        return None     # Go before 1.21 cuts at 100 frames without a word
    return _difference(a, b)


def _difference(a, b):
    for i in range(max(len(a), len(b))):
        x = a[i] if i < len(a) else None
        y = b[i] if i < len(b) else None
        if x != y:
            return "frame %d: Go %s, stranded %s" % (i, _show(x), _show(y))
    return None


def _show(frame):
    if frame is None:
        return "has none"
    return "%s %s:%d%s" % (frame.function, frame.file, frame.line,
                           "" if frame.offset is None else
                           " +0x%x" % frame.offset)


def _settled(state):
    """"(scan)" says that the GC looks at it this very moment, which it may do
    at one dump and not at the other; Go's own stops the world first."""
    return state.replace(" (scan)", "")


def compare_one(own, theirs):
    """The differences of one goroutine, as sentences."""
    ret = []
    if _settled(own.state) != _settled(theirs.state):
        ret.append("state: Go [%s], stranded [%s]" % (own.state, theirs.state))
    if own.locked != theirs.locked:
        ret.append("locked to thread: Go %s, stranded %s"
                   % (own.locked, theirs.locked))
    if abs(own.minutes - theirs.minutes) > 1:
        ret.append("minutes: Go %d, stranded %d"
                   % (own.minutes, theirs.minutes))
    frames = _same_frames(own, theirs)
    if frames:
        ret.append(frames)
    if own.created_by != theirs.created_by:
        ret.append("created by: Go %s, stranded %s"
                   % (_show(own.created_by), _show(theirs.created_by)))
    if own.parent != theirs.parent:
        ret.append("parent: Go %d, stranded %d" % (own.parent, theirs.parent))
    return ["goroutine %d: %s" % (own.id, d) for d in ret]


def compare(own, theirs, ignore=()):
    """The differences of all that are parked by Go's own account.

    Returns (goroutines compared, list of sentences). @ignore: ids to leave out.
    """
    n, ret = 0, []
    for number, g in own.items():
        if g.running or number in ignore:
            continue
        n += 1
        if number in theirs:
            ret += compare_one(g, theirs[number])
        else:
            ret.append("goroutine %d [%s]: stranded has not got it"
                       % (number, g.state))
    for number, g in theirs.items():
        if number not in own and number not in ignore:
            ret.append("goroutine %d [%s]: Go has not got it"
                       % (number, g.state))
    return n, ret


def hidden(function):
    """What Go leaves out of its dump: the runtime's own, not exported."""
    package, _, name = function.rpartition(".")
    return package.startswith(("runtime", "internal/runtime/")) and \
        not package.startswith("runtime/") and not name[:1].isupper()


def _wrapper(frame):
    """A function that the compiler wrote."""
    return frame.file == "<autogenerated>" or \
        re.search(r"\.gowrap\d+$", frame.function)


def without_runtime(goroutines):
    """A dump made while the program crashes shows the runtime's own frames
    and goroutines, and wrappers, as well: what is left without them."""
    ret = collections.OrderedDict()
    for number, g in goroutines.items():
        g.frames = [f for f in g.frames
                    if not hidden(f.function) and not _wrapper(f)]
        if g.frames:
            ret[number] = g
    return ret
