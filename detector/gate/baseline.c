/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/baseline.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/escape.h"
#include "detector/gate/growth.h"

static struct error *create(const char *name, struct gate_baseline **ret)
{
	struct gate_baseline *b = calloc(1, sizeof(*b));

	if (!b)
		return &error_nomem;
	b->arena = arena_create();
	b->path = b->arena ? arena_strdup(b->arena, name) : NULL;
	if (!b->path) {
		baseline_destroy(b);
		return &error_nomem;
	}
	*ret = b;
	return NULL;
}

void baseline_destroy(struct gate_baseline *b)
{
	if (!b)
		return;
	arena_destroy(b->arena);
	free(b->v);
	free(b);
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct baseline_entry *)a)->fingerprint,
		      ((const struct baseline_entry *)b)->fingerprint);
}

static int compare_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* Which of several stands for a fingerprint must not be chance. */
static int compare_whole(const void *a, const void *b)
{
	const struct baseline_entry *x = a, *y = b;
	int rc = compare(a, b);

	if (!rc)
		rc = compare_text(x->function, y->function);
	return rc ? rc : compare_text(x->package, y->package);
}

static bool is_fingerprint(const char *s)
{
	return s && strlen(s) == GATE_FINGERPRINT - 1 &&
	       strspn(s, "0123456789abcdef") == GATE_FINGERPRINT - 1;
}

static const char *text_of(struct arena *arena, const json_t *o,
			   const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? arena_strdup(arena, s) : NULL;
}

/* What is no count must not become "however many": that would accept all. */
static struct error *count_of_entry(const struct gate_baseline *b,
				    const json_t *o, size_t i, uint64_t *ret)
{
	const json_t *count = json_object_get(o, "count");
	json_int_t n = json_integer_value(count);

	if (count && (n < 1 || n > UINT32_MAX))
		return error_new(
			ERROR_USAGE,
			"%s: leak %zu has a \"count\" that is no number "
			"from 1 to %u",
			b->path, i + 1, UINT32_MAX);
	*ret = (uint64_t)n;
	return NULL;
}

static struct error *add_entry(struct gate_baseline *b, const json_t *o,
			       size_t i)
{
	struct baseline_entry e = {
		.fingerprint = text_of(b->arena, o, "fingerprint"),
		.kind = text_of(b->arena, o, "kind"),
		.function = text_of(b->arena, o, "function"),
		.creator = text_of(b->arena, o, "created_by"),
		.package = text_of(b->arena, o, "package"),
	};
	struct error *err = count_of_entry(b, o, i, &e.count);

	if (err)
		return err;
	if (!is_fingerprint(e.fingerprint))
		return error_new(ERROR_USAGE,
				 "%s: leak %zu has no fingerprint of 16 hex "
				 "digits",
				 b->path, i + 1);
	b->v[b->n++] = e;
	return NULL;
}

/* A file that was merged may have one twice: it knows of both together. */
static void merge(struct gate_baseline *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++) {
		struct baseline_entry *e = &b->v[i];
		struct baseline_entry *last = n ? &b->v[n - 1] : NULL;

		if (!last || compare(last, e))
			b->v[n++] = *e;
		else if (last->count && e->count)
			last->count += e->count;
		else
			last->count = 0;
	}
	b->n = n;
}

static struct error *check_schema(const char *name, const json_t *root)
{
	const json_t *schema = json_object_get(root, "schema");

	if (!json_is_integer(schema))
		return error_new(ERROR_USAGE,
				 "%s: no baseline of the gate: it has no "
				 "\"schema\"",
				 name);
	if (json_integer_value(schema) != BASELINE_SCHEMA)
		return error_new(ERROR_USAGE,
				 "%s: schema %lld, and this version reads %d; "
				 "use a newer stranded, or --update-baseline",
				 name, (long long)json_integer_value(schema),
				 BASELINE_SCHEMA);
	return NULL;
}

static struct error *fill(struct gate_baseline *b, const json_t *root)
{
	const json_t *leaks = json_object_get(root, "leaks");
	struct error *err = check_schema(b->path, root);
	size_t n = json_array_size(leaks);

	if (err)
		return err;
	if (!json_is_array(leaks) || n > BASELINE_MAX)
		return error_new(ERROR_USAGE,
				 "%s: \"leaks\" is no list of at most %d",
				 b->path, BASELINE_MAX);
	b->v = calloc(n + 1, sizeof(*b->v));
	if (!b->v)
		return &error_nomem;
	for (size_t i = 0; i < n && !err; i++)
		err = add_entry(b, json_array_get(leaks, i), i);
	if (err)
		return err;
	qsort(b->v, b->n, sizeof(*b->v), compare);
	merge(b);
	return NULL;
}

struct error *baseline_parse(const char *name, const char *text, size_t len,
			     struct gate_baseline **ret)
{
	AUTO_BASELINE struct gate_baseline *b = NULL;
	json_error_t je;
	struct error *err = create(name, &b);

	if (err)
		return err;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!root)
		return error_new(ERROR_USAGE, "%s:%d:%d: no JSON: %s", name,
				 je.line, je.column, je.text);
	err = fill(b, root);
	json_decref(root);
	if (!err)
		*ret = TAKE(b);
	return err;
}

static struct error *read_all(FILE *f, const char *path, char **text_ret,
			      size_t *len_ret)
{
	AUTO_FREE char *text = NULL;
	size_t cap = 0, len = 0, got;

	do {
		if (len == cap) {
			cap = cap ? 2 * cap : 65536;
			char *more = realloc(text, cap);
			if (!more)
				return &error_nomem;
			text = more;
		}
		got = fread(text + len, 1, cap - len, f);
		len += got;
	} while (got && len <= BASELINE_MAX_BYTES);
	if (ferror(f))
		return error_new(ERROR_USAGE, "cannot read baseline '%s': %s",
				 path, strerror(errno));
	if (len > BASELINE_MAX_BYTES)
		return error_new(ERROR_USAGE, "baseline '%s' is too large",
				 path);
	*text_ret = TAKE(text);
	*len_ret = len;
	return NULL;
}

struct error *baseline_read(const char *path, bool may_lack,
			    struct gate_baseline **ret)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	AUTO_FCLOSE FILE *f = fopen(path, "re");

	if (!f && errno == ENOENT && may_lack)
		return create(path, ret);
	if (!f && errno == ENOENT)
		return error_new(ERROR_USAGE,
				 "there is no baseline '%s'; make one with "
				 "--update-baseline",
				 path);
	if (!f)
		return error_new(ERROR_USAGE, "cannot open baseline '%s': %s",
				 path, strerror(errno));
	struct error *err = read_all(f, path, &text, &len);
	return err ? err : baseline_parse(path, text, len, ret);
}

static struct baseline_entry *find(const struct gate_baseline *b,
				   const struct leak *l)
{
	struct baseline_entry key = { .fingerprint = l->fingerprint };

	return b->n ? bsearch(&key, b->v, b->n, sizeof(*b->v), compare) : NULL;
}

static uint64_t count_of(const struct gate_process *p, const char *fingerprint)
{
	uint64_t n = 0;

	for (size_t i = 0; i < p->n_leaks; i++)
		if (!strcmp(p->leaks[i].fingerprint, fingerprint))
			n += p->leaks[i].count;
	return n;
}

/* What is more than an entry knows of stays, by that much. */
static void exceed(struct gate_baseline *b, struct gate_process *p)
{
	for (size_t i = 0; i < b->n; i++) {
		struct baseline_entry *e = &b->v[i];
		uint64_t n = e->count ? count_of(p, e->fingerprint) : 0;

		e->exceeded = n > e->count;
		if (e->exceeded)
			growth_attribute(p, e->fingerprint, n - e->count,
					 e->count);
	}
}

void baseline_apply(struct gate_baseline *b, struct gate_process *p)
{
	exceed(b, p);
	for (size_t i = 0; i < p->n_leaks; i++) {
		struct baseline_entry *e = find(b, &p->leaks[i]);

		if (!e)
			continue;
		e->seen = true;
		p->leaks[i].known = !e->exceeded;
	}
}

size_t baseline_gone(const struct gate_baseline *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += !b->v[i].seen;
	return n;
}

/* --- writing --- */

/* The outermost call of the program's: the same in each run. */
static const char *function_of(const struct leak *l)
{
	for (size_t i = l->n_frames; i-- > 0;)
		if (l->frames[i].own)
			return l->frames[i].function;
	return l->n_frames ? l->frames[l->n_frames - 1].function : l->verdict;
}

static struct error *collect(const struct gate_process *processes,
			     struct gate_baseline *b)
{
	for (const struct gate_process *p = processes; p; p = p->next) {
		for (size_t i = 0; i < p->n_leaks; i++) {
			const struct leak *l = &p->leaks[i];

			if (l->ignored || b->n == BASELINE_MAX)
				continue;
			if (b->n == b->cap) {
				size_t cap = b->cap ? 2 * b->cap : 64;
				void *v = realloc(b->v, cap * sizeof(*b->v));
				if (!v)
					return &error_nomem;
				b->v = v;
				b->cap = cap;
			}
			b->v[b->n++] = (struct baseline_entry){
				.fingerprint = l->fingerprint,
				.kind = leak_kind_name(l->kind),
				.function = function_of(l),
				.creator = l->has_creator ? l->creator.function
							  : NULL,
				.package = l->package,
				.count = l->count,
			};
		}
	}
	return NULL;
}

static json_t *foreign(const char *s)
{
	AUTO_FREE char *utf8 = s ? escape_utf8(s) : NULL;

	return utf8 ? json_string(utf8) : json_null();
}

static bool print_entry(FILE *out, const struct baseline_entry *e,
			uint64_t count)
{
	json_t *o = json_pack(
		"{s:s, s:s, s:o, s:o, s:o}", "fingerprint", e->fingerprint,
		"kind", e->kind, "function", foreign(e->function), "created_by",
		foreign(e->creator), "package", foreign(e->package));
	bool ok = o && fputs("  ", out) >= 0;

	if (count)
		json_object_set_new(o, "count",
				    json_integer((json_int_t)count));
	ok = ok && !json_dumpf(o, out, JSON_ENSURE_ASCII);

	json_decref(o);
	return ok;
}

/* Several leaks may have one fingerprint: they stand there once. */
static bool print_all(FILE *out, const struct gate_baseline *b, bool counted)
{
	const char *before = "";
	size_t next;
	bool ok = true;

	fprintf(out, "{\n \"schema\": %d,\n \"leaks\": [\n", BASELINE_SCHEMA);
	for (size_t i = 0; i < b->n && ok; i = next) {
		uint64_t count = b->v[i].count;

		for (next = i + 1;
		     next < b->n && !compare(&b->v[next], &b->v[i]); next++)
			count += b->v[next].count;
		fputs(before, out);
		ok = print_entry(out, &b->v[i], counted ? count : 0);
		before = ",\n";
	}
	fprintf(out, "%s ]\n}\n", *before ? "\n" : "");
	return ok && !ferror(out);
}

static struct error *write_file(const char *path, const char *tmp,
				const struct gate_baseline *b, bool counted)
{
	FILE *f = fopen(tmp, "we");

	if (!f)
		return error_new(ERROR_OS, "cannot write baseline '%s': %s",
				 path, strerror(errno));
	bool ok = print_all(f, b, counted);
	if (fclose(f) || !ok || rename(tmp, path) < 0) {
		int error = errno;

		unlink(tmp);
		return error_new(ERROR_OS, "cannot write baseline '%s': %s",
				 path, strerror(error));
	}
	return NULL;
}

struct error *baseline_write(const char *path,
			     const struct gate_process *processes, bool counted)
{
	AUTO_BASELINE struct gate_baseline *b = NULL;
	AUTO_FREE char *tmp = NULL;
	struct error *err = create(path, &b);

	if (!err)
		err = collect(processes, b);
	if (err)
		return err;
	if (b->n)
		qsort(b->v, b->n, sizeof(*b->v), compare_whole);
	if (asprintf(&tmp, "%s.%d.tmp", path, (int)getpid()) < 0) {
		tmp = NULL;
		return &error_nomem;
	}
	return write_file(path, tmp, b, counted);
}
