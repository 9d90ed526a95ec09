/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Contexts of Boost that are thrown away while they are parked: ten on one
 * stack, each made when the one before was left there, two on mappings of which
 * one is unmapped, and two on the heap of which one is freed. Prints how many were made and how many are gone.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define STACK_BYTES (64 * 1024)

struct transfer {
	void *context, *data;
};
void *make_fcontext(void *sp, size_t size, void (*fn)(struct transfer));
struct transfer jump_fcontext(void *to, void *data);

static char stack[STACK_BYTES] __attribute__((aligned(16)));

static void body(struct transfer t)
{
	for (;;)
		t = jump_fcontext(t.context, NULL);
}

static void start(char *lo)
{
	jump_fcontext(make_fcontext(lo + STACK_BYTES, STACK_BYTES, body), NULL);
}

static char *map(void)
{
	return mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int main(void)
{
	for (int i = 0; i < 10; i++)
		start(stack);
	char *kept = map(), *gone = map();
	if (kept == MAP_FAILED || gone == MAP_FAILED)
		return 1;
	start(kept);
	start(gone);
	munmap(gone, STACK_BYTES);
	kept = malloc(STACK_BYTES);
	gone = malloc(STACK_BYTES);
	if (!kept || !gone)
		return 1;
	start(kept);
	start(gone);
	free(gone);
	/* and what has nothing to do with it */
	free(NULL);
	free(malloc(STACK_BYTES / 2));
	printf("{\"made\": 14, \"gone\": 11}\n");
	fflush(stdout);
	return getchar() == EOF;
}
