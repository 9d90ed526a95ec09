/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: states N
 *
 * A program of State Threads: one thread in each kind of wait, and N that read
 * from one socket by via_even() and from another by via_odd(), in turn, while
 * one writes to them. Prints "KIND FD" for the first, "pair EVEN ODD" for each
 * of the others, and "." at last. Ends with its input.
 */
#include <err.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <st.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAMED __attribute__((noinline, noclone))
#define STACK_BYTES (64 << 10)
#define FRAME() __asm__ volatile("" ::: "memory") /* no tail call */

struct pair {
	st_netfd_t reads[2];
	int writes[2];
};

static st_cond_t never;

static st_netfd_t one_end(int *other)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		err(1, "socketpair");
	*other = pair[1];
	return st_netfd_open_socket(pair[0]);
}

static NAMED void *only_reads(void *arg)
{
	char c;

	st_read(arg, &c, 1, ST_UTIME_NO_TIMEOUT);
	FRAME();
	return NULL;
}

static NAMED void *reads_for_an_hour(void *arg)
{
	char c;

	st_read(arg, &c, 1, 3600 * 1000000ull);
	FRAME();
	return NULL;
}

static NAMED void *only_writes(void *arg)
{
	static char much[1 << 20];

	st_write(arg, much, sizeof(much), ST_UTIME_NO_TIMEOUT);
	FRAME();
	return NULL;
}

static NAMED void *only_accepts(void *arg)
{
	st_accept(arg, NULL, NULL, ST_UTIME_NO_TIMEOUT);
	FRAME();
	return NULL;
}

static NAMED void *only_sleeps(void *arg)
{
	(void)arg;
	st_sleep(3600);
	FRAME();
	return NULL;
}

static NAMED void *waits_for_a_condition(void *arg)
{
	(void)arg;
	st_cond_wait(never);
	FRAME();
	return NULL;
}

static NAMED void via_even(struct pair *p)
{
	volatile char room[300];

	st_read(p->reads[0], (char *)room, 1, ST_UTIME_NO_TIMEOUT);
	FRAME();
}

static NAMED void via_odd(struct pair *p)
{
	volatile char room[40];

	st_read(p->reads[1], (char *)room, 1, ST_UTIME_NO_TIMEOUT);
	FRAME();
}

static NAMED void *takes_turns(void *arg)
{
	for (;;) {
		via_even(arg);
		via_odd(arg);
	}
	return NULL;
}

static void begin(void *(*f)(void *), void *arg)
{
	if (!st_thread_create(f, arg, 0, STACK_BYTES))
		err(1, "st_thread_create");
}

static void begin_on(const char *kind, void *(*f)(void *), st_netfd_t fd)
{
	printf("%s %d\n", kind, fd ? st_netfd_fileno(fd) : -1);
	begin(f, fd);
}

static void begin_pair(struct pair *p)
{
	for (int i = 0; i < 2; i++)
		p->reads[i] = one_end(&p->writes[i]);
	printf("pair %d %d\n", st_netfd_fileno(p->reads[0]),
	       st_netfd_fileno(p->reads[1]));
	begin(takes_turns, p);
}

int main(int argc, char **argv)
{
	int n = argc == 2 ? atoi(argv[1]) : -1, other;
	struct pair *pairs = calloc((size_t)n + 1, sizeof(*pairs));
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	unsigned turn = 0;

	if (n < 0 || !pairs || st_init() || listen(listener, 1))
		err(1, "states");
	never = st_cond_new();
	begin_on("read", only_reads, one_end(&other));
	begin_on("timed", reads_for_an_hour, one_end(&other));
	begin_on("write", only_writes, one_end(&other));
	begin_on("accept", only_accepts, st_netfd_open_socket(listener));
	begin_on("sleep", only_sleeps, NULL);
	begin_on("condition", waits_for_a_condition, NULL);
	for (int i = 0; i < n; i++)
		begin_pair(&pairs[i]);
	printf(".\n");
	fflush(stdout);
	for (;; turn++) {
		for (int i = 0; i < n; i++)
			if ((unsigned)rand() % 4 == 0)
				for (int k = 0; k < 2; k++)
					if (write(pairs[i].writes[k], "x", 1) !=
					    1)
						err(1, "write");
		st_usleep(n ? 200 : 1000000);
	}
}
