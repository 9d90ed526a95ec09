/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: ucontexts kinds
 *        ucontexts threads N THREADS
 *        ucontexts fork N
 *        ucontexts saved
 *        ucontexts freed
 *
 * Coroutines on ucontext(3) that ask a socket and give way. Each mode prints
 * what is true of them, {"fds", "created", "ended"}, and goes on after a line
 * of input.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_BYTES (64 * 1024)

struct coroutine {
	ucontext_t here;
	ucontext_t *back; /* of the thread that has resumed it */
	int fd, peer;
	int turns;
	char *stack;
};

static void must(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "ucontexts: %s\n", what);
		exit(1);
	}
}

static void ask(int fd)
{
	char c;

	must(recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "no EAGAIN");
}

static void give_way(struct coroutine *c)
{
	ask(c->fd);
	must(!swapcontext(&c->here, c->back), "swapcontext");
}

static void body(unsigned hi, unsigned lo)
{
	struct coroutine *c = (void *)((uintptr_t)hi << 32 | lo);

	for (;;) {
		c->turns++;
		give_way(c);
	}
}

static void prepare(struct coroutine *c, void (*func)(void), int argc,
		    unsigned a, unsigned b, ucontext_t *link)
{
	getcontext(&c->here);
	c->here.uc_stack.ss_sp = c->stack;
	c->here.uc_stack.ss_size = STACK_BYTES;
	c->here.uc_link = link;
	makecontext(&c->here, func, argc, a, b);
}

static void make(struct coroutine *c, void (*func)(void), int argc, unsigned a,
		 unsigned b, ucontext_t *link)
{
	int s[2];

	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, s), "socketpair");
	c->fd = s[0];
	c->peer = s[1];
	c->stack = malloc(STACK_BYTES);
	prepare(c, func, argc, a, b, link);
}

static void make_body(struct coroutine *c)
{
	make(c, (void (*)(void))body, 2, (unsigned)((uintptr_t)c >> 32),
	     (unsigned)(uintptr_t)c, NULL);
}

static void resume(struct coroutine *c)
{
	ucontext_t back;

	c->back = &back;
	must(!swapcontext(&back, &c->here), "swapcontext");
}

static void say(struct coroutine *const *parked, int n, int created, int ended)
{
	printf("{\"pid\": %d, \"fds\": [", (int)getpid());
	for (int i = 0; i < n; i++)
		printf("%s%d", i ? ", " : "", parked[i]->fd);
	printf("], \"created\": %d, \"ended\": %d}\n", created, ended);
	fflush(stdout);
}

static void next_line(void)
{
	char line[64];

	must(fgets(line, sizeof(line), stdin) != NULL, "end of input");
}

/* kinds: every way to begin, to be resumed and to end. */

static ucontext_t main_context;
static struct coroutine first, second, third, looper;

static void eight(int a, int b, int c, int d, int e, int f, int g, int h)
{
	must(a == 1 && b == 2 && c == 3 && d == 4 && e == 5 && f == 6 &&
		     g == 7 && h == 8,
	     "arguments");
	first.back = &main_context;
	give_way(&first);
	/* ends, and uc_link leads to the second */
}

static void linked(void)
{
	second.back = &main_context;
	give_way(&second);
	/* ends by leaving for good */
	setcontext(&main_context);
}

static void counts(void)
{
	volatile int loops = 0;
	ucontext_t again;

	getcontext(&again);
	if (++loops < 3)
		setcontext(&again);
	must(loops == 3, "a context of getcontext was lost");
	looper.back = &main_context;
	give_way(&looper);
}

static void on_signal(int signum)
{
	(void)signum;
	/* from a handler, as preemptive schedulers do */
	resume(&third);
}

static void kinds(void)
{
	struct coroutine *parked[] = { &first, &looper, &third };

	make(&second, linked, 0, 0, 0, NULL);
	make(&first, (void (*)(void))eight, 0, 0, 0, &second.here);
	makecontext(&first.here, (void (*)(void))eight, 8, 1, 2, 3, 4, 5, 6, 7,
		    8);
	make(&looper, counts, 0, 0, 0, NULL);
	make_body(&third);
	swapcontext(&main_context, &first.here);
	swapcontext(&main_context, &looper.here);
	signal(SIGUSR1, on_signal);
	raise(SIGUSR1);
	raise(SIGUSR1);
	must(third.turns == 2, "turns");
	/* the first's line was made twice, on one stack */
	say(parked, 3, 5, 1);
	next_line();
	swapcontext(&main_context, &first.here);
	parked[0] = &second;
	say(parked, 3, 5, 2);
	next_line();
	swapcontext(&main_context, &second.here);
	say(parked + 1, 2, 5, 3);
	next_line();
}

/* threads: each is resumed by whoever takes it next. */

static struct coroutine *all;
static int n_all, next_one;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void body_in_turn(unsigned hi, unsigned lo)
{
	struct coroutine *c = (void *)((uintptr_t)hi << 32 | lo);

	for (;;) {
		ask(c->fd);
		/* the next carrier may take it when its context is whole:
		 * so the round is counted by who comes back from it */
		must(!swapcontext(&c->here, c->back), "swapcontext");
	}
}

static void *carry_counted(void *arg)
{
	(void)arg;
	for (;;) {
		pthread_mutex_lock(&lock);
		int i = next_one++;
		pthread_mutex_unlock(&lock);
		if (i >= 20 * n_all)
			return NULL;
		struct coroutine *c = &all[i % n_all];
		while (__atomic_load_n(&c->turns, __ATOMIC_ACQUIRE) !=
		       i / n_all)
			sched_yield();
		ucontext_t back;
		c->back = &back;
		must(!swapcontext(&back, &c->here), "swapcontext");
		__atomic_add_fetch(&c->turns, 1, __ATOMIC_RELEASE);
	}
}

static struct coroutine **make_all(int n)
{
	struct coroutine **list = calloc((size_t)n, sizeof(*list));

	n_all = n;
	all = calloc((size_t)n, sizeof(*all));
	for (int i = 0; i < n; i++) {
		struct coroutine *c = list[i] = &all[i];

		make(c, (void (*)(void))body_in_turn, 2,
		     (unsigned)((uintptr_t)c >> 32), (unsigned)(uintptr_t)c,
		     NULL);
	}
	return list;
}

static void threads(int n, int n_threads)
{
	struct coroutine **list = make_all(n);
	pthread_t t[64];

	for (int i = 0; i < n_threads; i++)
		must(!pthread_create(&t[i], NULL, carry_counted, NULL),
		     "pthread_create");
	for (int i = 0; i < n_threads; i++)
		pthread_join(t[i], NULL);
	say(list, n, n, 0);
	next_line();
}

/* fork: a child has them all, and what it does is its own. */
static void forks(int n)
{
	struct coroutine **list = make_all(n);

	for (int i = 0; i < n; i++)
		resume(list[i]);
	pid_t child = fork();
	must(child >= 0, "fork");
	if (!child) {
		/* the test ends its parent, and knows nothing of it */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < n; i += 2) {
			/* on the stack of one that will not go on */
			prepare(&all[i], (void (*)(void))body_in_turn, 2,
				(unsigned)((uintptr_t)&all[i] >> 32),
				(unsigned)(uintptr_t)&all[i], NULL);
			resume(&all[i]);
		}
		say(list, n, n + (n + 1) / 2, (n + 1) / 2);
		pause();
	}
	say(list, n, n, 0);
	next_line();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* saved: switches by getcontext() and setcontext() alone; and contexts that
 * are copied while they are parked. */

static struct coroutine savers[3], movers[2];
static ucontext_t moved[2];

static void leave_for_main(ucontext_t *here)
{
	volatile int back = 0;

	getcontext(here);
	if (!back) {
		back = 1;
		setcontext(&main_context);
	}
}

static void saver(int i, int rounds)
{
	for (int k = 0; k < rounds; k++) {
		ask(savers[i].fd);
		leave_for_main(&savers[i].here);
		savers[i].turns++;
	}
	/* the function that has saved has returned: this is the end */
	setcontext(&main_context);
}

static void enter(const ucontext_t *where)
{
	volatile int back = 0;

	getcontext(&main_context);
	if (!back) {
		back = 1;
		setcontext(where);
	}
}

static void saved(void)
{
	struct coroutine *parked[] = { &savers[0], &savers[1], &movers[0],
				       &movers[1], &savers[2] };

	for (unsigned i = 0; i < 3; i++)
		make(&savers[i], (void (*)(void))saver, 2, i, i < 2 ? 100 : 2,
		     NULL);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 3; i++)
			enter(&savers[i].here);
	must(savers[0].turns == 1 && savers[2].turns == 1, "turns");
	for (int i = 0; i < 2; i++) {
		make_body(&movers[i]);
		resume(&movers[i]);
		memcpy(&moved[i], &movers[i].here, sizeof(moved[i]));
	}
	say(parked, 5, 5, 0);
	next_line();
	enter(&savers[2].here);
	/* they run, and park, in their old contexts */
	for (int i = 0; i < 2; i++) {
		ucontext_t back;

		movers[i].back = &back;
		must(!swapcontext(&back, &moved[i]), "swapcontext");
		must(movers[i].turns == 2, "turns of what was copied");
	}
	say(parked, 4, 5, 1);
	next_line();
}

/* freed: the last switch is like any other, and the scheduler frees the
 * stack; by sizes, from malloc(), aligned to pages, and mapped. */

static struct coroutine thrown[40];

static size_t bytes(int i)
{
	static const size_t more[] = { 0, 1, 8, 15, 70000, 200000 };

	return STACK_BYTES + more[i % 6];
}

static char *block(int i)
{
	size_t size = bytes(i);
	void *p = NULL;

	if (i % 4 == 3)
		must(!posix_memalign(&p, 4096, size), "posix_memalign");
	else if (i % 4 == 2)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p ? p : malloc(size);
}

static void freed(void)
{
	struct coroutine *parked[40];
	int n = 0;

	for (int i = 0; i < 40; i++) {
		struct coroutine *c = &thrown[i];

		make_body(c);
		char *was = c->stack;
		c->stack = block(i);
		getcontext(&c->here);
		c->here.uc_stack.ss_sp = c->stack;
		c->here.uc_stack.ss_size = bytes(i);
		makecontext(&c->here, (void (*)(void))body, 2,
			    (unsigned)((uintptr_t)c >> 32),
			    (unsigned)(uintptr_t)c);
		free(was);
		resume(c);
	}
	for (int i = 0; i < 40; i++) {
		if (i % 3 && i % 4 == 2)
			munmap(thrown[i].stack, bytes(i));
		else if (i % 3)
			free(thrown[i].stack);
		else
			parked[n++] = &thrown[i];
	}
	/* each was made twice */
	say(parked, n, 80, 80 - n);
	next_line();
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "freed")) {
		freed();
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "saved")) {
		saved();
		return 0;
	}
	if (argc > 3 && !strcmp(argv[1], "threads"))
		threads(atoi(argv[2]), atoi(argv[3]));
	else if (argc > 2 && !strcmp(argv[1], "fork"))
		forks(atoi(argv[2]));
	else
		kinds();
	return 0;
}
