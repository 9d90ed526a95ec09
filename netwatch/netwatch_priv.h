/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETWATCH_PRIV_H
#define NETWATCH_PRIV_H

/** What netwatch.c and take.c share; nobody else includes it. */

#include "netwatch/netwatch.h"
#include "netwatch/path.h"
#include "netwatch/peer.h"
#include "netwatch/replay.h"
#include "netwatch/sockdiag.h"

/* A namespace in which the process has sockets. */
struct space {
	uint64_t inode;
	int fd;
	struct sockdiag *diag;
};

struct netwatch {
	const struct process *p; // NULL when replaying
	struct net_record *record;
	struct net_replay *replay;
	struct space *spaces;
	size_t n_spaces, cap_spaces;
	struct path_netns *open_ns; // the same, as path.h and peer.h want it
	struct peer *peer;
};

/* An fd of the target's that is a socket. */
struct socket_fd {
	uint64_t inode;
	int fd;
};

/** The space of that namespace, or NULL. */
struct space *netwatch_find_space(struct netwatch *nw, uint64_t inode);
/**
 * The space of the namespace @fd, with its sock_diag open. Takes @fd. The
 * pointer holds until the next call.
 */
struct error *netwatch_get_space(struct netwatch *nw, int fd,
				 struct space **ret);
/** The sockets among @fds by inode, then fd; malloc()ed; NULL: no memory. */
struct socket_fd *netwatch_list_sockets(const struct process_fds *fds,
					size_t *n_ret);
/** Fill the empty @snap from the kernel, and record it. */
struct error *netwatch_take_live(struct netwatch *nw,
				 const struct process_fds *fds,
				 struct tcp_snapshot *snap);

#endif
