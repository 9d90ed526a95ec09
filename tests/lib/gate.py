# SPDX-License-Identifier: Apache-2.0
"""Runs commands under the gate."""
import json
import os
import shutil
import subprocess
import tempfile
import time

import gobuild
import tool

NO_CI = {"GITHUB_ACTIONS": "", "GITHUB_STEP_SUMMARY": "",
         "GITHUB_WORKSPACE": "", "CI_PROJECT_DIR": ""}


class Run:
    """status, out (bytes), err (text), and the JSON report."""

    def __init__(self, done, report):
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr.decode("utf-8", "replace")
        self.report = report

    @property
    def leaks(self):
        return [(p, l) for p in self.report["processes"] for l in p["leaks"]]

    def __repr__(self):
        return "status %d\n%s%s" % (self.status,
                                    self.out.decode("utf-8", "replace")[-4000:],
                                    self.err[-8000:])


def environment(more=None):
    env = {k: v for k, v in os.environ.items() if k not in NO_CI}
    env.update(more or {})
    return env


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def mark():
    """For an environment: what knows all that is started below."""
    return {"STRANDED_TEST_MARK": "%d-%d" % (os.getpid(),
                                             time.monotonic_ns())}


def marked(mark):
    """The processes that live and have @mark."""
    (name, value), = mark.items()
    text, found = ("%s=%s\0" % (name, value)).encode(), []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, "rb") as f:
                if text in f.read() and alive(int(pid)):
                    found.append(int(pid))
        except OSError:
            pass
    return found


def left_behind(mark):
    """Those that are still there when they had the time to end."""
    tool.wait_until(lambda: not marked(mark), timeout=10)
    return marked(mark)


def gate(*command, options=(), cwd=None, env=None, stdin=subprocess.DEVNULL,
         timeout=300):
    """Run @command under the gate, to its end."""
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "report.json")
        argv = [tool.binary(), "gate", "--report", "json=" + path]
        argv += [str(o) for o in options] + ["--"]
        argv += [str(c) for c in command]
        done = subprocess.run(argv, cwd=cwd, env=environment(env), stdin=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=timeout)
        report = None
        if os.path.exists(path):
            with open(path) as f:
                report = json.load(f)
        return Run(done, report)


def go_env(toolchain=None):
    go = gobuild.newest_base()
    env = {"GOFLAGS": "-mod=mod", "GOWORK": "off", "GONOSUMDB": "*",
           "GOTOOLCHAIN": "go" + toolchain if toolchain else "local",
           "PATH": os.path.dirname(go) + ":" + os.environ["PATH"]}
    env.setdefault("HOME", os.environ.get("HOME", "/root"))
    return env


def leaks_module(tmp_path):
    """A copy of tests/victims/leaks that may be changed."""
    to = os.path.join(str(tmp_path), "leaks")
    shutil.copytree(os.path.join(gobuild.ROOT, "tests", "victims", "leaks"), to)
    return to
