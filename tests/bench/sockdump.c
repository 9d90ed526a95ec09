/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sockdump N [ROUNDS]: how long does it take to read N TCP sockets?
 *
 * Makes N established loopback sockets (both ends counted) in child processes
 * and a network namespace of its own, then measures, in turn in each round:
 * our dump of all of them, our dump for one child's sockets, the same dump by
 * bare recv(2) without parsing, one exact lookup, and `ss -tinope` into a pipe
 * that is read to its end. Prints one line of JSON with medians and best.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/process.h"
#include "netwatch/sockdiag.h"

#define SOCKETS_PER_CHILD 18000 /* below the usual 20,000 open files */
#define CHILDREN_MAX 64
#define ROUNDS_MAX 101
#define LOOKUPS 2000

static pid_t children[CHILDREN_MAX];
static size_t n_children;

static void die(const char *what)
{
	fprintf(stderr, "sockdump: %s: %s\n", what, strerror(errno));
	for (size_t i = 0; i < n_children; i++)
		kill(children[i], SIGKILL);
	exit(1);
}

static void die_of(struct error *err)
{
	if (!err)
		return;
	errno = 0;
	die(error_text(err));
}

static void enter_own_namespace(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	if (unshare(CLONE_NEWNET) < 0)
		return; // then among the others' sockets
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		die("lo");
	close(fd);
}

/* In a child: @pairs connections to itself, on an address of its own. */
static void make_pairs(unsigned child, unsigned pairs)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK + child);
	if (listener < 0 || bind(listener, (void *)&at, len) < 0 ||
	    listen(listener, 128) < 0)
		die("listen");
	getsockname(listener, (void *)&at, &len);
	for (unsigned i = 0; i < pairs; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (fd < 0 || connect(fd, (void *)&at, sizeof(at)) < 0 ||
		    accept(listener, NULL, NULL) < 0)
			die("connect");
	}
	close(listener);
}

static void start_child(unsigned sockets)
{
	int ready[2];
	char c;

	if (pipe(ready) < 0)
		die("pipe");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		size_t nth = n_children;
		n_children = 0; // they are not ours to kill
		make_pairs(nth, sockets / 2);
		if (write(ready[1], "", 1) == 1)
			pause();
		_exit(0);
	}
	children[n_children++] = pid;
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		die("a child failed");
	close(ready[0]);
}

static double ms_since(int64_t start)
{
	return (clock_mono_ns() - start) / 1e6;
}

static double time_dump(struct sockdiag *diag,
			const struct sockdiag_filter *filter, size_t *n)
{
	struct tcp_snapshot *snap = NULL;
	int64_t start = clock_mono_ns();

	die_of(sockdiag_dump(diag, filter, &snap));
	double ms = ms_since(start);
	*n = snap->n;
	tcp_snapshot_destroy(snap);
	return ms;
}

/* CPU time of ours so far, the kernel's work for us included. */
static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/*
 * The floor: what the kernel takes to fill our buffer, without a look at what
 * is in it but for the end.
 */
static double time_floor(void)
{
	static union {
		struct nlmsghdr align;
		char bytes[32768];
	} buf;
	struct {
		struct nlmsghdr nlh;
		struct inet_diag_req_v2 req;
	} ask = {
		.nlh = { .nlmsg_len = sizeof(ask),
			 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.req = { .sdiag_family = AF_INET,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_ext = 1 << (INET_DIAG_INFO - 1),
			 .idiag_states = 0xfff },
	};
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	int64_t start = clock_mono_ns();

	if (fd < 0 || send(fd, &ask, sizeof(ask), 0) < 0)
		die("netlink");
	do {
		if (recv(fd, buf.bytes, sizeof(buf.bytes), 0) <= 0)
			die("netlink");
	} while (buf.align.nlmsg_type == SOCK_DIAG_BY_FAMILY);
	close(fd);
	return ms_since(start);
}

static double time_ss(size_t *bytes)
{
	static char buf[1 << 16];
	int64_t start = clock_mono_ns();
	FILE *f = popen("exec ss -tinope", "r");
	size_t n;

	if (!f)
		die("ss");
	for (*bytes = 0; (n = fread(buf, 1, sizeof(buf), f)) > 0;)
		*bytes += n;
	if (pclose(f) != 0)
		die("ss failed");
	return ms_since(start);
}

/* Microseconds for one. */
static double time_lookup(struct sockdiag *diag, const struct tcp_snapshot *all)
{
	struct tcp_socket s;
	int64_t start = clock_mono_ns();

	for (size_t i = 0; i < LOOKUPS; i++) {
		// spread over the table, or it would all be in the cache
		const struct tcp_socket *t = &all->v[i * 7919 % all->n];

		die_of(sockdiag_lookup(diag, &t->local, &t->remote, t->ifindex,
				       t->cookie, &s));
	}
	return ms_since(start) * 1e3 / LOOKUPS;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Ascending inodes of the sockets of the first child. */
static uint64_t *inodes_of_child(size_t *n_ret)
{
	AUTO_PROCESS struct process *p = NULL;
	AUTO_ARENA struct arena *arena = arena_create();
	struct process_fds fds;
	size_t n = 0;

	die_of(process_open(children[0], &p));
	die_of(process_fds(p, arena, &fds));
	uint64_t *v = calloc(fds.n, sizeof(*v));
	for (size_t i = 0; i < fds.n; i++) {
		if (fds.v[i].kind == PROCESS_FD_SOCKET)
			v[n++] = fds.v[i].inode;
	}
	*n_ret = n;
	return v;
}

static int compare_inodes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

enum column { FLOOR, ALL, ALL_CPU, PROCESS, LOOKUP, SS, COLUMNS };

static const char *const column_names[COLUMNS] = {
	"floor_ms",	   "dump_all_ms", "dump_all_cpu_ms",
	"dump_process_ms", "lookup_us",	  "ss_tinope_ms",
};

static void print_columns(double v[COLUMNS][ROUNDS_MAX], size_t rounds)
{
	for (size_t i = 0; i < COLUMNS; i++) {
		qsort(v[i], rounds, sizeof(v[i][0]), compare_doubles);
		printf(",\"%s\":%.2f,\"%s_best\":%.2f", column_names[i],
		       v[i][rounds / 2], column_names[i], v[i][0]);
	}
}

static void measure(unsigned sockets, size_t rounds)
{
	static double v[COLUMNS][ROUNDS_MAX];
	struct sockdiag_filter filter = { 0 };
	AUTO_FREE uint64_t *inodes = inodes_of_child(&filter.n_inodes);
	AUTO_SOCKETS struct tcp_snapshot *snap = NULL;
	struct sockdiag *diag = NULL;
	size_t n_all = 0, n_one = 0, bytes = 0;

	qsort(inodes, filter.n_inodes, sizeof(*inodes), compare_inodes);
	filter.inodes = inodes;
	die_of(sockdiag_open(-1, NULL, &diag));
	die_of(sockdiag_dump(diag, NULL, &snap));
	for (size_t i = 0; i < rounds; i++) {
		double before = cpu_ms();

		v[ALL][i] = time_dump(diag, NULL, &n_all);
		v[ALL_CPU][i] = cpu_ms() - before;
		v[PROCESS][i] = time_dump(diag, &filter, &n_one);
		v[FLOOR][i] = time_floor();
		v[LOOKUP][i] = time_lookup(diag, snap);
		v[SS][i] = time_ss(&bytes);
	}
	sockdiag_close(diag);
	printf("{\"sockets\":%u,\"seen\":%zu,\"process_sockets\":%zu,"
	       "\"ss_bytes\":%zu,\"rounds\":%zu",
	       sockets, n_all, n_one, bytes, rounds);
	print_columns(v, rounds);
	printf("}\n");
}

int main(int argc, char **argv)
{
	unsigned sockets = argc > 1 ? atoi(argv[1]) : 0;
	unsigned rounds = argc > 2 ? atoi(argv[2]) : 7;

	if (sockets < 2 || sockets > SOCKETS_PER_CHILD * CHILDREN_MAX ||
	    rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: sockdump N [ROUNDS]\n");
		return 64;
	}
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	enter_own_namespace();
	for (unsigned left = sockets; left > 1;) {
		unsigned n = left < SOCKETS_PER_CHILD ? left
						      : SOCKETS_PER_CHILD;

		start_child(n);
		left -= n & ~1u;
	}
	measure(sockets, rounds);
	for (size_t i = 0; i < n_children; i++)
		kill(children[i], SIGKILL);
	while (wait(NULL) > 0)
		continue;
	return 0;
}
