/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_NETNS_H
#define NETWATCH_NETNS_H

/**
 * Network namespaces: finding them, and opening sockets inside them.
 *
 * A netlink socket belongs to the namespace in which it was created. To make
 * one elsewhere, netns_run() enters that namespace on a short-lived helper
 * thread, so that no thread of the caller's ever changes its namespace and no
 * error path can forget to change back.
 */

#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/gap.h"
#include "base/process.h"

struct nl_sock;

#define NETNS_MAX 4096 /* namespaces that are looked at for a peer */

/** Inode of our own network namespace; 0 when unknown. */
uint64_t netns_own(void);
/** Inode of the namespace that @netns_fd refers to; 0 on error. */
uint64_t netns_inode(int netns_fd);

/** Open the network namespace of @p's main thread (setns-able fd). */
struct error *netns_open_process(const struct process *p, int *fd_ret);
/**
 * Open the namespace of @p's socket @fd (SIOCGSKNS on a short-lived
 * duplicate; Linux 4.10, needs CAP_NET_ADMIN there): it may differ from the
 * process' own.
 */
struct error *netns_open_socket(const struct process *p, int fd, int *fd_ret);

/**
 * Run @fn(@arg) on a helper thread that is in the namespace @netns_fd, and
 * wait for its end. -1, or our own namespace: no thread and no privilege are
 * needed, @fn is called at once. Returns @fn's error, or one of entering:
 * ERROR_DENIED names CAP_SYS_ADMIN, ERROR_USAGE is no network namespace.
 */
struct error *netns_run(int netns_fd, struct error *(*fn)(void *arg),
			void *arg);

/**
 * A connected libnl socket of @protocol (NETLINK_SOCK_DIAG, NETLINK_ROUTE,
 * NETLINK_NETFILTER) in the namespace @netns_fd (-1: our own). The caller
 * frees it with nl_socket_free(). Receive calls on it time out after 5 s.
 */
struct error *netns_netlink(int netns_fd, int protocol, struct nl_sock **ret);

/** A namespace that is reachable on this host. */
struct netns_ref {
	uint64_t inode;
	pid_t pid;	  /* a process in it, 0 when only named */
	const char *name; /* "/run/netns/blue", or "pid 4711 (redis)" */
};

struct netns_list {
	struct netns_ref *v; /* own namespace first, the rest by inode */
	size_t n;
};

/**
 * Every namespace that can be reached through /proc/PID/ns/net or a mount that
 * we see (/run/netns, a container engine's own folder), each once, and at most
 * NETNS_MAX. Processes that are refused are one gap (denied). A namespace that
 * only a thread, an open file or a socket holds is not found.
 *
 * Source: proc_pid_mountinfo(5); nsfs mounts have the root "net:[INODE]".
 */
struct error *netns_enumerate(struct arena *arena, struct netns_list *ret,
			      struct gaps *gaps);
/** Open one of them; it may be gone by now (ERROR_GONE). */
struct error *netns_open_ref(const struct netns_ref *ref, int *fd_ret);

#endif
