/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: race THREADS ROUNDS
 *
 * THREADS create, run, park and end tasks as fast as they can, and end each
 * other's. Built together with the table itself, under ThreadSanitizer. Prints
 * {"created", "ended"}.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime-hooks/coroutine/include/stranded/hook.h"

#define SHELF 64

static _Atomic(struct stranded_task *) shelf[SHELF];
static int rounds;
static _Atomic(long) ended;

static void *work(void *arg)
{
	unsigned seed = (unsigned)(long)arg;

	for (int i = 0; i < rounds; i++) {
		struct stranded_task *t =
			stranded_task_create("racer", NULL, NULL);

		stranded_task_switch(t);
		stranded_unpark(t);
		stranded_park_more(t, i, &seed);
		stranded_park(t, STRANDED_COND, -1);
		stranded_task_switch(NULL);
		/* handed over, to who ends it */
		t = __atomic_exchange_n(&shelf[rand_r(&seed) % SHELF], t,
					__ATOMIC_ACQ_REL);
		if (t) {
			stranded_task_end(t);
			ended++;
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[64];
	int n = argc > 1 ? atoi(argv[1]) : 4;

	rounds = argc > 2 ? atoi(argv[2]) : 10000;
	for (long i = 0; i < n; i++)
		pthread_create(&t[i], NULL, work, (void *)(i + 1));
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	printf("{\"created\": %d, \"ended\": %ld}\n", n * rounds, ended);
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
