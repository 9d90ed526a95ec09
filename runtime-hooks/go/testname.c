/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/testname.h"

#include <string.h>

#include "base/escape.h"

#define TOP_BYTES 512 /* of a stack: two frames of package testing */
#define WORDS (TOP_BYTES / 8)

/* Around `parent`, and where it can be in a common; see testname.h. */
#define BEFORE 24
#define AFTER 88
#define FIRST_PARENT 64
#define LAST_PARENT 320
#define HEAD_BYTES (LAST_PARENT + AFTER)
#define NODE_BYTES (BEFORE + AFTER)

#define LEVEL 8
#define CREATOR 16
#define NAME_120 40
#define NAME_126 72
#define RUNNER_117 (-16)
#define RUNNER_120 (-24)
#define CREATOR_CAP 50 /* testing.maxStackLen, in all of them */

static const char runner[] = "testing.tRunner";

static bool has_prefix(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

enum go_test_role go_test_role(const char *start)
{
	static const char *const ts[] = { "testing.tRunner", "testing.(*T).Run",
					  "testing.(*F).Fuzz",
					  "testing.testingSynctestTest" };
	static const char *const bs[] = { "testing.fRunner", "testing.runFuzz",
					  "testing.(*B).run1",
					  "testing.(*B).doBench",
					  "testing.(*B).launch" };

	if (!start || !has_prefix(start, "testing."))
		return GO_TEST_NONE;
	for (size_t i = 0; i < sizeof(ts) / sizeof(ts[0]); i++)
		if (has_prefix(start, ts[i]))
			return GO_TEST_T;
	for (size_t i = 0; i < sizeof(bs) / sizeof(bs[0]); i++)
		if (has_prefix(start, bs[i]))
			return GO_TEST_B;
	return GO_TEST_NONE;
}

static bool read_string(struct go_live *mem, const uint8_t *header,
			char buf[GO_TEST_NAME_MAX])
{
	uint64_t at = go_word(header), len = go_word(header + 8);

	*buf = '\0';
	if (!len)
		return true;
	// a string starts anywhere, no alignment
	if (len >= GO_TEST_NAME_MAX || at < 0x1000 || at >> 47 ||
	    !go_live_read(mem, at, buf, len))
		return false;
	buf[len] = '\0';
	return strlen(buf) == len;
}

/* Escaping leaves it as it is. */
static bool is_printable(const char *name)
{
	char escaped[GO_TEST_NAME_MAX];

	return escape_text(escaped, sizeof(escaped), name) == strlen(name) &&
	       !strcmp(escaped, name);
}

static bool is_test_function(const char *name)
{
	return (has_prefix(name, "Test") || has_prefix(name, "Benchmark") ||
		has_prefix(name, "Fuzz") || has_prefix(name, "Example")) &&
	       !strchr(name, '/');
}

/* Is @name what a child of @parent may be called? */
static bool is_below(const char *parent, const char *name)
{
	size_t len = strlen(parent);

	return !strncmp(parent, name, len) && (!name[len] || name[len] == '/');
}

static bool is_root(const uint8_t *at)
{
	return !go_word(at) && !go_word(at + CREATOR) &&
	       !go_word(at + CREATOR + 8);
}

/*
 * Up from the common around whose `parent` the bytes @at lie, whose level and
 * name are @level and @name.
 */
static bool is_chain(struct go_testname *tn, const uint8_t *at,
		     unsigned parent_off, unsigned name_off, const char *leaf)
{
	uint8_t node[NODE_BYTES];
	char name[GO_TEST_NAME_MAX], above[GO_TEST_NAME_MAX];
	uint64_t level = go_word(at + LEVEL);
	raddr_t parent = go_word(at);

	strcpy(name, leaf);
	for (; level > 0; level--) {
		if (!go_live_plausible(parent) ||
		    !go_live_read(tn->mem, parent + parent_off - BEFORE, node,
				  sizeof(node)))
			return false;
		at = node + BEFORE;
		if (go_word(at + LEVEL) != level - 1)
			return false;
		if (level == 1)
			return is_root(at) && is_test_function(name);
		if (!read_string(tn->mem, at + name_off, above) || !*above ||
		    !is_below(above, name))
			return false;
		strcpy(name, above);
		parent = go_word(at);
	}
	return false;
}

static bool is_runner(struct go_testname *tn, const uint8_t *header)
{
	char text[GO_TEST_NAME_MAX];

	return go_word(header + 8) == sizeof(runner) - 1 &&
	       read_string(tn->mem, header, text) && !strcmp(text, runner);
}

/* @at: the bytes around `parent`, BEFORE of them before and AFTER behind. */
static bool try_common(struct go_testname *tn, const uint8_t *at,
		       enum go_test_role role, unsigned parent_off,
		       unsigned name_off, char buf[GO_TEST_NAME_MAX])
{
	uint64_t level = go_word(at + LEVEL);

	if (!go_live_plausible(go_word(at)) || !level ||
	    level > GO_TEST_MAX_LEVEL)
		return false;
	if (role == GO_TEST_T && !is_runner(tn, at + RUNNER_120) &&
	    !is_runner(tn, at + RUNNER_117))
		return false;
	return read_string(tn->mem, at + name_off, buf) && *buf &&
	       is_printable(buf) && is_chain(tn, at, parent_off, name_off, buf);
}

/* pc[:n] of an array of 50. */
static bool is_creator(const uint8_t *slice)
{
	uint64_t len = go_word(slice + 8);

	return go_live_plausible(go_word(slice)) && len && len <= CREATOR_CAP &&
	       go_word(slice + 16) == CREATOR_CAP;
}

/* Where in @head, the first bytes of what may be a common, is its parent? */
static bool learn(struct go_testname *tn, const uint8_t *head,
		  enum go_test_role role, char buf[GO_TEST_NAME_MAX])
{
	const bool newest = !tn->minor || tn->minor >= 26;
	const unsigned names[] = { newest ? NAME_126 : NAME_120,
				   newest ? NAME_120 : NAME_126 };

	for (unsigned off = FIRST_PARENT; off <= LAST_PARENT; off += 8) {
		const uint8_t *at = head + off;

		if (!is_creator(at + CREATOR))
			continue;
		for (int i = 0; i < 2; i++) {
			if (!try_common(tn, at, role, off, names[i], buf))
				continue;
			tn->parent = (uint16_t)off;
			tn->name = (uint16_t)names[i];
			return true;
		}
	}
	return false;
}

/* The words at the top of the stack that may be pointers to a common. */
static size_t find_words(struct go_testname *tn, raddr_t lo, raddr_t hi,
			 raddr_t sp, raddr_t v[WORDS])
{
	uint8_t top[TOP_BYTES];
	raddr_t from = hi - lo < TOP_BYTES ? lo : hi - TOP_BYTES;
	size_t n = 0;

	if (sp > from)
		from = sp;
	if (!go_live_read(tn->mem, from, top, hi - from))
		return 0;
	for (raddr_t at = hi; at > from;) {
		at -= 8;
		raddr_t word = go_word(top + (at - from));
		bool seen = !go_live_plausible(word) ||
			    (word >= lo && word < hi);

		for (size_t i = 0; i < n && !seen; i++)
			seen = v[i] == word;
		if (!seen)
			v[n++] = word;
	}
	return n;
}

/* All at once; those that cannot be read are told by their ok. */
static void read_heads(struct go_testname *tn, const raddr_t *v, size_t n,
		       uint8_t heads[][HEAD_BYTES],
		       struct process_read_req reqs[WORDS])
{
	const unsigned from = tn->parent ? tn->parent - BEFORE : 0;
	const unsigned len = tn->parent ? NODE_BYTES : HEAD_BYTES;

	for (size_t i = 0; i < n; i++)
		reqs[i] = (struct process_read_req){ .addr = v[i] + from,
						     .buf = heads[i] + from,
						     .len = len };
	int rc = tn->mem->read(tn->mem->arg, reqs, n);
	if (rc < 0)
		tn->mem->error = rc;
}

bool go_testname_read(struct go_testname *tn, enum go_test_role role,
		      raddr_t lo, raddr_t hi, raddr_t sp,
		      char buf[GO_TEST_NAME_MAX])
{
	uint8_t heads[WORDS][HEAD_BYTES];
	struct process_read_req reqs[WORDS] = { 0 };
	raddr_t v[WORDS] = { 0 };

	if (lo >= hi || hi & 7 || hi >> 47 || lo & 7 || sp & 7 ||
	    (sp && (sp < lo || sp >= hi)))
		return false;
	size_t n = find_words(tn, lo, hi, sp, v);
	if (n)
		read_heads(tn, v, n, heads, reqs);
	for (size_t i = 0; i < n; i++) {
		if (!reqs[i].ok)
			continue;
		if (tn->parent ? try_common(tn, heads[i] + tn->parent, role,
					    tn->parent, tn->name, buf)
			       : learn(tn, heads[i], role, buf))
			return true;
	}
	return false;
}
