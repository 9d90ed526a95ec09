/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table: lines are given out, written and taken back. What is seen from
 * outside is described in table.h.
 *
 * A line is written by the thread that runs its task, or by who resumes it:
 * the program orders these. Only the lists (free lines, chunks, sites) are
 * shared by threads, and are changed by compare-and-swap.
 */

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime-hooks/coroutine/hook/hook_priv.h"

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE(x, v) __atomic_store_n(&(x), v, __ATOMIC_RELEASE)
#define ADD(x, n) __atomic_add_fetch(&(x), n, __ATOMIC_RELAXED)
#define CAS(x, old, new)                                                       \
	__atomic_compare_exchange_n(&(x), &(old), new, false,                  \
				    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

#define MAX_LINES (HOOK_MAX_CHUNKS << HOOK_CHUNK_BITS)
_Static_assert(MAX_LINES == 1u << HOOK_PARENT_BITS, "a parent is a line");
_Static_assert(sizeof(struct stranded_task) == 64, "the layout is public");
_Static_assert(sizeof(struct hook_more) == 32, "the layout is public");
_Static_assert(sizeof(struct hook_site) == 32, "the layout is public");

#define EXPORT __attribute__((visibility("default")))

extern struct hook_root stranded_hook_table_v1;
EXPORT struct hook_root stranded_hook_table_v1 = {
	.magic = HOOK_MAGIC,
	.version = HOOK_VERSION,
	.root_size = sizeof(struct hook_root),
	.line_size = sizeof(struct stranded_task),
	.more_size = sizeof(struct hook_more),
	.site_size = sizeof(struct hook_site),
	.chunk_lines = HOOK_CHUNK_LINES,
	.max_chunks = HOOK_MAX_CHUNKS,
	.max_sites = HOOK_MAX_SITES,
};
/* Ours, whatever other copy the dynamic linker has found by that name. */
extern struct hook_root stranded_hook_own
	__attribute__((alias(HOOK_SYMBOL), visibility("hidden")));
#define root stranded_hook_own

/* {owner, type, distance to the root} */
__asm__(".pushsection .note.stranded,\"a\",@note\n"
	"	.balign 4\n"
	"	.long 9, 8, 1\n"
	"	.asciz \"stranded\"\n"
	"	.balign 4\n"
	"0:	.quad stranded_hook_own - 0b\n"
	"	.popsection\n");
#if HOOK_NOTE_TYPE != 1
#error the note above has another type
#endif

__thread struct hook_self hook_self;
bool hook_active, hook_stacks_marked;

EXPORT uint64_t stranded_hook_clock;

static uint64_t free_head; /* {changes, line + 1} */
static uint32_t started;

/* Our own mmap(2), which is not hooked and does not set errno. */
static void *map(size_t size)
{
	int saved = errno;
	long p = syscall(SYS_mmap, NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);

	errno = saved;
	return p == -1 ? NULL : (void *)p;
}

/* Make *@place point to @size zeroed bytes, whoever comes first. */
static void *map_once(uint64_t *place, size_t size)
{
	uint64_t have = LOAD(*place);

	if (have)
		return (void *)have;
	void *p = map(size);
	if (!p || CAS(*place, have, (uint64_t)p))
		return p;
	int saved = errno;
	syscall(SYS_munmap, p, size);
	errno = saved;
	return (void *)have;
}

/* A child has the table, and is another process. */
static void in_child(void)
{
	root.pid = (uint32_t)getpid();
	hook_self.tid = 0;
}

#ifdef HOOK_SHARED
static bool is_ours(const void *note)
{
	static const char owner[] = HOOK_NOTE_OWNER;
	const ElfW(Nhdr) *n = note;

	return n->n_namesz == sizeof(owner) && n->n_type == HOOK_NOTE_TYPE &&
	       n->n_descsz == 8 && !memcmp(n + 1, owner, sizeof(owner));
}

/* Does the program, or a library, bring a hook of its own? */
static int find_other(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + ph->p_vaddr;
		uintptr_t end = at + ph->p_memsz;

		if (ph->p_type == PT_LOAD && (uintptr_t)&root >= at &&
		    (uintptr_t)&root < end)
			return 0;
	}
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		const char *at = (char *)info->dlpi_addr + ph->p_vaddr;
		const char *end = at + ph->p_memsz;

		if (ph->p_type != PT_NOTE || ph->p_align > 4)
			continue;
		while (end - at >= (ptrdiff_t)sizeof(ElfW(Nhdr))) {
			const ElfW(Nhdr) *n = (const void *)at;
			size_t len = sizeof(*n) + ((n->n_namesz + 3) & ~3u) +
				     ((n->n_descsz + 3) & ~3u);

			if (len > (size_t)(end - at))
				break;
			if (is_ours(at)) {
				*(bool *)arg = true;
				return 1;
			}
			at += len;
		}
	}
	return 0;
}

static bool another_copy(void)
{
	bool found = false;

	dl_iterate_phdr(find_other, &found);
	return found;
}
#else
/* It is linked in by who describes its own coroutines. */
static bool another_copy(void)
{
	return false;
}
#endif

static void __attribute__((constructor)) start(void)
{
	struct timespec now;
	uint32_t no = 0;

	if (!CAS(started, no, 1))
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	root.tsc = hook_ticks();
	root.mono_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	root.pid = (uint32_t)getpid();
	pthread_atfork(NULL, NULL, in_child);
	hook_active = !another_copy();
	STORE(root.activity, hook_active ? HOOK_ACTIVE : HOOK_IDLE);
}

/* Lines. */

static struct stranded_task *line_at(uint32_t line)
{
	uint64_t chunk = LOAD(root.lines[line >> HOOK_CHUNK_BITS]);

	return chunk ? (struct stranded_task *)chunk +
			       (line & (HOOK_CHUNK_LINES - 1))
		     : NULL;
}

static struct hook_more *more_at(uint32_t line)
{
	struct hook_more *chunk =
		map_once(&root.more[line >> HOOK_CHUNK_BITS],
			 HOOK_CHUNK_LINES * sizeof(struct hook_more));

	return chunk ? chunk + (line & (HOOK_CHUNK_LINES - 1)) : NULL;
}

/* Which line is it? Chunks are few, and asked for a name or an end only. */
static uint32_t number_of(const struct stranded_task *task)
{
	uint32_t chunks = (LOAD(root.n_lines) + HOOK_CHUNK_LINES - 1) >>
			  HOOK_CHUNK_BITS;

	for (uint32_t i = 0; i < chunks; i++) {
		uint64_t at = (uint64_t)task - LOAD(root.lines[i]);

		if (at < HOOK_CHUNK_LINES * sizeof(*task))
			return (i << HOOK_CHUNK_BITS) +
			       (uint32_t)(at / sizeof(*task));
	}
	return MAX_LINES;
}

static uint32_t take_fresh(void)
{
	uint32_t line = LOAD(root.n_lines);

	while (line < MAX_LINES) {
		if (!map_once(&root.lines[line >> HOOK_CHUNK_BITS],
			      HOOK_CHUNK_LINES * sizeof(struct stranded_task)))
			return MAX_LINES;
		if (CAS(root.n_lines, line, line + 1))
			return line;
	}
	return MAX_LINES;
}

static uint32_t take_line(void)
{
	uint64_t head = LOAD(free_head);

	while ((uint32_t)head) {
		uint32_t line = (uint32_t)head - 1;
		uint64_t next = ((head >> 32) + 1) << 32 |
				__atomic_load_n(&line_at(line)->parent,
						__ATOMIC_RELAXED);

		if (CAS(free_head, head, next))
			return line;
	}
	return take_fresh();
}

static void give_back(uint32_t line)
{
	struct stranded_task *task = line_at(line);
	uint64_t head = LOAD(free_head), mine;

	do {
		__atomic_store_n(&task->parent, (uint32_t)head,
				 __ATOMIC_RELAXED);
		mine = ((head >> 32) + 1) << 32 | (line + 1);
	} while (!CAS(free_head, head, mine));
}

/*
 * Creation sites: an array that only grows, and an index into it, hashed. Two
 * threads that meet a new site at once may each add it; the reader adds up.
 */
static uint32_t site_index[2 * HOOK_MAX_SITES]; /* site + 1 */

static uint32_t add_site(struct hook_site *sites, uint64_t pc, uint64_t start)
{
	uint32_t n = LOAD(root.n_sites);

	while (n < HOOK_MAX_SITES && !CAS(root.n_sites, n, n + 1))
		;
	if (n >= HOOK_MAX_SITES)
		return HOOK_NO_SITE;
	STORE(sites[n].start, start);
	STORE(sites[n].pc, pc);
	return n;
}

static uint32_t site_of(uint64_t pc, uint64_t start)
{
	struct hook_site *sites =
		map_once(&root.sites, HOOK_MAX_SITES * sizeof(*sites));
	uint32_t at = (uint32_t)(((pc ^ start) * 0x9e3779b97f4a7c15) >> 40);

	for (uint32_t i = 0; sites && i < 64; i++) {
		uint32_t *place = &site_index[(at + i) % (2 * HOOK_MAX_SITES)];
		uint32_t n = LOAD(*place);

		if (!n) {
			uint32_t mine = add_site(sites, pc, start);

			if (mine == HOOK_NO_SITE || CAS(*place, n, mine + 1))
				return mine;
		}
		if (LOAD(sites[n - 1].pc) == pc &&
		    LOAD(sites[n - 1].start) == start)
			return n - 1;
	}
	return HOOK_NO_SITE;
}

static void count(uint32_t site, bool created)
{
	struct hook_site *sites = (struct hook_site *)LOAD(root.sites);

	if (created)
		ADD(root.created, 1);
	else
		ADD(root.ended, 1);
	if (site >= HOOK_MAX_SITES || !sites)
		return;
	if (created)
		ADD(sites[site].created, 1);
	else
		ADD(sites[site].ended, 1);
}

static uint32_t parent_of(void)
{
	uint64_t id = hook_self.id;

	return id ? (uint32_t)id | (uint32_t)(id >> 32) << HOOK_PARENT_BITS
		  : HOOK_NO_PARENT;
}

static void write_more(uint32_t line, struct stranded_task *task,
		       const char *name)
{
	struct hook_more *more = more_at(line);

	if (!more)
		return;
	*more = (struct hook_more){ .incarnation = task->incarnation,
				    .name = (uint64_t)name };
}

uint64_t hook_create(const struct hook_new *what)
{
	if (!LOAD(started))
		start();
	uint32_t line = take_line();

	if (line == MAX_LINES) {
		ADD(root.dropped, 1);
		return 0;
	}
	struct stranded_task *task = line_at(line);
	uint32_t seq = stranded_write_begin(task);
	task->incarnation++;
	task->sp = task->pc = task->bp = 0;
	task->since = 0;
	task->stack_hi = what->stack_hi;
	task->op = STRANDED_OTHER;
	task->fd = -1;
	task->flags = what->flags;
	if (hook_self.system)
		task->flags |= HOOK_FLAG_SYSTEM;
	task->site = site_of(what->pc, what->start);
	/* others may still look at it as a free line's */
	__atomic_store_n(&task->parent, parent_of(), __ATOMIC_RELAXED);
	if (what->name)
		write_more(line, task, what->name);
	task->state = HOOK_CREATED;
	stranded_write_end(task, seq);
	count(task->site, true);
	return (uint64_t)task->incarnation << 32 | line;
}

void hook_end(uint64_t id)
{
	struct stranded_task *task = hook_line(id);

	if (!task)
		return;
	if (hook_self.id == id) {
		hook_self.id = 0;
		hook_self.task = NULL;
	}
	uint32_t site = task->site;
	uint32_t seq = stranded_write_begin(task);
	task->state = HOOK_FREE;
	stranded_write_end(task, seq);
	count(site, false);
	give_back((uint32_t)id);
}

/* Switches. */

void hook_ask_tid(void)
{
	int saved = errno;

	hook_self.tid = (int32_t)syscall(SYS_gettid);
	errno = saved;
}

static void note(struct stranded_task *task, enum stranded_op op, int fd,
		 bool told)
{
	uint32_t seq = stranded_write_begin(task);
	task->op = (uint8_t)op;
	task->fd = fd;
	task->since = op == STRANDED_OTHER ? 0 : hook_ticks();
	if (told)
		task->flags |= HOOK_FLAG_FD_TOLD;
	else
		task->flags &= (uint8_t)~HOOK_FLAG_FD_TOLD;
	stranded_write_end(task, seq);
}

bool hook_tell(enum stranded_op op, int fd)
{
	struct stranded_task *task = hook_self.task;

	if (!task || (task->flags & HOOK_FLAG_FD_TOLD))
		return false;
	note(task, op, fd, true);
	return true;
}

void hook_untell(void)
{
	struct stranded_task *task = hook_self.task;

	if (task)
		note(task, STRANDED_OTHER, -1, false);
}

void hook_last_io(enum stranded_op op, int fd)
{
	struct stranded_task *task = hook_self.task;

	/* what it was told is better than what was seen */
	if (!task || (task->flags & HOOK_FLAG_FD_TOLD) ||
	    (task->op == op && task->fd == fd))
		return;
	note(task, op, fd, false);
}

void hook_mark_stack(uint64_t where, uint64_t id)
{
	uint64_t mark[2] = { id, id ^ HOOK_MARK };

	memcpy((void *)where, mark, sizeof(mark));
	if (!__atomic_load_n(&hook_stacks_marked, __ATOMIC_RELAXED))
		__atomic_store_n(&hook_stacks_marked, true, __ATOMIC_RELAXED);
}

uint64_t hook_marked_stack(uint64_t where)
{
	uint64_t mark[2];

	memcpy(mark, (const void *)where, sizeof(mark));
	if ((mark[0] ^ HOOK_MARK) != mark[1])
		return 0;
	const struct stranded_task *task = hook_line(mark[0]);
	return task && task->stack_hi == where ? mark[0] : 0;
}

void *hook_next(const char *name)
{
	int saved = errno;
	void *ret = dlsym(RTLD_NEXT, name);

	errno = saved;
	return ret;
}

/* What stranded/hook.h calls. */

EXPORT struct stranded_task *stranded_hook_create(const char *name,
						  void (*begin)(void), void *hi)
{
	return hook_line(hook_create(&(struct hook_new){
		.pc = (uint64_t)__builtin_return_address(0),
		.start = (uint64_t)begin,
		.stack_hi = (uint64_t)hi,
		.name = name,
	}));
}

static uint64_t id_of(const struct stranded_task *task)
{
	uint32_t line = number_of(task);

	return line < MAX_LINES ? (uint64_t)task->incarnation << 32 | line : 0;
}

EXPORT void stranded_hook_end(struct stranded_task *task)
{
	hook_end(id_of(task));
}

EXPORT void stranded_hook_current(struct stranded_task *task)
{
	hook_self.task = task;
	hook_self.id = task ? id_of(task) : 0;
}

EXPORT void stranded_hook_more(struct stranded_task *task, int64_t deadline_ns,
			       const void *object)
{
	uint32_t line = number_of(task);
	struct hook_more *more = line < MAX_LINES ? more_at(line) : NULL;

	if (!more)
		return;
	uint32_t seq = stranded_write_begin(task);
	if (more->incarnation != task->incarnation)
		*more = (struct hook_more){ .incarnation = task->incarnation };
	more->deadline_ns = deadline_ns;
	more->object = (uint64_t)object;
	task->flags |= HOOK_FLAG_MORE;
	stranded_write_end(task, seq);
}
