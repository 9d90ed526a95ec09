/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/runtime.h"

#include "base/log.h"
#include "runtime-hooks/coroutine/coroutine.h"
#include "runtime-hooks/go/go.h"
#include "runtime-hooks/thread/thread.h"

const struct runtime_options runtime_everything = {
	.stacks = true,
	.objects = true,
	.fds = true,
};

const struct runtime_source *const runtime_sources[] = {
	&runtime_go,
	&runtime_coroutine,
	&runtime_thread,
	NULL,
};

/* "looks like it, but" says more than "is not", and so does what came first. */
static int nearness(const struct error *err)
{
	return error_code(err) == ERROR_ABSENT	      ? 0
	       : error_code(err) == ERROR_UNSUPPORTED ? 1
						      : 2;
}

static void keep_nearest(struct error **nearest, struct error *err)
{
	if (!*nearest || nearness(err) > nearness(*nearest)) {
		error_free(*nearest);
		*nearest = err;
	} else {
		error_free(err);
	}
}

struct error *
runtime_attach_all(const struct process *p,
		   struct runtime_attached ret[RUNTIME_MAX_SOURCES],
		   size_t *n_ret, struct error **why_ret)
{
	struct error *nearest = NULL;
	bool runtime = false;
	size_t n = 0;

	for (size_t i = 0; runtime_sources[i] && n < RUNTIME_MAX_SOURCES; i++) {
		const struct runtime_source *s = runtime_sources[i];
		struct error *err = s->attach(p, &ret[n].context);

		if (!err) {
			runtime |= s->kind != TASK_THREAD;
			ret[n++].source = s;
			continue;
		}
		log_debug("go", "source %s: %s", s->name, error_text(err));
		keep_nearest(&nearest, err);
	}
	*n_ret = n;
	if (!n)
		return nearest ? nearest
			       : error_new(ERROR_UNSUPPORTED,
					   "no task source fits");
	if (runtime || !why_ret) {
		error_free(nearest);
		nearest = NULL;
	}
	if (why_ret)
		*why_ret = nearest;
	return NULL;
}

void runtime_detach_all(struct runtime_attached *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		v[i].source->detach(v[i].context);
}
