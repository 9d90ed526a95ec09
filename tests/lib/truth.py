# SPDX-License-Identifier: Apache-2.0
"""Compares what a victim says of its own waits with `stranded ps` in JSON."""
import datetime
import time

DEADLINE_SLACK = 0.15   # seconds

# The kinds that a victim names exactly as stranded does; a system call may
# well be told more precisely ("read") than "syscall".
EXACT = ("read", "write", "accept", "connect", "mutex", "rwmutex", "waitgroup",
         "cond", "sleep", "select", "forever", "chan send", "chan receive")


def tasks_by_id(ps):
    return {int(t["id"]): t for t in ps["tasks"]}


def _flat(o):
    """A wait object with the keys of the victims."""
    ret = dict(o, addr=int(o["address"], 16))
    if "direction" in o:
        ret["send"] = o["direction"] == "send"
        ret["element_type"] = o["element"]
    return ret


def _objects(said, task):
    """Differences between what one waits on and what stranded says of it."""
    seen = task.get("objects") or [o for o in [task.get("object")] if o]
    by_addr = {_flat(o)["addr"]: _flat(o) for o in seen}
    for o in said:
        other = by_addr.get(int(o["addr"], 16))
        if other is None:
            yield "%s %s is not among %s" % (o["kind"], o["addr"], seen)
            continue
        for key, value in o.items():
            if key != "addr" and other.get(key) != value:
                yield "%s %s: %s is %r, stranded says %r" % (
                    o["kind"], o["addr"], key, value, other.get(key))
    if len(said) != len(seen):
        yield "%d objects, stranded has %d" % (len(said), len(seen))


def _deadline(said, task):
    """@said: monotonic ns, 0 is none. The task has the time of day."""
    seen, state = task.get("deadline"), task.get("deadline_state")
    if said == 0:
        if seen is not None or state != "none":
            yield "deadline: none is set, stranded says %r (%s)" % (seen, state)
        return
    due = said / 1e9 + time.time() - time.monotonic()
    at = seen and datetime.datetime.fromisoformat(
        seen.replace("Z", "+00:00")).timestamp()
    if at is None or abs(at - due) > DEADLINE_SLACK:
        yield "deadline: %.3f, stranded says %r (%s)" % (due, seen, state)


def check_one(said, task):
    """Differences of one goroutine, as sentences."""
    if "fd" in said and task.get("fd") != said["fd"]:
        yield "fd %d, stranded says %r" % (said["fd"], task.get("fd"))
    if said["kind"] in EXACT and task.get("wait_kind") != said["kind"]:
        yield "kind %s, stranded says %r" % (said["kind"],
                                             task.get("wait_kind"))
    deadline = "write_deadline" if said["kind"] == "write" else "read_deadline"
    if deadline in said:
        yield from _deadline(said[deadline], task)
    if "labels" in said and task.get("labels") != said["labels"]:
        yield "labels %r, stranded says %r" % (said["labels"],
                                               task.get("labels"))
    if said.get("locked") and not task.get("locked_to_thread"):
        yield "locked to its thread, stranded does not say so"
    for end in ("local", "remote"):
        if end in said and task.get(end) != said[end]:
            yield "%s %s, stranded says %r" % (end, said[end], task.get(end))
    if "objects" in said:
        yield from _objects(said["objects"], task)


def check(truth, ps):
    """All differences between a victim's truth and `ps --format json`."""
    tasks = tasks_by_id(ps)
    ret = []
    for said in truth["goroutines"]:
        head = "goroutine %d (%s): " % (said["id"], said["name"])
        task = tasks.get(said["id"])
        if task is None:
            ret.append(head + "stranded has not got it")
        else:
            ret += [head + text for text in check_one(said, task)]
    return ret
