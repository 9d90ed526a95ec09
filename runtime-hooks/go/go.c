/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/go.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "runtime-hooks/go/goroutine.h"
#include "runtime-hooks/go/image.h"
#include "runtime-hooks/go/layout.h"

struct go_context {
	const struct process *process;
	struct go_image *image;
	struct go_symbols sym;
	struct go_live mem;
	struct arena *arena;
	struct go_layout layout;
	struct go_goroutines *goroutines;
	struct go_testname testname;
};

static int read_process(void *arg, struct process_read_req *reqs, size_t n)
{
	return process_read_batch(arg, reqs, n);
}

/* The static half as a table; arg is the context. */
static bool sym_func(void *arg, raddr_t pc, struct go_func *ret)
{
	return go_image_func(((struct go_context *)arg)->image, pc, ret);
}

static bool sym_is_entry(void *arg, raddr_t pc)
{
	return go_image_is_entry(((struct go_context *)arg)->image, pc);
}

static bool sym_func_by_name(void *arg, const char *name, struct go_func *ret)
{
	return go_image_func_by_name(((struct go_context *)arg)->image, name,
				     ret);
}

static bool sym_frame_size(void *arg, raddr_t pc, bool is_return,
			   uint32_t *delta_ret)
{
	return go_image_frame_size(((struct go_context *)arg)->image, pc,
				   is_return, delta_ret);
}

static const struct stack *sym_stack(void *arg, const raddr_t *pcs, size_t n,
				     bool first_is_return, bool incomplete,
				     bool truncated)
{
	return go_image_stack(((struct go_context *)arg)->image, pcs, n,
			      first_is_return, incomplete, truncated);
}

static const struct frame *sym_creator(void *arg, raddr_t gopc)
{
	return go_image_creator(((struct go_context *)arg)->image, gopc);
}

static const struct frame *sym_start(void *arg, raddr_t startpc)
{
	return go_image_start(((struct go_context *)arg)->image, startpc);
}

static const char *sym_type_name(void *arg, raddr_t type)
{
	return go_image_type_name(((struct go_context *)arg)->image, type);
}

static int sym_thread_syscall(void *arg, pid_t tid, struct process_syscall *ret)
{
	return process_thread_syscall(((struct go_context *)arg)->process, tid,
				      ret);
}

static void go_detach(void *arg)
{
	struct go_context *ctx = arg;

	if (!ctx)
		return;
	go_goroutines_destroy(ctx->goroutines);
	go_live_deinit(&ctx->mem);
	arena_destroy(ctx->arena);
	go_image_destroy(ctx->image);
	free(ctx);
}

static struct error *find_layout(struct go_context *ctx)
{
	const struct go_module *modules;
	size_t n;

	modules = go_image_modules(ctx->image, &n);
	if (!n)
		return error_new(ERROR_CORRUPT, "no Go module in the program");
	return go_layout_find(
		&ctx->layout,
		(struct go_segment[]){ modules[0].data, modules[0].bss }, 2);
}

/* Why the process could not be read is better known to base/process. */
static struct error *explained(const struct go_context *ctx, struct error *err)
{
	int errnum = error_code(err) == ERROR_DENIED ? EPERM : ESRCH;

	if (error_code(err) != ERROR_DENIED && error_code(err) != ERROR_GONE &&
	    process_alive(ctx->process))
		return err;
	error_free(err);
	return process_error(ctx->process, errnum, "memory of");
}

static struct error *set_up(struct go_context *ctx)
{
	struct error *err;

	err = go_image_create(ctx->process, &ctx->image);
	if (err)
		return err;
	ctx->arena = arena_create();
	// read_process() only reads through it
	if (!ctx->arena ||
	    go_live_init(&ctx->mem, read_process, (void *)ctx->process) < 0)
		return &error_nomem;
	ctx->layout.mem = &ctx->mem;
	ctx->layout.sym = &ctx->sym;
	ctx->layout.arena = ctx->arena;
	ctx->layout.minor = go_image_minor(ctx->image);
	ctx->testname.mem = &ctx->mem;
	ctx->testname.minor = ctx->layout.minor;
	err = find_layout(ctx);
	if (err)
		return error_wrap(explained(ctx, err), "%s",
				  go_image_version(ctx->image));
	ctx->goroutines =
		go_goroutines_create(&ctx->mem, &ctx->layout, &ctx->sym);
	return ctx->goroutines ? NULL : &error_nomem;
}

static struct error *go_attach(const struct process *p, void **ctx_ret)
{
	struct go_context *ctx = calloc(1, sizeof(*ctx));
	struct error *err;

	if (!ctx)
		return &error_nomem;
	ctx->process = p;
	ctx->sym = (struct go_symbols){
		.arg = ctx,
		.func = sym_func,
		.is_entry = sym_is_entry,
		.func_by_name = sym_func_by_name,
		.frame_size = sym_frame_size,
		.stack = sym_stack,
		.creator = sym_creator,
		.start = sym_start,
		.type_name = sym_type_name,
		.thread_syscall = sym_thread_syscall,
	};
	err = set_up(ctx);
	if (err) {
		go_detach(ctx);
		return err;
	}
	*ctx_ret = ctx;
	return NULL;
}

static const char *go_version(const void *arg)
{
	const struct go_context *ctx = arg;

	return go_image_version(ctx->image);
}

static void go_explain(const void *arg,
		       void (*line)(void *arg, const char *text),
		       void *line_arg)
{
	const struct go_context *ctx = arg;

	line(line_arg, go_image_how(ctx->image));
	go_layout_explain(&ctx->layout, line, line_arg);
}

static struct error *snapshot_create(const struct go_context *ctx,
				     struct task_snapshot **ret)
{
	struct task_snapshot *snap = calloc(1, sizeof(*snap));

	if (!snap)
		return &error_nomem;
	snap->arena = arena_create();
	snap->kind = TASK_GO;
	snap->taken_mono_ns = clock_mono_ns();
	snap->taken_wall_ms = clock_wall_ms();
	snap->gaps.arena = snap->arena;
	if (snap->arena)
		snap->runtime =
			arena_strdup(snap->arena, go_image_version(ctx->image));
	if (!snap->runtime) {
		task_snapshot_destroy(snap);
		return &error_nomem;
	}
	*ret = snap;
	return NULL;
}

static struct error *go_snapshot(void *arg, const struct runtime_options *opt,
				 struct task_snapshot **ret)
{
	struct go_context *ctx = arg;
	struct task_snapshot *snap;
	struct error *err;

	err = snapshot_create(ctx, &snap);
	if (err)
		return err;
	err = go_goroutines_read(
		ctx->goroutines, opt,
		snap->taken_wall_ms - ctx->process->start_wall_ms, snap);
	if (err) {
		task_snapshot_destroy(snap);
		return explained(ctx, err);
	}
	snap->duration_ns = clock_mono_ns() - snap->taken_mono_ns;
	log_debug("go",
		  "snapshot: %zu goroutines, %llu retried, %llu torn, "
		  "%lld us, %zu bytes",
		  snap->n, (unsigned long long)snap->torn_retried,
		  (unsigned long long)snap->torn,
		  (long long)snap->duration_ns / 1000,
		  arena_bytes(snap->arena));
	*ret = snap;
	return NULL;
}

static bool go_owns_pc(void *arg, raddr_t pc)
{
	struct go_func func;

	return go_image_func(((struct go_context *)arg)->image, pc, &func);
}

/* Where the goroutine of @bytes is parked; 0: it runs. */
static raddr_t parked_at(const struct go_layout *l, const uint8_t *bytes)
{
	switch (go_half(bytes + l->g_status) & ~GO_STATUS_SCAN) {
	case GO_WAITING:
	case GO_RUNNABLE:
	case GO_PREEMPTED:
		return go_word(bytes + GO_G_SP);
	case GO_SYSCALL:
		return go_word(bytes + l->g_syscallsp);
	default:
		return 0;
	}
}

static bool read_g(struct go_context *ctx, const struct task *task,
		   uint8_t bytes[GO_G_BYTES])
{
	const struct go_layout *l = &ctx->layout;

	return go_live_read(&ctx->mem, task->handle, bytes, l->g_len) &&
	       go_word(bytes + l->g_goid) == task->id;
}

bool go_test_name(void *arg, const struct task *task, bool *parked_ret,
		  char buf[GO_TEST_NAME_MAX])
{
	struct go_context *ctx = arg;
	uint8_t g[GO_G_BYTES], again[GO_G_BYTES];
	enum go_test_role role =
		go_test_role(task->start ? task->start->function : NULL);

	if (role == GO_TEST_NONE || !read_g(ctx, task, g))
		return false;
	raddr_t sp = parked_at(&ctx->layout, g);
	*parked_ret = sp;
	/* A g and its stack go from one goroutine to the next. */
	return go_testname_read(&ctx->testname, role,
				go_word(g + GO_G_STACK_LO),
				go_word(g + GO_G_STACK_HI), sp, buf) &&
	       read_g(ctx, task, again) &&
	       !memcmp(g + GO_G_STACK_LO, again + GO_G_STACK_LO, 16);
}

const struct runtime_source runtime_go = {
	.name = "go",
	.kind = TASK_GO,
	.attach = go_attach,
	.version = go_version,
	.explain = go_explain,
	.snapshot = go_snapshot,
	.detach = go_detach,
	.owns_pc = go_owns_pc,
};
