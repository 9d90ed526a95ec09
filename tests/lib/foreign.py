# SPDX-License-Identifier: Apache-2.0
"""Go programs of other people: esbuild from npm, daemons from Debian.

Packages are only unpacked, into build/foreign/: nothing is installed, and no
service is started.
"""
import glob
import os
import shutil
import subprocess
import tarfile

import gobuild

OUT = os.path.join(gobuild.ROOT, "build", "foreign")
ESBUILD = ["0.14.10", "0.17.19", "0.23.1", "0.25.8", "0.27.7", "0.28.2"]


class NotHere(Exception):
    """A package could not be had; says why."""


def _run(argv, folder):
    try:
        done = subprocess.run(argv, cwd=folder, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError as e:
        raise NotHere("needs %s" % argv[0]) from e
    if done.returncode != 0:
        raise NotHere("%s: %s" % (" ".join(argv), done.stdout[-300:]))


def _into(name, fetch):
    """Run fetch(folder) once for the folder of that name."""
    folder = os.path.join(OUT, name)
    if not os.path.isdir(folder):
        new = folder + ".new"
        shutil.rmtree(new, ignore_errors=True)
        os.makedirs(new)
        fetch(new)
        os.rename(new, folder)
    return folder


def esbuild(version):
    """The program of that release, as npm has it."""
    package = "@esbuild/linux-x64"
    if version.startswith("0.14."):
        package = "esbuild-linux-64"

    def fetch(folder):
        _run(["npm", "pack", "--silent", "%s@%s" % (package, version)], folder)
        with tarfile.open(glob.glob(folder + "/*.tgz")[0]) as tar:
            tar.extract("package/bin/esbuild", folder)
    return os.path.join(_into("esbuild-" + version, fetch),
                        "package", "bin", "esbuild")


def debian(package, program):
    """A program of a Debian package."""
    def fetch(folder):
        # apt's own user may not be able to write there; it says so, and works
        _run(["apt-get", "-q", "download", package], folder)
        _run(["dpkg-deb", "-x", os.path.basename(glob.glob(
            folder + "/*.deb")[0]), "."], folder)
    return os.path.join(_into(package, fetch), program)
