# SPDX-License-Identifier: Apache-2.0
"""`stranded scenario`: the runner, its table, and programs of the user's.

The whole set is a step of its own (make scenarios-run); here are a few fast
ones, and what makes the runner say no.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

import gobuild
import tool

SCENARIOS = os.path.join(gobuild.ROOT, "scenarios")
FAST = ["idle-healthy", "peer-rebooted-shield", "carrier-lost",
        "same-host-peer-gone", "peer-frozen"]


def scenario(*args, timeout=120, env=None):
    return tool.stranded("scenario", *args, timeout=timeout, env=env)


@pytest.fixture(autouse=True)
def needs(root):
    for name in ("unshare", "nsenter", "nft"):
        if not shutil.which(name):
            pytest.skip("needs %s" % name)
    victim = os.path.join(os.path.dirname(tool.binary()), "scenarios/victim")
    if not os.path.exists(victim):
        pytest.skip("needs %s; run make scenarios" % victim)


@pytest.fixture
def own(tmp_path):
    """A folder of scenarios, to change them."""
    def copy(name, as_name=None, **changes):
        folder = tmp_path / (as_name or name)
        shutil.copytree(os.path.join(SCENARIOS, name), folder)
        path = folder / "scenario.ini"
        lines = path.read_text().splitlines()
        for key, value in changes.items():
            key = key.replace("_", "-")
            lines = [line for line in lines
                     if not line.startswith(key + " =")]
            if value is not None:
                where = lines.index("[expect]") + 1
                if key in ("needs", "topology", "view"):
                    where = lines.index("[scenario]") + 1
                if key in ("program", "hook", "connections"):
                    where = lines.index("[victim]") + 1
                lines.insert(where, "%s = %s" % (key, value))
        path.write_text("\n".join(lines) + "\n")
        return {"STRANDED_SCENARIOS": str(tmp_path)}
    return copy


def leftovers():
    """Processes of labs that are still there, zombies aside."""
    ret = []
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            state = (comm.parent / "stat").read_text().rsplit(")", 1)[1].split()[0]
            parent = (comm.parent / "environ").read_bytes()
        except OSError:
            continue
        if state != "Z" and MARK in parent:
            ret.append(comm.parent.name)
    return ret


MARK = b"STRANDED_TEST_MARK=%d" % os.getpid()


def test_list_has_every_folder():
    folders = {p.parent.name for p in
               pathlib.Path(SCENARIOS).glob("*/scenario.ini")}
    text = scenario("list")
    assert text.status == tool.CLEAN
    assert {line.split()[0] for line in text.out.splitlines()} == folders
    listed = scenario("list", "--format", "json").json
    assert listed["schema"] == 1
    assert {s["name"] for s in listed["scenarios"]} == folders


def test_fast_scenarios_are_right_on_both_families():
    result = scenario("run", *FAST, "--format", "json")
    assert result.status == tool.CLEAN, result
    report = result.json
    assert [(s["name"], s["family"]) for s in report["scenarios"]] == [
        (name, family) for name in FAST for family in "46"]
    assert {s["outcome"] for s in report["scenarios"]} == {"right"}
    before = {s["name"]: s["before"] for s in report["scenarios"]}
    after = {s["name"]: s["after"] for s in report["scenarios"]}
    assert before["idle-healthy"] == ["silent"]
    assert after["idle-healthy"] == ["alive"]
    assert after["peer-rebooted-shield"] == ["half-open"]
    assert before["same-host-peer-gone"] == ["half-open"]
    assert after["carrier-lost"] == []
    assert report["summary"]["right"] == 2 * len(FAST)


def test_the_table_has_a_row_for_each_in_order():
    result = scenario("run", "peer-frozen", "idle-healthy", "--family", "6")
    rows = [line.split() for line in result.out.splitlines()]
    assert result.status == tool.CLEAN, result
    assert [r[:2] for r in rows[1:3]] == [["peer-frozen", "6"],
                                          ["idle-healthy", "6"]]
    assert rows[1][-1] == rows[2][-1] == "ok"
    assert "2 right, 0 wrong, 0 false alarms, 0 could not run" in result.out


@pytest.mark.parametrize("changes, word, why", [
    # not what is said
    ({"after": "unreachable", "never": "half-open"}, "WRONG",
     "is 'alive' and should be unreachable"),
    # what must never be said
    ({"after": "half-open", "never": "alive"}, "WRONG",
     "must never say 'alive'"),
    # recall
    ({"finding": "none"}, "WRONG", "and none should be"),
    ({"finding": "stranded-reader proven"}, "WRONG",
     "should be proven stranded-reader"),
    # the victim's own truth
    ({"returns": "ECONNRESET"}, "WRONG",
     "should return ECONNRESET, and goes on"),
    # a fault that is not on
    ({"answer_after": "2s"}, "WRONG", "the fault was not on"),
])
def test_what_does_not_fit_is_wrong(own, changes, word, why):
    env = own("idle-healthy", **changes)
    result = scenario("run", "idle-healthy", "--family", "4", env=env)
    assert result.status == tool.FINDINGS, result
    assert word in result.out and why in result.out, result


def test_a_false_alarm_is_named_one(own):
    # The truth is turned round: a dead connection that must not be accused.
    env = own("carrier-lost", before="silent", never="local-cause")
    result = scenario("run", "carrier-lost", "--family", "4", env=env)
    assert result.status == tool.FINDINGS, result
    assert "FALSE ALARM" in result.out
    assert "must never say 'local-cause'" in result.out


def test_a_missing_prerequisite_is_no_pass(own):
    env = dict(own("idle-healthy", needs="no-such-program"),
               STRANDED_TEST_STRICT="0")
    result = scenario("run", "idle-healthy", env=env)
    assert result.status == tool.NOTHING, result
    assert "needs the program no-such-program" in result.out
    own("carrier-lost")
    both = ("run", "idle-healthy", "carrier-lost", "--family", "4")
    assert scenario(*both, env=env).status == tool.GAPS
    strict = dict(env, STRANDED_TEST_STRICT="1")
    assert scenario(*both, env=strict).status == tool.FINDINGS


def test_a_victim_that_could_not_be_built_is_no_pass(own):
    env = dict(own("thread-reader", program="twin-of-nothing"),
               STRANDED_TEST_STRICT="0")
    result = scenario("run", "thread-reader", "--family", "4", env=env)
    assert result.status == tool.NOTHING, result
    assert "NOT RUN" in result.out
    assert "twin-of-nothing' is missing; run 'make scenarios'" in result.out
    own("idle-healthy")
    strict = dict(env, STRANDED_TEST_STRICT="1")
    result = scenario("run", "thread-reader", "idle-healthy", "--family", "4",
                      env=strict)
    assert result.status == tool.FINDINGS, result


# --- twins: coroutines, threads, event loops ---

KINDS = ["ucontext-reader", "pcl-reader", "pth-reader", "boost-fiber-reader",
         "state-threads-reader", "state-threads-stripped", "hook-header-reader", "thread-reader",
         "python-thread-reader", "java-thread-reader", "poll-loop",
         "epoll-loop"]


@pytest.mark.parametrize("name", KINDS)
def test_the_stranded_twin_is_found_and_the_healthy_one_is_not(name):
    result = scenario("run", name, name + "-healthy", "--format", "json")
    assert result.status == tool.CLEAN, result
    assert [(s["name"], s["family"], s["outcome"])
            for s in result.json["scenarios"]] == [
        (n, f, "right") for n in (name, name + "-healthy") for f in "46"]


@pytest.mark.parametrize("name, changes, word, why", [
    # the kind of the task is looked at
    ("thread-reader", {"runtime": "coroutine"}, "WRONG",
     "is of the runtime 'thread', should be 'coroutine'"),
    ("hook-header-reader", {"runtime": "thread"}, "WRONG",
     "is of the runtime 'coroutine', should be 'thread'"),
    # one finding for all three, not one for each
    ("thread-reader", {"findings": "3"}, "WRONG", "1 findings, should be 3"),
    # any finding is one too many where none should be
    ("thread-reader", {"findings": "0"}, "FALSE ALARM",
     "1 findings, should be 0"),
    # and the healthy twin is not right by seeing nothing
    ("thread-reader-healthy", {"finding": "stranded-reader proven"}, "WRONG",
     "no finding on"),
])
def test_what_does_not_fit_a_twin_is_wrong(own, name, changes, word, why):
    result = scenario("run", name, "--family", "4", env=own(name, **changes))
    assert result.status == tool.FINDINGS, result
    assert word in result.out and why in result.out, result


def test_without_the_hook_a_coroutine_is_not_seen(own):
    env = own("ucontext-reader", hook=None)
    result = scenario("run", "ucontext-reader", "--family", "4", env=env)
    assert result.status == tool.FINDINGS, result
    assert "WRONG" in result.out


@pytest.mark.parametrize("args, text", [
    (["run"], "which scenario? name one, or use --all"),
    (["run", "nonsense"], "no scenario 'nonsense'"),
    (["run", "--all", "idle-healthy"], "exclude each other"),
    (["walk"], "'walk' is neither list nor run"),
    (["list", "x"], "takes no argument"),
    (["run", "idle-healthy", "--family", "5"], "unknown family '5'"),
    (["run", "idle-healthy", "--jobs", "0"], "no number of jobs"),
    (["run", "idle-healthy", "--victim", "x", "--within", "5"],
     "'5' is no duration"),
    (["run", "idle-healthy", "--within", "5s"], "goes with --victim"),
    (["run", "idle-healthy", "--victim", "x"], "no connection dies"),
    (["run", "mtu-black-hole", "--victim", "x"], "no connection dies"),
])
def test_wrong_usage_is_refused(args, text):
    result = scenario(*args)
    assert result.status == tool.USAGE, result
    assert text in result.err


def test_a_broken_file_is_refused_with_its_line(own):
    env = own("idle-healthy", befor="silent")
    result = scenario("run", "idle-healthy", env=env)
    assert result.status == tool.USAGE, result
    assert "scenario.ini:" in result.err and "unknown key 'befor'" in result.err


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_it_is_killed(sig):
    env = dict(os.environ, STRANDED_TEST_MARK=str(os.getpid()))
    for after in (0.05, 0.4, 1.0, 2.5):
        child = subprocess.Popen(
            [tool.binary(), "scenario", "run", "router-drop", "peer-rebooted",
             "redis-subscribe", "idle-healthy"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env,
            start_new_session=True)
        time.sleep(after)
        child.send_signal(sig)
        child.wait(timeout=20)
        assert tool.wait_until(lambda: not leftovers(), timeout=20), leftovers()


def test_without_root():
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run(nobody + ["unshare", "-Urn", "true"]).returncode != 0:
        pytest.skip("needs user namespaces for everyone")
    result = tool.stranded(
        "scenario", "run", "peer-rebooted-shield", "nat-flush",
        "same-host-alive", "--format", "json", prefix=nobody,
        env={"STRANDED_TEST_STRICT": "0"})
    outcomes = [s["outcome"] for s in result.json["scenarios"]]
    assert outcomes == ["right"] * 4 + ["not-run"] * 2, result
    assert result.json["scenarios"][-1]["why"] == "needs root"
    assert result.status == tool.GAPS


# --- programs of the user's ---

def user(command, *args, name="peer-machine-gone", within="8s"):
    return scenario("run", name, "--victim", command, "--within", within,
                    "--format", "json", *args)


def test_a_server_without_deadlines_fails(victim):
    result = scenario("run", "peer-machine-gone", "--victim",
                      "%s :8080" % victim("server"), "--within", "3s",
                      "--family", "4")
    assert result.status == tool.FINDINGS, result
    assert "FAIL  4 of 4 dead connections still held" in result.out
    # with a report that names what to change
    assert "net/http.(*conn).serve" in result.out
    assert "ReadTimeout" in result.out


def test_a_server_with_deadlines_passes(victim):
    result = user("%s :8080 2" % victim("server"))
    assert result.status == tool.CLEAN, result
    for line in result.out.splitlines():
        report = json.loads(line)
        assert report["outcome"] == "let-go" and report["serves"]
        assert report["dead"] == report["living"] == 4
        assert report["held"] == 0
        assert report["took_ms"] < 8000
    assert [json.loads(line)["family"] for line in result.out.splitlines()] \
        == ["4", "6"]


def test_a_client_is_told_whom_to_call(victim):
    call = "%s reader --target {peer} --healthy $STRANDED_PEER" % os.path.join(
        os.path.dirname(tool.binary()), "scenarios/victim")
    result = user(call + " --user-timeout 1s --keepalive 1s --count 2",
                  "--family", "6")
    assert result.status == tool.CLEAN, result
    assert result.json["dead"] == 2 and not result.json["serves"]
    result = user(call, "--family", "4", within="2s")
    assert result.status == tool.FINDINGS, result
    assert result.json["held"] == 2


def test_a_server_that_gives_up_does_not_pass(victim):
    result = user("timeout 3 %s :8080" % victim("server"), "--family", "4")
    assert result.status == tool.FINDINGS, result
    assert "it ended" in result.json["why"]


def test_a_server_that_cannot_be_looked_at_does_not_pass(tmp_path, victim):
    build = tmp_path / "build"
    shutil.copytree(os.path.join(SCENARIOS, "router-drop"),
                    tmp_path / "scenarios" / "router-drop")
    shutil.copytree(os.path.join(os.path.dirname(tool.binary()), "scenarios"),
                    build / "scenarios")
    shutil.copy2(tool.binary(), build)
    child = subprocess.Popen(
        [build / "stranded", "scenario", "run", "router-drop", "--family", "4",
         "--victim", "%s :8080" % victim("server"), "--within", "4s"],
        stdout=subprocess.PIPE, text=True)
    time.sleep(3)
    (build / "stranded").unlink()       # it has no eyes any more
    out = child.communicate(timeout=60)[0]
    assert "NOT RUN" in out and "cannot be looked at" in out, out
    assert child.returncode == tool.NOTHING


@pytest.mark.parametrize("command, why", [
    ("no-such-program", "it ended before it listened or called: sh: "),
    ("true", "it ended before it listened or called"),
])
def test_a_program_that_does_not_start_is_not_judged(command, why):
    result = user(command, "--family", "4")
    assert result.status == tool.NOTHING, result
    assert why in result.json["why"]
