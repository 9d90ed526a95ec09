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

void *real_lookup_for(enum real_index index, const void *caller)
{
	int saved = errno;
	Dl_info info;
	void *address = real_lookup(index);

	if (!address && dladdr(caller, &info)) {
		/* its own functions, and those of what it was linked with */
		void *plugin = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);

		if (plugin) {
			address = dlsym(plugin, names[index]);
			dlclose(plugin);
		}
		remember(index, address);
	}
	errno = saved;
	return address;
}

static void __attribute__((constructor)) look_up_all(void)
{
	for (int i = 0; i < REAL_COUNT; i++)
		real_lookup((enum real_index)i);
}
