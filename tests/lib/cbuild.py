# SPDX-License-Identifier: Apache-2.0
"""Builds the C and C++ programs of the tests, into build/programs/.

Results are kept by the content of the sources and the command. What belongs to
others is fetched as a Debian source package, and only unpacked.
"""
import glob
import hashlib
import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
OUT = os.path.join(ROOT, "build", "programs")
SOURCES = os.path.join(ROOT, "build", "sources")
# apt's own state is not touched: a list and a folder of our own
SOURCE_LIST = "deb-src http://deb.debian.org/debian bookworm main\n"


class BuildError(Exception):
    """A program does not build, or its sources cannot be had."""


def _run(argv, cwd=None):
    try:
        done = subprocess.run(argv, cwd=cwd, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError as e:
        raise BuildError("needs %s" % argv[0]) from e
    if done.returncode != 0:
        raise BuildError("%s: %s" % (" ".join(argv), done.stdout[-1000:]))


def program(name, sources, *arguments):
    """The path of a program of these files; @arguments come after them."""
    sources = [os.path.join(ROOT, s) for s in sources]
    cc = "g++" if sources[0].endswith((".cc", ".cpp")) else "gcc"
    argv = [cc, "-O2", "-g", "-pthread", "-iquote", ROOT] + sources + \
        list(arguments)
    known = hashlib.sha256(repr(argv).encode())
    for path in sources:
        with open(path, "rb") as f:
            known.update(f.read())
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, "%s-%s" % (name, known.hexdigest()[:12]))
    if not os.path.exists(path):
        new = "%s.%d" % (path, os.getpid())
        _run(argv + ["-o", new])
        os.replace(new, path)
    return path


def built(name, sources, *arguments):
    """program(), or the test is skipped with the reason; a failure in CI."""
    import pytest
    try:
        return program(name, sources, *arguments)
    except BuildError as e:
        pytest.skip(str(e))


def debian_source(package):
    """The folder of the upstream sources of a Debian source package."""
    folder = os.path.join(SOURCES, package)
    if not os.path.isdir(folder):
        new = folder + ".new"
        shutil.rmtree(new, ignore_errors=True)
        os.makedirs(os.path.join(new, "lists", "partial"))
        with open(os.path.join(new, "list"), "w") as f:
            f.write(SOURCE_LIST)
        apt = ["apt-get", "-q", "-o", "Dir::Etc::sourcelist=%s/list" % new,
               "-o", "Dir::Etc::sourceparts=/dev/null",
               "-o", "Dir::State::lists=%s/lists" % new,
               "-o", "APT::Sandbox::User=root"]
        _run(apt + ["update"], new)
        _run(apt + ["source", "--download-only", package], new)
        for archive in glob.glob(new + "/*.orig.tar.*"):
            _run(["tar", "xf", archive], new)
        shutil.rmtree(os.path.join(new, "lists"))
        os.rename(new, folder)
    found = [p for p in glob.glob(folder + "/*") if os.path.isdir(p)]
    if len(found) != 1:
        raise BuildError("%s: not one folder of sources" % folder)
    return found[0]
