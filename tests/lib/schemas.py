# SPDX-License-Identifier: Apache-2.0
"""Checks reports against the published schemas of their formats.

The files, and where they are from: tests/fixtures/schemas/README.md.
"""
import functools
import json
import os
import re

import jsonschema
import lxml.etree

import gobuild

FOLDER = os.path.join(gobuild.ROOT, "tests", "fixtures", "schemas")
FORMATS = ("junit", "sarif", "codequality")

# There is no published JSON schema of it. docs.gitlab.com/ci/testing/
# code_quality, "Code quality report format", names what is required and the
# five severities; Code Climate's SPEC.md, "Issues", of which it is a subset,
# adds "type" and "categories". A path is one in the repository.
CODE_QUALITY = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "array", "items": {
        "type": "object",
        "required": ["type", "description", "check_name", "categories",
                     "fingerprint", "severity", "location"],
        "additionalProperties": False,
        "properties": {
            "type": {"const": "issue"},
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "pattern": "^[a-z-]+$"},
            "categories": {"type": "array", "minItems": 1, "items": {"enum": [
                "Bug Risk", "Clarity", "Compatibility", "Complexity",
                "Duplication", "Performance", "Security", "Style"]}},
            "fingerprint": {"type": "string", "minLength": 1},
            "severity": {"enum": ["info", "minor", "major", "critical",
                                  "blocker"]},
            "location": {
                "type": "object", "required": ["path", "lines"],
                "additionalProperties": False,
                "properties": {
                    "path": {"type": "string",
                             "pattern": "^(?!/|\\./|[a-z]+://)."},
                    "lines": {"type": "object", "required": ["begin"],
                              "additionalProperties": False,
                              "properties": {"begin": {
                                  "type": "integer", "minimum": 1}}}}}}},
}

# RFC 3986, appendix A: what a URI reference is made of.
URI = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:)?"
                 r"([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2})*$")


def load(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as f:
        return json.load(f)


@functools.lru_cache(None)
def validator(name):
    schema = load(name)
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


def is_valid(name, document):
    """Whether @document is as that schema in tests/fixtures/schemas says."""
    errors = sorted(validator(name).iter_errors(document), key=str)
    assert not errors, "\n".join(map(str, errors))


@functools.lru_cache(None)
def _junit():
    return lxml.etree.XMLSchema(file=os.path.join(FOLDER, "junit-10.xsd"))


def no_constant(word):
    raise ValueError("%s is no JSON" % word)


def read_json(path):
    """As RFC 8259 has it: UTF-8, no NaN, no key twice."""
    def once(pairs):
        assert len({k for k, _ in pairs}) == len(pairs), pairs
        return dict(pairs)
    with open(path, "rb") as f:
        text = f.read().decode("utf-8")
    return json.loads(text, object_pairs_hook=once,
                      parse_constant=no_constant)


def junit(path):
    """Valid, and its sums are those of its cases; the root element."""
    root = lxml.etree.parse(str(path)).getroot()
    _junit().assertValid(root)
    for suite in root:
        for name, found in (("tests", suite.findall("testcase")),
                            ("failures", suite.findall("*/failure")),
                            ("errors", suite.findall("*/error")),
                            ("skipped", suite.findall("*/skipped"))):
            assert int(suite.get(name)) == len(found), lxml.etree.tostring(
                suite)
    return root


def sarif(path):
    """Valid, also where a schema cannot tell; the log."""
    log = read_json(path)
    is_valid("sarif-schema-2.1.0.json", log)
    assert log["$schema"] == load("sarif-schema-2.1.0.json")["id"]
    run, = log["runs"]
    rules = {r["id"] for r in run["tool"]["driver"]["rules"]}
    for result in run["results"]:
        assert result["ruleId"] in rules
        for location in result["locations"]:        # code scanning needs one
            uri = location["physicalLocation"]["artifactLocation"]["uri"]
            assert uri and URI.match(uri), uri
    return log


def codequality(path):
    """Valid, and each fingerprint once; the rows."""
    rows = read_json(path)
    jsonschema.validate(rows, CODE_QUALITY)
    prints = [r["fingerprint"] for r in rows]
    assert len(set(prints)) == len(prints), prints
    return rows


def check(name, path):
    """By the format's name, as in --report."""
    return {"junit": junit, "sarif": sarif, "codequality": codequality}[name](
        path)
