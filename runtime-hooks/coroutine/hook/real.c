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

static long not_there(void)
{
	errno = ENOSYS;
	return -1;
}

void *real_lookup(enum real_index index)
{
	int saved = errno;
	void *address = dlsym(RTLD_NEXT, names[index]);

	if (!address)
		address = (void *)not_there;
	__atomic_store_n(&real_address[index], address, __ATOMIC_RELAXED);
	errno = saved;
	return address;
}

static void __attribute__((constructor)) look_up_all(void)
{
	for (int i = 0; i < REAL_COUNT; i++)
		real_lookup((enum real_index)i);
}
