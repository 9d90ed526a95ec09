#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that no tool at hand makes: licence lines, the direction of
includes between the folders, the length of files and functions.

usage: check_source.py    in the root of the tree; exit status 1: violations
"""

import fnmatch
import os
import re
import subprocess
import sys

# folder -> what it may include; the arrows of the design
MAY_INCLUDE = {
    "base": {"base"},
    "runtime-hooks": {"base", "runtime-hooks"},
    "netwatch": {"base", "netwatch"},
    "scenarios": {"base", "netwatch", "scenarios"},
    "detector": {"base", "runtime-hooks", "netwatch", "scenarios", "detector"},
}
# Files of the detector that may see tasks and sockets at once: who takes both
# (survey, doctor), who joins them (correlate, blocked), and who grades, carries
# or shows the result. All others keep to one side.
MAY_SEE_BOTH = ["survey*", "doctor*", "correlate*", "blocked*", "waiting*", "judge*",
                "finding*", "report*", "write*", "advice*", "cmd_*"]
FUNCTION_MAX = 100
FUNCTION_LONG_MARK = "/* flat table */"
FILE_WARN, FILE_MAX = 600, 700
SPDX = "SPDX-License-Identifier: Apache-2.0"
CODE = (".c", ".h", ".cc", ".py", ".sh", ".go", ".java")

problems = []


def problem(path, line, text):
    problems.append(f"{path}:{line}: {text}")


def tree():
    out = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True).stdout
    return [p for p in out.splitlines() if os.path.isfile(p)]


def check_spdx(path, lines):
    if SPDX not in "\n".join(lines[:3]):
        problem(path, 1, f"no '{SPDX}' in the first three lines")


def check_includes(path, lines):
    top = path.split("/")[0]
    allowed = MAY_INCLUDE.get(top)
    if not allowed:
        return
    seen = {}
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s+(["<])([^">]+)', line)
        if not match:
            continue
        name = match.group(2)
        if match.group(1) == '"' and not os.path.isfile(name):
            problem(path, number,
                    f'"{name}" is no path from the root of the tree')
            continue
        target = name.split("/")[0]
        if target not in MAY_INCLUDE:
            continue
        seen[target] = number
        if target not in allowed:
            problem(path, number, f"{top}/ must not include {target}/")
    both = "runtime-hooks" in seen and "netwatch" in seen
    base = os.path.basename(path)
    if both and not any(fnmatch.fnmatch(base, p) for p in MAY_SEE_BOTH):
        problem(path, max(seen["runtime-hooks"], seen["netwatch"]),
                "only detector/correlate and what shows its result may "
                "include both runtime-hooks/ and netwatch/")


def check_functions(path, lines):
    """A function starts at a '{' and ends at a '}' in the first column."""
    start = None
    for number, line in enumerate(lines, 1):
        if line.rstrip() == "{":
            start = number
        elif line.startswith("}") and start:
            length = number - start + 1
            before = "\n".join(lines[max(0, start - 12):start])
            # the mark may stand above the function or anywhere in it
            marked = FUNCTION_LONG_MARK in before or any(
                FUNCTION_LONG_MARK in x for x in lines[start:number])
            if length > FUNCTION_MAX and not marked:
                problem(path, start,
                        f"function of {length} lines, more than "
                        f"{FUNCTION_MAX}; split it, or mark it "
                        f"'{FUNCTION_LONG_MARK}' if it is one")
            start = None


def check_length(path, lines):
    if len(lines) > FILE_MAX:
        problem(path, FILE_MAX, f"{len(lines)} lines, more than {FILE_MAX}")
    elif len(lines) > FILE_WARN:
        print(f"{path}: warning: {len(lines)} lines, should be at most "
              f"{FILE_WARN}", file=sys.stderr)


def main():
    for path in tree():
        with open(path, encoding="utf-8", errors="replace") as f:
            head = f.readline()
            if not path.endswith(CODE) and not head.startswith("#!"):
                continue
            lines = [head.rstrip("\n")] + f.read().splitlines()
        check_spdx(path, lines)
        if path.endswith((".c", ".h")):
            check_includes(path, lines)
            check_functions(path, lines)
            check_length(path, lines)
    print("\n".join(problems))
    return 1 if problems else 0


sys.exit(main())
