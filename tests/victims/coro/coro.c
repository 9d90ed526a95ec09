/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two coroutines of ucontext, for the tests of the gate: both come to their
 * end, or with an argument one of them stays parked when the program ends.
 */

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

static ucontext_t main_context, contexts[2];
static char stacks[2][65536];

static void wait_for_more(int i)
{
	swapcontext(&contexts[i], &main_context);
}

static void work(int i)
{
	wait_for_more(i);
}

int main(int argc, char **argv)
{
	for (int i = 0; i < 2; i++) {
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = sizeof(stacks[i]);
		contexts[i].uc_link = &main_context;
		makecontext(&contexts[i], (void (*)(void))work, 1, i);
		swapcontext(&main_context, &contexts[i]);
		if (i == 0 || argc < 2)
			swapcontext(&main_context, &contexts[i]);
	}
	(void)argv;
	puts("done");
	return 0;
}
