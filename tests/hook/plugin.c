/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: plugin LIBRARY
 *
 * Opens LIBRARY for itself alone, calls its run(), and prints what that
 * returned. -DPLUGIN builds the library: ten switches of Boost.Context, which
 * only the library is linked with.
 */
#ifdef PLUGIN

#include <stddef.h>

struct transfer {
	void *context, *data;
};
void *make_fcontext(void *sp, size_t size, void (*fn)(struct transfer));
struct transfer jump_fcontext(void *to, void *data);

static char stack[64 * 1024] __attribute__((aligned(16)));

static void body(struct transfer t)
{
	for (long n = 0;; n++)
		t = jump_fcontext(t.context, (void *)n);
}

long run(void)
{
	void *context =
		make_fcontext(stack + sizeof(stack), sizeof(stack), body);
	struct transfer t = { context, NULL };

	for (int i = 0; i < 10; i++)
		t = jump_fcontext(t.context, NULL);
	return (long)t.data;
}

#else

#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL)
				 : NULL;
	long (*run)(void);

	if (!library) {
		puts(dlerror());
		return 1;
	}
	*(void **)&run = dlsym(library, "run");
	printf("%ld\n", run());
	return 0;
}

#endif
