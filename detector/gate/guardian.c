/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/gate/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "detector/gate/catch.h"

/* Moves both to 3 and 4, so that all else can be closed. */
static bool keep_two(int *a, int *b)
{
	int low_a = fcntl(*a, F_DUPFD_CLOEXEC, 16);
	int low_b = fcntl(*b, F_DUPFD_CLOEXEC, 16);

	if (low_a < 0 || low_b < 0)
		return false;
	*a = dup2(low_a, 3);
	*b = dup2(low_b, 4);
	syscall(SYS_close_range, 5, ~0U, 0);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd);
	if (null > 4)
		close(null);
	return *a == 3 && *b == 4;
}

static void wait_for_end(int pipe)
{
	char byte;
	ssize_t n;

	do {
		n = read(pipe, &byte, 1);
	} while (n > 0 || (n < 0 && errno == EINTR));
}

/* POLLHUP: nobody has the filter any more (Linux 5.10). */
static void answer_all(int listener)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };
	union catch_notice notice;

	for (;;) {
		struct catch_exit e;

		if (poll(&p, 1, -1) < 0) {
			if (errno == EINTR)
				continue;
			return;
		}
		if (p.revents & POLLIN && !catch_next(listener, &notice, &e))
			catch_let_go(listener, e.id);
		else if (p.revents & (POLLHUP | POLLERR | POLLNVAL))
			return;
	}
}

/* Those that have had their answer are no longer known: no harm is done. */
static void answer_held(int listener, struct guardian_memory *memory)
{
	uint64_t last = memory->notice.n.id;

	if (last)
		catch_let_go(listener, last);
	for (size_t i = 0; i < GUARDIAN_SLOTS; i++) {
		uint64_t id = atomic_load(&memory->held[i]);

		if (id)
			catch_let_go(listener, id);
	}
}

static void __attribute__((noreturn))
be_guardian(int listener, int pipe, struct guardian_memory *memory)
{
	setsid();
	prctl(PR_SET_NAME, "stranded-guard");
	for (int sig = 1; sig < NSIG; sig++)
		if (sig != SIGCHLD)
			signal(sig, SIG_IGN);
	if (chdir("/") == 0)
		(void)!keep_two(&listener, &pipe);
	wait_for_end(pipe);
	answer_held(listener, memory);
	answer_all(listener);
	_exit(0);
}

struct error *guardian_create(int listener, struct guardian *ret)
{
	int ends[2];
	void *memory = mmap(NULL, sizeof(*ret->memory), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return error_os(errno, "cannot share memory with the guardian");
	ret->memory = memory;
	ret->next = 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_os(errno, "cannot make a pipe to the guardian");
	ret->pid = fork();
	if (!ret->pid) {
		close(ends[1]);
		be_guardian(listener, ends[0], memory);
	}
	int error = errno;
	close(ends[0]);
	ret->pipe = ends[1];
	if (ret->pid > 0)
		return NULL;
	close(ends[1]);
	return error_os(error, "cannot start the guardian");
}

size_t guardian_hold(struct guardian *g, uint64_t id)
{
	for (size_t n = 0; n < GUARDIAN_SLOTS; n++) {
		size_t slot = g->next;

		g->next = slot + 1 < GUARDIAN_SLOTS ? slot + 1 : 0;
		if (atomic_load(&g->memory->held[slot]))
			continue;
		atomic_store(&g->memory->held[slot], id);
		return slot;
	}
	return GUARDIAN_NO_SLOT;
}

void guardian_strike(struct guardian *g, size_t slot)
{
	atomic_store(&g->memory->held[slot], 0);
}

void guardian_release(struct guardian *g, bool wait)
{
	close(g->pipe);
	g->pipe = -1;
	while (wait && waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	munmap(g->memory, sizeof(*g->memory));
}
