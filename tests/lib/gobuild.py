# SPDX-License-Identifier: Apache-2.0
"""Builds the Go programs of the tests, by any toolchain, in several flavours.

Results are kept in build/victims/, by the content of the sources. Any Go from
1.17 on serves as the base: toolchains come from the module proxy, through the
go command itself.
"""
import glob
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
OUT = os.path.join(ROOT, "build", "victims")
BOOTSTRAP = "1.27.4"    # fetched when the base is too old for GOTOOLCHAIN

# name: (CGO_ENABLED, arguments of go build, the flavour it is copied from)
FLAVOURS = {
    "plain": ("0", [], None),
    "stripped": ("0", ["-ldflags=-s -w"], None),
    "pie": ("0", ["-buildmode=pie"], None),
    "cgo": ("1", ["-ldflags=-linkmode=external"], None),
    "cgo-pie": ("1", ["-buildmode=pie",
                      "-ldflags=-linkmode=external -s -w"], None),
    "no-sections": ("0", ["-ldflags=-s -w"], "stripped"),
    "pie-no-sections": ("0", ["-buildmode=pie"], "pie"),
}


class BuildError(Exception):
    """A toolchain could not be had, or a program does not build with it."""


def number(version):
    """'1.22.12' -> (1, 22, 12)"""
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def _run(argv, env, cwd=None):
    done = subprocess.run(argv, env=env, cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise BuildError("%s: %s" % (" ".join(argv), done.stderr.strip()))
    return done.stdout


def _environment(**more):
    env = dict(os.environ, GOFLAGS="-mod=mod", GOWORK="off", **more)
    env.setdefault("HOME", "/root")
    return env


def base_go():
    """The go command to start from."""
    found = [os.environ.get("GO") or shutil.which("go") or "",
             "/usr/local/go/bin/go"]
    found += sorted(glob.glob("/usr/lib/go-1.*/bin/go"), reverse=True)
    for go in found:
        if go and os.access(go, os.X_OK):
            return go
    raise BuildError("there is no Go compiler; apt-get install golang-go")


def go_version(go, toolchain="local"):
    text = _run([go, "version"], _environment(GOTOOLCHAIN=toolchain))
    return re.search(r"go(1\.\d+(?:\.\d+)?)", text).group(1)


def _bootstrap(go):
    """A go that knows GOTOOLCHAIN, fetched by one that does not."""
    out = _run([go, "mod", "download", "-json",
                "golang.org/toolchain@v0.0.1-go%s.linux-amd64" % BOOTSTRAP],
               _environment(), cwd="/")
    root = json.loads(out)["Dir"]
    programs = glob.glob(root + "/bin/*") + glob.glob(root + "/pkg/tool/*/*")
    for path in programs:
        # The module cache is read-only and knows no executable bit.
        os.chmod(os.path.dirname(path), 0o755)
        os.chmod(path, 0o755)
    return os.path.join(root, "bin", "go")


_newest = None


def newest_base():
    global _newest
    if _newest is None:
        go = base_go()
        if number(go_version(go)) < (1, 21):
            go = _bootstrap(go)
        _newest = go
    return _newest


def fetch(toolchain):
    """Make sure that go1.X.Y can be used; BuildError when it cannot."""
    go_version(newest_base(), "go" + toolchain)


def _digest(*parts):
    h = hashlib.sha256()
    for part in parts:
        h.update(part if isinstance(part, bytes) else part.encode())
        h.update(b"\0")
    return h.hexdigest()[:12]


def _sources(folder):
    names = []
    for at, _, files in os.walk(folder):
        names += [os.path.join(at, f) for f in files
                  if f.endswith((".go", ".mod", ".c", ".h"))]
    return sorted(names)


def erase_sections(path):
    """Write an ELF file that has no section headers."""
    with open(path, "r+b") as f:
        f.seek(0x28)
        f.write(struct.pack("<Q", 0))           # e_shoff
        f.seek(0x3a)
        f.write(struct.pack("<HHH", 0, 0, 0))   # e_shentsize, num, strndx


def _work_copy(folder, version):
    """The sources, with the language version of the toolchain itself."""
    work = os.path.join(OUT, "src", _digest(folder, version))
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder, work)
    mod = os.path.join(work, "go.mod")
    with open(mod) as f:
        text = f.read()
    with open(mod, "w") as f:
        f.write(re.sub(r"(?m)^go .*$", "go %d.%d" % number(version)[:2], text))
    return work


def build(folder, package=".", toolchain=None, flavour="plain"):
    """Build @package of the module in @folder (from the root of the tree).

    toolchain: "1.22.12"; None is the default go. Returns the program's path.
    """
    folder = os.path.join(ROOT, folder)
    cgo, arguments, copied_from = FLAVOURS[flavour]
    if toolchain:
        go, version = newest_base(), toolchain
        env = _environment(GOTOOLCHAIN="go" + toolchain, CGO_ENABLED=cgo)
    else:
        go = base_go()
        version = go_version(go)
        env = _environment(GOTOOLCHAIN="local", CGO_ENABLED=cgo)
    content = [b"3", package, version, flavour]
    for name in _sources(folder):
        with open(name, "rb") as f:
            content += [name, f.read()]
    name = os.path.basename(os.path.normpath(os.path.join(folder, package)))
    path = os.path.join(OUT, "%s-%s-%s-%s" % (name, version, flavour,
                                              _digest(*content)))
    if os.path.exists(path):
        return path
    os.makedirs(OUT, exist_ok=True)
    new = "%s.%d" % (path, os.getpid())
    if copied_from:
        shutil.copy2(build(os.path.relpath(folder, ROOT), package, toolchain,
                           copied_from), new)
        erase_sections(new)
    else:
        if number(version) >= (1, 18):
            arguments = arguments + ["-buildvcs=false"]
        _run([go, "build", "-p", "2", "-o", new] + arguments + [package], env,
             cwd=_work_copy(folder, version))
    os.rename(new, path)
    return path


def shared():
    """A C program that has Go in a shared library of its own."""
    folder = os.path.join(ROOT, "tests", "victims", "shared")
    out = os.path.join(OUT, "shared")
    path = os.path.join(out, "host")
    if os.path.exists(path):
        return path
    os.makedirs(out, exist_ok=True)
    _run([base_go(), "build", "-buildmode=c-shared", "-o",
          os.path.join(out, "libgo.so"), "."],
         _environment(GOTOOLCHAIN="local", CGO_ENABLED="1"), cwd=folder)
    _run(["cc", "-o", path, os.path.join(folder, "host", "main.c"),
          "-L", out, "-lgo", "-Wl,-rpath," + out], _environment())
    return path


def victim(name, toolchain=None, flavour="plain"):
    return build("tests/victims/" + name, ".", toolchain, flavour)


def module(path, version):
    """The root of a copy of @path@version from the proxy, as it is there."""
    to = os.path.join(OUT, "modules", "%s@%s" % (path, version))
    if os.path.exists(to):
        return to
    out = _run([newest_base(), "mod", "download", "-json",
                "%s@%s" % (path, version)], _environment(), cwd="/")
    new = "%s.%d" % (to, os.getpid())
    with zipfile.ZipFile(json.loads(out)["Zip"]) as z:
        z.extractall(new)
    os.rename(os.path.join(new, "%s@%s" % (path, version)), to)
    shutil.rmtree(new)
    return to
