/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/lines_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_STACKS 1024u /* lines, when stacks are read: 4 MiB of them */
#define BATCH_LINES 1024u  /* when not: their items stay in the cache */
#define PAGE ((raddr_t)4096)

static raddr_t line_addr(const struct hook_root *r, uint32_t index)
{
	return r->lines[index / r->chunk_lines] +
	       (uint64_t)(index % r->chunk_lines) * r->line_size;
}

static raddr_t more_addr(const struct hook_root *r, uint32_t index)
{
	raddr_t chunk = r->more[index / r->chunk_lines];

	return chunk ? chunk + (uint64_t)(index % r->chunk_lines) * r->more_size
		     : 0;
}

/*
 * Ask for the head of the line of each item in todo, in runs of neighbours.
 * Where lines are far apart (a longer layout), the rest is read along.
 */
static size_t ask_runs(struct pass *pass,
		       raddr_t (*addr)(const struct hook_root *, uint32_t),
		       uint32_t stride)
{
	const struct hook_root *r = &pass->in->root->v;
	size_t n = 0;

	for (size_t i = 0; i < pass->n_todo;) {
		uint32_t k = pass->todo[i];
		size_t run = 1;

		while (i + run < pass->n_todo && pass->todo[i + run] == k + run)
			run++;
		pass->reqs[n++] = (struct process_read_req){
			.addr = addr(r, pass->items[k].line.index),
			.buf = pass->raw + (size_t)k * stride,
			.len = (uint32_t)(run * stride),
		};
		i += run;
	}
	return n;
}

/* Which request an item belongs to is clear by its place in the buffer. */
static bool was_read(const struct pass *pass, const uint8_t *at, size_t n,
		     size_t *hint)
{
	while (*hint < n) {
		const struct process_read_req *req = &pass->reqs[*hint];
		const uint8_t *buf = req->buf;

		if (at >= buf && at < buf + req->len)
			return req->ok;
		(*hint)++;
	}
	return false;
}

static void read_lines(struct pass *pass)
{
	uint32_t stride = pass->in->root->v.line_size;
	size_t n = ask_runs(pass, line_addr, stride), hint = 0;

	live_pieces(pass->in->mem, pass->reqs, n);
	for (size_t i = 0; i < pass->n_todo; i++) {
		struct item *it = &pass->items[pass->todo[i]];
		const uint8_t *at = pass->raw + (size_t)pass->todo[i] * stride;
		uint32_t index = it->line.index;

		*it = (struct item){ .line.index = index };
		it->read = was_read(pass, at, n, &hint);
		if (!it->read)
			continue;
		memcpy(&it->line.v, at, sizeof(it->line.v));
		it->odd = it->line.v.seq & 1;
		it->skip = !it->odd && (it->line.v.state == HOOK_FREE ||
					!it->line.v.incarnation);
	}
}

/* Only the sequence numbers count now. */
static void read_again(struct pass *pass)
{
	uint32_t stride = pass->in->root->v.line_size;
	size_t n = ask_runs(pass, line_addr, stride), hint = 0;

	live_pieces(pass->in->mem, pass->reqs, n);
	for (size_t i = 0; i < pass->n_todo; i++) {
		struct item *it = &pass->items[pass->todo[i]];
		const uint8_t *at = pass->raw + (size_t)pass->todo[i] * stride;

		it->again_ok = was_read(pass, at, n, &hint);
		if (it->again_ok)
			memcpy(&it->seq_again, at, sizeof(it->seq_again));
	}
}

static void read_more(struct pass *pass)
{
	const struct hook_root *r = &pass->in->root->v;
	size_t n, hint = 0;

	// a batch lies in one chunk
	if (!pass->n_todo || !more_addr(r, pass->items[0].line.index))
		return;
	n = ask_runs(pass, more_addr, r->more_size);
	live_pieces(pass->in->mem, pass->reqs, n);
	for (size_t i = 0; i < pass->n_todo; i++) {
		struct item *it = &pass->items[pass->todo[i]];
		const uint8_t *at =
			pass->raw + (size_t)pass->todo[i] * r->more_size;
		struct hook_more more;

		if (!was_read(pass, at, n, &hint) || !item_is_live(it))
			continue;
		memcpy(&more, at, sizeof(more));
		if (more.incarnation == it->line.v.incarnation)
			it->line.more = more;
	}
}

/* One text for all that have it. */
static const char *keep_name(struct pass *pass, const char *text)
{
	uint64_t key = intern_hash(text, strlen(text)), at = UINT64_MAX;
	char *copy;

	if (!*text)
		return NULL;
	while ((copy = intern_next(&pass->names, key, &at)))
		if (!strcmp(copy, text))
			return copy;
	copy = arena_strdup(pass->out->snap->arena, text);
	if (!copy || !intern_add(&pass->names, key, copy))
		pass->nomem = true;
	return copy;
}

/* Up to the end of the page, beyond which there may be nothing. */
static uint32_t first_part(raddr_t addr)
{
	raddr_t len = PAGE - addr % PAGE;

	return len < NAME_BYTES - 1 ? (uint32_t)len : NAME_BYTES - 1;
}

static const char *finish_name(struct pass *pass, raddr_t addr, char *text)
{
	uint32_t first = first_part(addr);

	text[first] = '\0';
	if (strlen(text) == first && first < NAME_BYTES - 1) {
		if (!live_read(pass->in->mem, addr + first, text + first,
			       NAME_BYTES - 1 - first))
			text[first] = '\0';
		text[NAME_BYTES - 1] = '\0';
	}
	return keep_name(pass, text);
}

/* Neighbours often share a constant: has the one before, in this round? */
static bool shares_name(const struct pass *pass, size_t i)
{
	uint32_t k = pass->todo[i];

	return i && pass->todo[i - 1] == k - 1 &&
	       pass->items[k - 1].name_at != UINT32_MAX &&
	       pass->items[k - 1].line.more.name ==
		       pass->items[k].line.more.name;
}

/*
 * A name is where its line says only while that line is unchanged. So each is
 * read anew, within the round that its line is read in.
 */
static void find_names(struct pass *pass)
{
	size_t n = 0;

	for (size_t i = 0; i < pass->n_todo; i++) {
		uint32_t k = pass->todo[i];
		raddr_t addr = pass->items[k].line.more.name;

		pass->items[k].name_at = UINT32_MAX;
		if (!live_plausible(addr, 1))
			continue;
		pass->items[k].name_at = shares_name(pass, i) ? k - 1 : k;
		if (pass->items[k].name_at != k)
			continue;
		pass->reqs[n++] = (struct process_read_req){
			.addr = addr,
			.buf = pass->texts[k],
			.len = first_part(addr),
		};
	}
	live_pieces(pass->in->mem, pass->reqs, n);
	n = 0;
	for (size_t i = 0; i < pass->n_todo; i++) {
		uint32_t k = pass->todo[i];
		struct item *it = &pass->items[k];

		if (it->name_at == UINT32_MAX)
			continue;
		if (it->name_at != k)
			it->line.name = pass->items[k - 1].line.name;
		else if (pass->reqs[n++].ok)
			it->line.name = finish_name(pass, it->line.more.name,
						    pass->texts[k]);
	}
}

static bool settled(const struct item *it)
{
	return !it->read ||
	       (!it->odd && it->again_ok && it->seq_again == it->line.v.seq);
}

/* Read the items in todo until they hold still, or for the last time. */
static void run_rounds(struct pass *pass)
{
	for (int round = 0; pass->n_todo; round++) {
		size_t n = 0;

		read_lines(pass);
		read_more(pass);
		find_names(pass);
		lines_find_stacks(pass);
		read_again(pass);
		for (size_t i = 0; i < pass->n_todo; i++)
			if (!settled(&pass->items[pass->todo[i]]))
				pass->todo[n++] = pass->todo[i];
		pass->n_todo = n;
		if (!round)
			pass->out->snap->torn_retried += n;
		if (round == LINES_RETRIES)
			break;
	}
	for (size_t i = 0; i < pass->n_todo; i++) {
		struct ctask_line *line = &pass->items[pass->todo[i]].line;

		// it moves: of what was read, nothing need belong together
		line->torn = true;
		line->stack = NULL;
		line->unreadable = false;
		line->v.fd = -1;
		line->v.since = 0;
	}
}

static const struct frame *frame_at(struct pass *pass, raddr_t pc,
				    bool is_return)
{
	if (!pass->in->native || !live_plausible(pc, 1))
		return NULL;
	return native_frame(pass->in->native, pc, is_return);
}

static const struct lines_site *site_of(struct pass *pass, uint32_t index)
{
	const struct hook_site *raw;
	struct lines_site *site;

	if (!pass->raw_sites || index >= pass->in->root->v.max_sites)
		return NULL;
	raw = &pass->raw_sites[index];
	site = &pass->sites[index];
	if (site->looked_up)
		return site;
	site->looked_up = true;
	if (lines_site_known(raw))
		site->created_by = frame_at(pass, raw->pc, true);
	site->start = frame_at(pass, raw->start, false);
	return site;
}

/* Every state that makes sense for a task that is listed. */
static bool is_listed(struct pass *pass, const struct item *it)
{
	if (!it->read) {
		pass->unread++;
		return false;
	}
	if (it->skip || (it->line.torn && (it->line.v.state == HOOK_FREE ||
					   !it->line.v.incarnation)))
		return false;
	if (it->gone && !it->line.torn) {
		pass->out->gone++;
		return false;
	}
	if (it->line.v.state > HOOK_SEEN)
		pass->bad++;
	return true;
}

static void emit(struct pass *pass, size_t n)
{
	struct task_snapshot *snap = pass->out->snap;

	for (size_t k = 0; k < n; k++) {
		const struct item *it = &pass->items[k];
		struct task *t = &snap->tasks[snap->n];

		if (it->read)
			pass->incarnations[it->line.index] =
				it->line.v.incarnation;
		if (!is_listed(pass, it) || snap->n == pass->out->cap)
			continue;
		pass->torn += it->line.torn;
		pass->unreadable += it->line.unreadable;
		ctask_fill(pass->in, snap->arena, &it->line,
			   site_of(pass, it->line.v.site), t);
		// an index until all incarnations are known
		t->parent_id = it->line.v.parent;
		snap->n++;
	}
}

static void run_chunk(struct pass *pass, uint32_t from, uint32_t to)
{
	for (uint32_t at = from; at < to; at += pass->batch) {
		uint32_t n = to - at < pass->batch ? to - at : pass->batch;

		for (uint32_t k = 0; k < n; k++) {
			pass->items[k].line.index = at + k;
			pass->todo[k] = k;
		}
		pass->n_todo = n;
		run_rounds(pass);
		emit(pass, n);
	}
}

static void run(struct pass *pass)
{
	const struct hook_root *r = &pass->in->root->v;

	for (uint32_t from = 0; from < r->n_lines; from += r->chunk_lines) {
		uint32_t to = r->n_lines - from < r->chunk_lines
				      ? r->n_lines
				      : from + r->chunk_lines;

		if (!r->lines[from / r->chunk_lines] || pass->in->mem->error)
			pass->unread += to - from;
		else
			run_chunk(pass, from, to);
	}
}

static void resolve_parents(struct pass *pass)
{
	struct task_snapshot *snap = pass->out->snap;

	for (size_t i = pass->first; i < snap->n; i++)
		snap->tasks[i].parent_id = ctask_parent(
			pass->in->number, (uint32_t)snap->tasks[i].parent_id,
			pass->incarnations, pass->in->root->v.n_lines);
}

static void add_gaps(const struct pass *pass)
{
	struct task_snapshot *snap = pass->out->snap;
	int error = pass->in->mem->error;

	snap->torn += pass->torn;
	if (pass->torn)
		gaps_add(&snap->gaps, GAP_TORN, pass->torn,
			 "coroutines that were switched again and again while "
			 "they were read");
	if (pass->unreadable)
		gaps_add(&snap->gaps, GAP_CORRUPT, pass->unreadable,
			 "coroutines whose stack is not readable");
	if (pass->bad)
		gaps_add(&snap->gaps, GAP_UNSUPPORTED, pass->bad,
			 "coroutines in a state that is not known");
	if (pass->unread)
		gaps_add(&snap->gaps,
			 !error		   ? GAP_CORRUPT
			 : error == -EPERM ? GAP_DENIED
					   : GAP_GONE,
			 pass->unread,
			 "lines of the coroutine table were not "
			 "readable");
	if (pass->in->root->v.dropped)
		gaps_add(&snap->gaps, GAP_LIMIT, pass->in->root->v.dropped,
			 "coroutines were created while the table was full");
}

static bool begin(struct pass *pass)
{
	const struct hook_root *r = &pass->in->root->v;
	uint32_t stride = r->line_size > r->more_size ? r->line_size
						      : r->more_size;
	size_t n;

	pass->batch = pass->in->stacks ? BATCH_STACKS : BATCH_LINES;
	// lines may be 4096 bytes long
	while (pass->batch > 256 && (size_t)pass->batch * stride > 2u << 20)
		pass->batch /= 2;
	n = pass->batch;
	pass->items = calloc(n, sizeof(*pass->items));
	pass->todo = malloc(n * sizeof(*pass->todo));
	pass->raw = malloc(n * stride);
	pass->reqs = malloc(n * sizeof(*pass->reqs));
	pass->marks = malloc(n * sizeof(*pass->marks));
	pass->texts = malloc(n * sizeof(*pass->texts));
	pass->stacks = malloc(pass->in->stacks ? n * STACK_BYTES : 1);
	pass->incarnations = calloc(r->n_lines + 1ul, sizeof(uint32_t));
	pass->sites = calloc(r->max_sites + 1ul, sizeof(*pass->sites));
	return pass->items && pass->todo && pass->raw && pass->reqs &&
	       pass->marks && pass->texts && pass->stacks &&
	       pass->incarnations && pass->sites;
}

static void end(struct pass *pass)
{
	free(pass->items);
	free(pass->todo);
	free(pass->raw);
	free(pass->reqs);
	free(pass->marks);
	free(pass->texts);
	free(pass->stacks);
	free(pass->incarnations);
	free(pass->sites);
	free(pass->raw_sites);
	intern_free(&pass->names);
}

struct error *lines_read(const struct lines_in *in, struct lines_out *out)
{
	struct pass pass = { .in = in, .out = out, .first = out->snap->n };
	struct error *err;

	if (!begin(&pass)) {
		end(&pass);
		return &error_nomem;
	}
	err = lines_sites(in->mem, in->root, &pass.raw_sites);
	if (error_catch(&err, ERROR_FAULT))
		gaps_add(&out->snap->gaps, GAP_CORRUPT, 1,
			 "the creation sites of coroutines are not readable");
	if (!err) {
		run(&pass);
		resolve_parents(&pass);
		if (!lines_sort(out->snap->tasks + pass.first,
				out->snap->n - pass.first) ||
		    pass.nomem)
			err = &error_nomem;
		add_gaps(&pass);
	}
	end(&pass);
	return err;
}
