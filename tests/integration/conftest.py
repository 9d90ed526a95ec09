# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that run real programs.

STRANDED or STRANDED_BIN names the program under test (default build/stranded).
STRANDED_TEST_STRICT=1 turns every skip into a failure. STRANDED_TEST_LONG=1
runs what is measured in minutes at full length.
"""
import os
import shutil
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "lib"))
import gobuild      # noqa: E402
import netns        # noqa: E402
import tool         # noqa: E402
import world        # noqa: E402

STRICT = os.environ.get("STRANDED_TEST_STRICT") == "1"


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "slow: takes long, and shows no more under a sanitizer")
    if not os.access(tool.binary(), os.X_OK):
        raise pytest.UsageError("%s is missing; make" % tool.binary())


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = "skipped, and STRANDED_TEST_STRICT=1: %s" % (
            report.longrepr[2] if isinstance(report.longrepr, tuple)
            else report.longrepr)


@pytest.fixture(scope="session")
def root():
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces")
    for name in ("ip", "ss", "sysctl"):
        if not shutil.which(name):
            pytest.skip("needs %s; apt-get install iproute2 procps" % name)


@pytest.fixture(scope="session", autouse=True)
def no_leftovers():
    if os.geteuid() == 0 and shutil.which("ip"):
        netns.remove_leftovers()
    yield


@pytest.fixture
def net(root):
    with netns.Net() as n:
        yield n


@pytest.fixture(scope="session")
def victim():
    """Builds a victim; skips when its toolchain cannot be had."""
    def build(name, toolchain=None, flavour="plain"):
        try:
            return gobuild.victim(name, toolchain, flavour)
        except gobuild.BuildError as e:
            pytest.skip(str(e)[-400:])
    return build


@pytest.fixture
def conns(victim):
    """Starts programs that open connections as they are told."""
    started = []

    def start(ns=None, toolchain=None):
        program = world.Conns(victim("conns", toolchain),
                              prefix=ns.prefix if ns else ())
        started.append(program)
        return program
    yield start
    for program in started:
        program.end()


@pytest.fixture
def waits(victim):
    """A program with a goroutine in every kind of wait, and its truth."""
    program = tool.Program(victim("waits"))
    program.known = program.truth()
    yield program
    program.end()
