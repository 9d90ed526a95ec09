# SPDX-License-Identifier: Apache-2.0
"""Compares what a victim says of its own waits with `stranded ps` in JSON."""


DEADLINE_SLACK_NS = 100 * 1000 * 1000


def tasks_by_id(ps):
    return {int(t["id"]): t for t in ps["tasks"]}


def _objects(said, seen):
    """Differences between two lists of wait objects."""
    by_addr = {}
    for o in seen or []:
        by_addr.setdefault(int(o["addr"], 16), o)
    for o in said:
        other = by_addr.get(int(o["addr"], 16))
        if other is None:
            yield "%s %s is not among %s" % (o["kind"], o["addr"], seen)
            continue
        for key, value in o.items():
            if key != "addr" and other.get(key) != value:
                yield "%s %s: %s is %r, stranded says %r" % (
                    o["kind"], o["addr"], key, value, other.get(key))
    if len(said) != len(seen or []):
        yield "%d objects, stranded has %d" % (len(said), len(seen or []))


def _deadline(name, said, seen):
    """@said: monotonic ns, 0 is none. @seen: the same, None is none."""
    if said == 0 and seen is not None:
        yield "%s: none is set, stranded says %r" % (name, seen)
    if said != 0 and (seen is None or
                      abs(seen - said) > DEADLINE_SLACK_NS):
        yield "%s: %d, stranded says %r" % (name, said, seen)


def check_one(said, task):
    """Differences of one goroutine, as sentences."""
    if "fd" in said and task.get("fd") != said["fd"]:
        yield "fd %d, stranded says %r" % (said["fd"], task.get("fd"))
    if said["kind"] in ("read", "write", "accept", "connect", "mutex",
                        "rwmutex", "waitgroup", "cond", "sleep", "select",
                        "forever") and task.get("wait_kind") != said["kind"]:
        yield "kind %s, stranded says %r" % (said["kind"],
                                             task.get("wait_kind"))
    for name in ("read_deadline", "write_deadline"):
        if name in said:
            yield from _deadline(name, said[name], task.get(name))
    if "labels" in said and task.get("labels") != said["labels"]:
        yield "labels %r, stranded says %r" % (said["labels"],
                                               task.get("labels"))
    if said.get("locked") and not task.get("locked_to_thread"):
        yield "locked to its thread, stranded does not say so"
    if "objects" in said:
        yield from _objects(said["objects"], task.get("objects"))


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
