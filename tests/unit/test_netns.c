/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/netns.h"

#include <linux/netlink.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "base/cleanup.h"
#include "netwatch/sockdiag.h"
#include "tests/unit/sockets.h"
#include "tests/unit/unit.h"

static struct error *note_netns(void *arg)
{
	*(uint64_t *)arg = netns_own();
	return NULL;
}

static struct error *refuse(void *arg UNUSED)
{
	return error_new(ERROR_CORRUPT, "as told");
}

static void
test_function_runs_inside_and_the_caller_stays_outside(void **state UNUSED)
{
	AUTO_CLOSE int fd = new_netns();
	uint64_t before = netns_own(), inside = 0;

	NEEDS("CAP_SYS_ADMIN", fd >= 0);
	assert_int_not_equal(netns_inode(fd), before);
	assert_ok(netns_run(fd, note_netns, &inside));
	assert_int_equal(inside, netns_inode(fd));
	assert_int_equal(netns_own(), before);
	assert_error(netns_run(fd, refuse, NULL), ERROR_CORRUPT, "as told");
	assert_int_equal(netns_own(), before);
}

static void test_own_namespace_needs_no_entering(void **state UNUSED)
{
	uint64_t inside = 0;

	assert_ok(netns_run(-1, note_netns, &inside));
	assert_int_equal(inside, netns_own());
	assert_error(netns_run(-1, refuse, NULL), ERROR_CORRUPT, "as told");
}

static void test_what_is_no_network_namespace_is_refused(void **state UNUSED)
{
	AUTO_CLOSE int other = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	uint64_t before = netns_own(), inside = 0;

	assert_error(netns_run(other, note_netns, &inside), ERROR_USAGE,
		     "not a network namespace");
	assert_error(netns_run(file, note_netns, &inside), ERROR_USAGE,
		     "not a network namespace");
	assert_int_equal(inside, 0);
	assert_int_equal(netns_own(), before);
}

static int enter_as_nobody(void *arg)
{
	uint64_t before = netns_own(), inside = 0;
	struct error *err;

	if (setuid(65534) < 0)
		return 1;
	err = netns_run(*(int *)arg, note_netns, &inside);
	if (!err || error_code(err) != ERROR_DENIED ||
	    !strstr(error_text(err), "CAP_SYS_ADMIN"))
		return 2;
	error_free(err);
	return inside == 0 && netns_own() == before ? 0 : 3;
}

static void test_denied_namespace_names_the_capability(void **state UNUSED)
{
	AUTO_CLOSE int fd = new_netns();

	NEEDS("root", fd >= 0 && geteuid() == 0);
	in_child(enter_as_nobody, &fd);
}

static void test_netlink_socket_sees_the_other_namespace(void **state UNUSED)
{
	AUTO_CLOSE int fd = new_netns();
	struct sockdiag *here = NULL, *there = NULL;

	NEEDS("CAP_SYS_ADMIN", fd >= 0);
	struct pair p = make_pair(PLAIN4);
	uint64_t inode = truth_of(p.client).inode;
	assert_ok(sockdiag_open(-1, NULL, &here));
	assert_ok(sockdiag_open(fd, NULL, &there));
	assert_int_equal(sockdiag_netns(there), netns_inode(fd));
	AUTO_SOCKETS struct tcp_snapshot *ours = NULL, *theirs = NULL;
	assert_ok(sockdiag_dump(here, NULL, &ours));
	assert_ok(sockdiag_dump(there, NULL, &theirs));
	assert_non_null(tcp_snapshot_find(ours, inode));
	assert_int_equal(theirs->n, 0);
	sockdiag_close(here);
	sockdiag_close(there);
	close_pair(&p);
}

static void test_receiving_from_netlink_ends_after_a_while(void **state UNUSED)
{
	struct nl_sock *sk = NULL;
	struct timeval t = { 0 };
	socklen_t len = sizeof(t);

	assert_ok(netns_netlink(-1, NETLINK_ROUTE, &sk));
	assert_int_equal(getsockopt(nl_socket_get_fd(sk), SOL_SOCKET,
				    SO_RCVTIMEO, &t, &len),
			 0);
	assert_int_equal(t.tv_sec, 5);
	nl_socket_free(sk);
}

static void enter_new(void *arg UNUSED)
{
	if (unshare(CLONE_NEWNET) < 0)
		_exit(1);
}

static const struct netns_ref *find_ref(const struct netns_list *list,
					uint64_t inode)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->v[i].inode == inode)
			return &list->v[i];
	}
	return NULL;
}

static void test_namespace_of_a_process_is_enumerated(void **state UNUSED)
{
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_PROCESS struct process *p = NULL;
	struct gaps gaps = { .arena = arena };
	struct netns_list list;
	int fd = -1;

	NEEDS("root", geteuid() == 0);
	pid_t pid = child_start(enter_new, NULL);
	assert_ok(process_open(pid, &p));
	assert_ok(netns_enumerate(arena, &list, &gaps));
	assert_int_equal(list.v[0].inode, netns_own());
	for (size_t i = 2; i < list.n; i++)
		assert_true(list.v[i - 1].inode < list.v[i].inode);
	const struct netns_ref *ref = find_ref(&list, p->netns);
	assert_non_null(ref);
	assert_int_equal(ref->pid, pid);
	assert_non_null(strstr(ref->name, "(test_netns)"));
	assert_ok(netns_open_ref(ref, &fd));
	assert_int_equal(netns_inode(fd), p->netns);
	close(fd);
	assert_ok(netns_open_process(p, &fd));
	assert_int_equal(netns_inode(fd), p->netns);
	close(fd);
	child_end(pid);
	assert_error(netns_open_ref(ref, &fd), ERROR_GONE, "is gone");
	assert_error(netns_open_process(p, &fd), ERROR_GONE, "");
}

/* In a mount namespace of its own, so that nothing is left behind. */
static int name_a_namespace(void *arg UNUSED)
{
	char path[] = "/tmp/stranded netns XXXXXX";
	struct arena *arena = arena_create();
	struct gaps gaps = { .arena = arena };
	struct netns_list list;
	int file = mkstemp(path), fd = -1, rc = 0;

	if (file < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 1;
	AUTO_CLOSE int ns = new_netns();
	char from[64];
	snprintf(from, sizeof(from), "/proc/self/fd/%d", ns);
	if (mount(from, path, NULL, MS_BIND, NULL) < 0)
		return 2;
	struct error *err = netns_enumerate(arena, &list, &gaps);
	const struct netns_ref *ref = err ? NULL
					  : find_ref(&list, netns_inode(ns));
	if (!ref || strcmp(ref->name, path) != 0 || ref->pid != 0)
		rc = 3;
	else if (netns_open_ref(ref, &fd) || netns_inode(fd) != ref->inode)
		rc = 4;
	close(fd);
	umount2(path, MNT_DETACH);
	// the name is there, but it is an ordinary file now
	if (rc == 0) {
		err = netns_open_ref(ref, &fd);
		rc = error_catch(&err, ERROR_GONE) ? 0 : 5;
	}
	unlink(path);
	arena_destroy(arena);
	return rc;
}

static void
test_mounted_namespace_without_process_is_enumerated(void **state UNUSED)
{
	NEEDS("root", geteuid() == 0);
	in_child(name_a_namespace, NULL);
}

static int enumerate_as_nobody(void *arg UNUSED)
{
	struct arena *arena = arena_create();
	struct gaps gaps = { .arena = arena };
	struct netns_list list;

	if (setuid(65534) < 0)
		return 1;
	struct error *err = netns_enumerate(arena, &list, &gaps);
	if (err)
		return 2;
	int rc = gaps.n == 1 && gaps.v[0].kind == GAP_DENIED &&
				 gaps.v[0].count > 0
			 ? 0
			 : 3;
	arena_destroy(arena);
	return rc;
}

static void test_refused_processes_are_a_gap(void **state UNUSED)
{
	NEEDS("root", geteuid() == 0);
	in_child(enumerate_as_nobody, NULL);
}

static struct error *make_socket(void *arg)
{
	*(int *)arg = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return NULL;
}

static void test_socket_tells_its_own_namespace(void **state UNUSED)
{
	AUTO_CLOSE int there = new_netns();
	AUTO_PROCESS struct process *self = NULL;
	int sock = -1, ns = -1;

	NEEDS("CAP_SYS_ADMIN", there >= 0);
	assert_ok(process_open(getpid(), &self));
	assert_ok(netns_run(there, make_socket, &sock));
	assert_ok(netns_open_socket(self, sock, &ns));
	assert_int_equal(netns_inode(ns), netns_inode(there));
	close(ns);
	close(sock);
	assert_error(netns_open_socket(self, sock, &ns), ERROR_OS, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_function_runs_inside_and_the_caller_stays_outside),
		cmocka_unit_test(test_own_namespace_needs_no_entering),
		cmocka_unit_test(test_what_is_no_network_namespace_is_refused),
		cmocka_unit_test(test_denied_namespace_names_the_capability),
		cmocka_unit_test(test_netlink_socket_sees_the_other_namespace),
		cmocka_unit_test(
			test_receiving_from_netlink_ends_after_a_while),
		cmocka_unit_test(test_namespace_of_a_process_is_enumerated),
		cmocka_unit_test(
			test_mounted_namespace_without_process_is_enumerated),
		cmocka_unit_test(test_refused_processes_are_a_gap),
		cmocka_unit_test(test_socket_tells_its_own_namespace),
	};

	return cmocka_run_group_tests(tests, own_netns, NULL);
}
