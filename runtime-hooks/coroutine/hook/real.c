/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/coroutine/hook/real.h"

#include <dlfcn.h>
#include <errno.h>

void *real_address[REAL_COUNT];

static const char *const names[REAL_COUNT] = {
#define X(name) [REAL_##name] = #name,
	REAL_FUNCTIONS(X)
#undef X
};

long real_not_there(void)
{
	errno = ENOSYS;
	return -1;
}

static void remember(enum real_index index, void *address)
{
	if (address)
		__atomic_store_n(&real_address[index], address,
				 __ATOMIC_RELAXED);
}

void *real_lookup(enum real_index index)
{
	int saved = errno;
	void *address = dlsym(RTLD_NEXT, names[index]);

	remember(index, address);
	errno = saved;
	return address;
}

/* The three belong together: what one has made another one jumps to. */
static void remember_boost(void *plugin)
{
	for (int i = REAL_make_fcontext; i <= REAL_ontop_fcontext; i++)
		remember((enum real_index)i, dlsym(plugin, names[i]));
}

void *real_lookup_for(enum real_index index, const void *caller)
{
	int saved = errno;
	Dl_info info;

	if (!real_lookup(index) && dladdr(caller, &info)) {
		/* its own functions, and those of what it was linked with */
		void *plugin = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);

		if (plugin) {
			remember_boost(plugin);
			dlclose(plugin);
		}
	}
	errno = saved;
	return __atomic_load_n(&real_address[index], __ATOMIC_RELAXED);
}

static void __attribute__((constructor)) look_up_all(void)
{
	for (int i = 0; i < REAL_COUNT; i++)
		real_lookup((enum real_index)i);
}
