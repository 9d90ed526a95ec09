/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: copies HOOK LIBRARY...
 *
 * Opens the hook and closes it again; then each LIBRARY for itself, and has it
 * park three tasks of its own. Prints {"pid", "kept", "tasks"}: is the hook's
 * code still there, and are how many tasks parked; goes on after a line of
 * input. -DLIBRARY builds a library, with a hook of its own linked in.
 */
#include <stranded/hook.h>

#ifdef LIBRARY

int park_three(void);

int park_three(void)
{
	for (int i = 0; i < 3; i++) {
		struct stranded_task *task =
			stranded_task_create(NAME, NULL, NULL);

		if (!task)
			return 0;
		stranded_unpark(task);
		stranded_park(task, STRANDED_COND, -1);
	}
	return 3;
}

#else

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	void *hook = argc > 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	int parked = 0;

	if (!hook || dlclose(hook)) {
		puts(dlerror());
		return 1;
	}
	hook = dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD);
	for (int i = 2; i < argc; i++) {
		void *library = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
		int (*park_three)(void);

		if (!library) {
			puts(dlerror());
			return 1;
		}
		*(void **)&park_three = dlsym(library, "park_three");
		parked += park_three();
	}
	printf("{\"pid\": %d, \"kept\": %d, \"tasks\": %d}\n", (int)getpid(),
	       hook != NULL, parked);
	fflush(stdout);
	return getchar() == EOF;
}

#endif
