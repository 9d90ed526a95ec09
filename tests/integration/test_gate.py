# SPDX-License-Identifier: Apache-2.0
"""stranded gate: what passes through, what is caught, and what survives."""
import json
import os
import pty
import random
import select
import signal
import subprocess
import time

import pytest

import gate
import gobuild
import tool
import world


@pytest.fixture(scope="module")
def program(victim):
    return victim("gate")


def start(*command, options=(), **popen):
    return subprocess.Popen([tool.binary(), "gate", *map(str, options), "--",
                             *map(str, command)], env=gate.environment(),
                            **popen)


def said(run):
    """Its report without the line breaks, which depend on what is in it."""
    return " ".join(run.err.split())


# --- what passes through


def test_status_and_output_are_the_commands_own():
    run = gate.gate("sh", "-c", "cat; echo err >&2; exit 7",
                    stdin=subprocess.PIPE)
    assert run.status == 7
    done = subprocess.run([tool.binary(), "gate", "--", "cat"],
                          input=b"\x00bytes\xff", stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\x00bytes\xff",
                                                           b"")


@pytest.mark.parametrize("command,status,text", [
    ("/nonexistent", 127, "No such file"),
    ("/etc/passwd", 126, "Permission denied"),
])
def test_a_command_that_cannot_be_run(command, status, text):
    run = gate.gate(command)
    assert run.status == status, run
    assert text in said(run), run


def test_death_by_signal_is_told():
    run = gate.gate("sh", "-c", "kill -SEGV $$")
    assert run.status == 128 + signal.SIGSEGV, run
    assert "ended by signal 11" in said(run), run


def test_a_signal_to_the_gate_reaches_the_command():
    child = start("sh", "-c", "trap 'exit 9' TERM; echo ready; "
                  "while :; do sleep 0.05; done", stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    child.terminate()
    assert child.wait(20) == 9
    child.stdout.close()


def read_until(fd, word, seconds=20):
    got, end = b"", time.monotonic() + seconds
    while word not in got:
        left = end - time.monotonic()
        assert left > 0 and select.select([fd], [], [], left)[0], got
        got += os.read(fd, 4096)
    return got


def test_interrupt_key_of_the_terminal(program):
    """Both get it from the terminal: the command once, and not from us."""
    pid, fd = pty.fork()
    if pid == 0:
        # a shell that starts the tests in the background ignores it for them
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(tool.binary(), [
            tool.binary(), "gate", "--", "sh", "-c",
            "n=0; trap 'n=$((n+1)); echo int $n' INT; tty; echo ready; "
            "i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done; "
            "echo got $n; exit 5"])
    try:
        assert b"/dev/pts/" in read_until(fd, b"ready")
        os.write(fd, b"\x03")
        assert b"got 1" in read_until(fd, b"got")
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(fd)
    assert os.waitstatus_to_exitcode(status) == 5


@pytest.mark.slow
def test_a_thousand_trivial_runs_leave_nothing():
    mark = gate.mark()
    for i in range(1000):
        done = subprocess.run(
            [tool.binary(), "gate", "--", "sh", "-c", "echo %d; exit %d"
             % (i, i % 5)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=gate.environment(mark), timeout=30)
        assert (done.returncode, done.stdout, done.stderr) == (
            i % 5, b"%d\n" % i, b"")
    assert not gate.left_behind(mark)


# --- what is caught


def test_a_clean_program_is_no_finding(program):
    run = gate.gate(program, "clean")
    assert run.status == 0, run
    assert [p["outcome"] for p in run.report["processes"]] == ["judged"]
    assert not run.leaks, run


def test_a_leak_of_a_release_binary_in_a_script(victim):
    stripped = victim("gate", flavour="stripped")
    run = gate.gate("sh", "-c", "true; (sh -c '%s leak'); exit 0" % stripped)
    assert run.status == tool.FINDINGS, run
    (_, leak), = run.leaks
    assert leak["state"] == "chan receive"
    assert leak["stack"][0]["function"] == "main.block"
    assert leak["created_by"]["function"] in ("main.leak", "main.main")
    assert "main.block on top of the stack" in said(run), run


def test_a_leak_in_a_child_of_a_clean_program(program):
    run = gate.gate(program, "child", program, "leak")
    assert run.status == tool.FINDINGS, run
    (process, _), = run.leaks
    assert process["command"].endswith(" leak"), run
    assert len(run.report["processes"]) == 2, run


def test_one_that_is_slow_to_end_is_no_leak(program):
    run = gate.gate(program, "slow", "150")
    assert run.status == 0, run
    held = run.report["processes"][0]["held_ms"]
    assert 100 <= held <= 450, run
    assert gate.gate(program, "slow", "5000").status == tool.FINDINGS


def test_without_time_of_grace_it_is_a_leak(program):
    run = gate.gate(program, "slow", "200", options=["--grace", "0"])
    assert run.status == tool.FINDINGS, run


def test_who_fails_for_himself_is_not_judged(program):
    run = gate.gate(program, "fail")
    assert run.status == 3, run
    assert run.report["processes"][0]["outcome"] == "failed", run
    assert gate.gate(program, "fatal").status == 1


def test_single_processor_is_told(program):
    """The exit keeps the only P: what is slow to end cannot end."""
    began = time.monotonic()
    run = gate.gate(program, "slow", "20", env={"GOMAXPROCS": "1"},
                    options=["--grace", "3s"])
    assert run.status == tool.FINDINGS, run
    assert run.report["processes"][0]["no_grace"], run
    assert "GOMAXPROCS=1" in said(run), run
    assert time.monotonic() - began < 2.5       # nobody waited in vain


@pytest.mark.slow
def test_a_garbage_collection_that_waits_for_the_exit(victim):
    """It stops all others, until the exit is over: told from a leak.

    Before Go 1.20 it does not say so, and is told only by who could run."""
    program, seen = victim("gate", "1.27.4"), 0
    for ms in range(40):
        run = gate.gate(program, "collect", ms, env={"GOMAXPROCS": "2"})
        if run.status == 0:
            continue
        assert run.status == tool.FINDINGS, run
        assert run.report["processes"][0]["no_grace"], run
        assert "a garbage collection waits for the thread that exits" in \
            said(run), run
        seen += 1
        if seen == 3:
            return
    pytest.fail("met %d times in 40" % seen)


@pytest.mark.parametrize("how,what", [
    ("read", "IO wait, on a half-open connection"),
    ("hold", "LEAK  1 connection held open: half-open"),
])
def test_a_half_open_connection(how, what, net, conns, program, tmp_path):
    """With a goroutine on it; and without, where goleak has none to find."""
    a, b = net.pair()
    server = conns(b)
    server.listen("10.78.0.2:7000")
    report = tmp_path / "r.json"
    child = subprocess.Popen(
        [*a.prefix, tool.binary(), "gate", "--report", "json=%s" % report,
         "--", program, how, "10.78.0.2:7000"], env=gate.environment(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        far = server.accept()
        if how == "read":
            server.send(far, 1)
        assert child.stdout.readline() == how.encode() + b"ing\n"
        world.power_cut(b, "10.78.0.1", server)
        _, err = child.communicate(b"\n", timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == tool.FINDINGS, err
    assert b"half-open (proven)" in err, err
    assert what.encode() in err, err
    leak, = json.loads(report.read_text())["processes"][0]["leaks"]
    assert leak["kind"] == ("goroutine" if how == "read" else "connection")


def test_coroutines_of_a_c_program(tmp_path):
    """Under stranded run: who is parked at the exit is left behind."""
    path = str(tmp_path / "coro")
    subprocess.run(["cc", "-g", "-O0", "-o", path, os.path.join(
        gobuild.ROOT, "tests", "victims", "coro", "coro.c")], check=True)
    run = gate.gate(tool.binary(), "run", "--", path)
    assert (run.status, run.out) == (0, b"done\n"), run
    assert run.report["summary"]["judged"] == 1, run
    run = gate.gate(tool.binary(), "run", "--", path, "leak")
    assert (run.status, run.out) == (tool.FINDINGS, b"done\n"), run
    (_, leak), = run.leaks
    assert (leak["kind"], leak["count"]) == ("coroutine", 1), run
    assert {"work", "wait_for_more"} <= {f["function"] for f in leak["stack"]}
    assert "1 coroutine left behind" in said(run), run
    assert gate.gate(path, "leak").status == 0      # without a hook: not seen


def test_connections_without_keepalive_by_the_policy(conns, program, tmp_path):
    server = conns()
    addr = server.listen("127.0.0.1:0")
    policy = tmp_path / "policy.ini"
    for require, status in (("keepalive<=10s", tool.FINDINGS),
                            ("keepalive<=1h", 0)):
        policy.write_text("[connections]\nrequire = %s\n" % require)
        child = start(program, "hold", addr, stdin=subprocess.PIPE,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                      options=["--policy", policy])
        try:
            server.accept()
            assert child.stdout.readline() == b"holding\n"
            _, err = child.communicate(b"\n", timeout=60)
        finally:
            child.kill()
            child.wait()
        assert child.returncode == status, err
        assert (b"against the policy keepalive<=10s" in err) == bool(status)


# --- what is left behind, and what never ends


def test_time_out_shows_what_it_was_stuck_on(program):
    run = gate.gate("sh", "-c", "%s hang; true" % program,
                    options=["--timeout", "1s"])
    assert run.status == 124, run
    assert "HANG" in said(run) and "main.block" in said(run), run
    assert run.report["timed_out"], run
    assert any(f["function"] == "main.main" for p in run.report["hung"]
               for l in p["leaks"] for f in l["stack"]), run


def test_orphans_are_reported_killed_or_waited_for(program):
    script = "setsid sleep %s >/dev/null 2>&1 & echo $!"
    run = gate.gate("sh", "-c", script % 3)
    pid = int(run.out)
    assert run.status == 0, run
    assert [o["pid"] for o in run.report["orphans"]] == [pid], run
    assert "sleep 3" in said(run)
    assert gate.alive(pid)
    # and somebody lets it exit
    assert tool.wait_until(lambda: not gate.alive(pid), timeout=10)

    run = gate.gate("sh", "-c", script % 30, options=["--orphans", "kill"])
    assert not gate.alive(int(run.out)), run
    assert "had to be ended" in said(run), run

    began = time.monotonic()
    run = gate.gate("sh", "-c", "(sleep 1; %s leak) >/dev/null 2>&1 & :"
                    % program, options=["--orphans", "wait"])
    assert time.monotonic() - began > 1
    assert run.status == tool.FINDINGS, run


# --- what survives


@pytest.mark.parametrize("who", ["sh", "go"])
def test_a_gate_that_is_killed_leaves_nobody_hanging(who, program, tmp_path):
    mark = tmp_path / "done"
    last = program if who == "go" else "/bin/sh -c"
    child = start("sh", "-c", "echo $$; sleep 0.5; %s %s; echo $? >%s"
                  % (last, "leak" if who == "go" else "'exit 0'", mark),
                  stdout=subprocess.PIPE)
    shell = int(child.stdout.readline())
    child.kill()
    child.wait()
    assert tool.wait_until(lambda: not gate.alive(shell), timeout=10)
    assert mark.read_text() == "0\n"
    child.stdout.close()


def test_a_gate_that_is_killed_while_it_starts(program):
    """Before there is anybody else to answer the command may not run."""
    rng = random.Random(1)
    mark = gate.mark()
    env = gate.environment(mark)
    for _ in range(60):
        child = subprocess.Popen(
            [tool.binary(), "gate", "--", program, "leak"], env=env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, 0.012))
        child.kill()
        child.wait()
    assert not gate.left_behind(mark)


def test_killed_while_an_exit_is_held(program, tmp_path):
    mark = tmp_path / "done"
    child = start("sh", "-c", "echo $$; %s leak; echo $? >%s"
                  % (program, mark), options=["--grace", "30s"],
                  stdout=subprocess.PIPE)
    shell = int(child.stdout.readline())
    time.sleep(0.5)
    assert gate.alive(shell)
    child.kill()
    child.wait()
    assert tool.wait_until(lambda: not gate.alive(shell), timeout=10)
    assert mark.read_text() == "0\n"
    child.stdout.close()


def test_a_program_that_is_killed_while_it_is_held(program):
    child = start("sh", "-c", "%s leak & echo $!; wait $!; exit 0" % program,
                  options=["--grace", "10s", "--allow-gaps"],
                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pid = int(child.stdout.readline())
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    _, err = child.communicate(timeout=8)
    assert child.returncode == 0, err
    assert b"was not judged" in b" ".join(err.split()), err


def test_a_gate_within_a_gate_is_refused():
    run = gate.gate(tool.binary(), "gate", "--", "true")
    assert run.status == tool.NOTHING, run
    assert "installed above this process already" in said(run), run


# --- the fallback


def test_by_ptrace(program):
    how = ["--how", "ptrace"]
    run = gate.gate("sh", "-c", "%s leak; (%s clean; exit 6)"
                    % (program, program), options=how)
    assert run.status == 6, run
    assert [p["outcome"] for p in run.report["processes"]] == ["judged"] * 2
    (process, leak), = run.leaks
    assert process["command"].endswith(" leak"), run
    assert leak["created_by"]["function"] in ("main.leak", "main.main"), run
    assert gate.gate(program, "leak", options=how).status == tool.FINDINGS
    assert gate.gate("/nonexistent", options=how).status == 127
    run = gate.gate("sh", "-c", "kill -TERM $$", options=how)
    assert run.status == 128 + signal.SIGTERM, run
    run = gate.gate(tool.binary(), "gate", *how, "--", program, "clean")
    assert run.status == 0, run         # the kernel allows that within a gate


def test_by_ptrace_many_threads_and_processes(program):
    """Each thread that ends stops; none may be forgotten."""
    for _ in range(20):
        run = gate.gate("sh", "-c", "for i in 1 2 3 4; do %s clean & done; "
                        "wait" % program, options=["--how", "ptrace"],
                        timeout=20)
        assert run.status == 0, run
        assert len(run.report["processes"]) == 4, run


@pytest.mark.parametrize("how", ["seccomp", "ptrace"])
def test_a_program_of_many_threads_that_becomes_another(how, program):
    """execve ends all its other threads; that is no exit to wait for."""
    for _ in range(3):
        run = gate.gate(program, "exec", program, "exec", program, "leak",
                        options=["--how", how], timeout=20)
        assert run.status == tool.FINDINGS, run
        (process, leak), = run.leaks
        assert process["command"] == program + " leak", run
        assert leak["count"] == 1, run


def test_a_tracer_that_is_killed_lets_everyone_go_on(program, tmp_path):
    mark = tmp_path / "done"
    child = start("sh", "-c", "echo $$; sleep 0.5; %s clean; echo $? >%s"
                  % (program, mark), options=["--how", "ptrace"],
                  stdout=subprocess.PIPE)
    shell = int(child.stdout.readline())
    child.kill()
    child.wait()
    child.stdout.close()
    assert tool.wait_until(lambda: not gate.alive(shell), timeout=10)
    assert mark.read_text() == "0\n"


def test_without_privileges(program, root):
    """no_new_privs, said once; the rest as ever."""
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
         tool.binary(), "gate", "--", "sh", "-c", "true; exit 4"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    assert done.returncode == 4, done
    assert done.stderr.count(b"setuid") == 1, done


@pytest.mark.parametrize("options,text", [
    (["--grace", "5"], "duration"),
    (["--how", "magic"], "seccomp or ptrace"),
    (["--orphans", "eat"], "report, kill or wait"),
    (["--report", "junit"], "FORMAT=FILE"),
    (["--report", "html=x"], "unknown report 'html'"),
    (["--update-baseline"], "--baseline"),
    (["--policy", "/nonexistent"], "cannot open policy"),
    (["--baseline", "/nonexistent"], "no baseline"),
])
def test_wrong_usage(options, text, tmp_path):
    mark = tmp_path / "ran"
    run = gate.gate("touch", mark, options=options)
    assert run.status == tool.USAGE, run
    assert text in said(run), run
    assert not mark.exists()
