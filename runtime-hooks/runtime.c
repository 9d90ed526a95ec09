/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/runtime.h"

#include "base/log.h"
#include "runtime-hooks/go/go.h"

const struct runtime_options runtime_everything = {
	.stacks = true,
	.objects = true,
	.fds = true,
};

const struct runtime_source *const runtime_sources[] = { &runtime_go, NULL };

struct error *runtime_attach(const struct process *p,
			     const struct runtime_source **source_ret,
			     void **ctx_ret)
{
	struct error *nearest = NULL;

	for (size_t i = 0; runtime_sources[i]; i++) {
		struct error *err = runtime_sources[i]->attach(p, ctx_ret);

		if (!err) {
			error_free(nearest);
			*source_ret = runtime_sources[i];
			return NULL;
		}
		log_debug("go", "source %s: %s", runtime_sources[i]->name,
			  error_text(err));
		// "looks like it, but" says more than "is not"
		if (!nearest || error_code(nearest) == ERROR_UNSUPPORTED) {
			error_free(nearest);
			nearest = err;
		} else {
			error_free(err);
		}
	}
	return nearest ? nearest
		       : error_new(ERROR_UNSUPPORTED, "no task source fits");
}
