/* SPDX-License-Identifier: Apache-2.0 */

/* Faults of cables and machines, and of the programs on them. */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "scenarios/lab/lab_priv.h"

/* An end of a cable and the namespace that it is in. */
struct here {
	struct lab_end end;
	int fd;
};

static void leave(struct here *h)
{
	cleanup_close(&h->fd);
}
#define AUTO_HERE __attribute__((cleanup(leave)))

static struct error *go(struct lab_breaking *b, const char *host,
			const char *towards, struct here *ret)
{
	if (!lab_plan_towards(b->plan, host, towards, &ret->end))
		return error_new(ERROR_USAGE, "no way from %s to %s", host,
				 towards);
	return lab_break_netns(b, host, &ret->fd);
}

struct error *lab_break_address(struct lab_breaking *b)
{
	AUTO_HERE struct here a = { .fd = -1 };
	struct error *err = go(b, "a", "b", &a);

	return err ? err : lab_net_addresses(a.fd, &a.end, b->heal);
}

struct error *lab_break_route(struct lab_breaking *b)
{
	AUTO_HERE struct here a = { .fd = -1 };
	struct error *err = go(b, "a", "b", &a);

	if (err)
		return err;
	return b->heal ? lab_net_reroute(a.fd, &a.end)
		       : lab_net_unroute(a.fd, &a.end);
}

/* The end goes down, or is as it was. */
static struct error *pull(struct lab_breaking *b, const struct here *h)
{
	struct error *err;

	if (!b->heal)
		return lab_net_updown(h->fd, h->end.device, false);
	err = lab_net_end(h->fd, &h->end);
	return err ? err : lab_net_carrier(h->fd, h->end.device);
}

struct error *lab_break_carrier(struct lab_breaking *b)
{
	AUTO_HERE struct here other = { .fd = -1 };
	struct lab_end a;

	if (!lab_plan_towards(b->plan, "a", "b", &a))
		return error_new(ERROR_USAGE, "no way from a to b");
	struct error *err = go(b, a.to, "a", &other);
	return err ? err : pull(b, &other);
}

struct error *lab_break_link_cut(struct lab_breaking *b)
{
	AUTO_HERE struct here end = { .fd = -1 };
	struct error *err = go(b, "b", "a", &end);

	if (!err)
		err = lab_break_mute_router(b);
	return err ? err : pull(b, &end);
}

/* The machine b. */

static void aim(struct lab_breaking *b, struct lab_sweep *s, int signal)
{
	const struct lab_host *h = lab_state_host(b->st, "b");

	*s = (struct lab_sweep){ .signal = signal };
	s->netns[s->n++] = h->netns;
	s->spare[s->n_spare++] = h->holder.pid;
}

/*
 * The cable, out of b's hands. It may be in limbo already, when a command was
 * killed after that.
 */
static struct error *unplug(const struct here *b, int limbo)
{
	struct error *err = lab_net_updown(b->fd, b->end.device, false);
	struct error *elsewhere;

	if (!err)
		return lab_net_move(b->fd, b->end.device, limbo);
	elsewhere = lab_net_updown(limbo, b->end.device, false);
	if (!elsewhere)
		error_free(err);
	error_free(elsewhere);
	return elsewhere ? err : NULL;
}

/* Power off: first the cable, so that no program can say goodbye. */
static struct error *power_off(struct lab_breaking *b, int limbo)
{
	AUTO_HERE struct here end = { .fd = -1 };
	struct lab_host *h = lab_state_host(b->st, "b");
	struct lab_sweep sweep;
	struct error *err = go(b, "b", "a", &end);

	if (!err)
		err = unplug(&end, limbo);
	// so that no orphan waits for answers in a namespace that should go
	if (!err)
		err = lab_net_sysctl(end.fd, "net/ipv4/tcp_orphan_retries",
				     "1");
	if (err)
		return err;
	b->answer->b_gone = true;
	aim(b, &sweep, SIGKILL);
	size_t left = lab_sweep(&sweep);
	AUTO_CLOSE int holder = lab_process_open(&h->holder);
	if (holder >= 0)
		pidfd_send_signal(holder, SIGKILL, NULL, 0);
	return left ? error_new(ERROR_OS, "a process in b does not die") : NULL;
}

static struct error *find_limbo(struct lab_breaking *b, int *ret)
{
	if (!b->st->spare.holder.pid)
		return error_new(ERROR_USAGE,
				 "b was rebooted once, which is all that a lab "
				 "can do; 'stranded lab down' and up again");
	return lab_host_netns(&b->st->spare, ret);
}

struct error *lab_break_machine_gone(struct lab_breaking *b)
{
	AUTO_CLOSE int limbo = -1;
	struct error *err = find_limbo(b, &limbo);

	if (!err)
		err = lab_break_mute_router(b);
	return err ? err : power_off(b, limbo);
}

/* Of the fault that had switched it off. */
static struct error *unmute_router(struct lab_breaking *b, const char *name)
{
	struct lab_breaking gone = *b;

	gone.name = name;
	gone.heal = true;
	return lab_break_mute_router(&gone);
}

/* The other end of the cable notices it a little later. */
static struct error *await_other_end(struct lab_breaking *b,
				     const struct lab_end *end)
{
	struct lab_end other;

	for (size_t i = 0; lab_plan_end(b->plan, end->to, i, &other); i++) {
		AUTO_CLOSE int fd = -1;

		if (strcmp(other.to, end->host))
			continue;
		struct error *err = lab_break_netns(b, end->to, &fd);
		return err ? err : lab_net_carrier(fd, other.device);
	}
	return NULL;
}

struct error *lab_break_rebooted(struct lab_breaking *b)
{
	AUTO_CLOSE int limbo = -1;
	const struct lab_host *h = lab_state_host(b->st, "b");
	struct lab_end end;
	struct error *err = find_limbo(b, &limbo);

	if (!err && h->holder.pid)
		err = power_off(b, limbo);
	if (!err)
		err = unmute_router(b, "peer-machine-gone");
	if (!err)
		err = unmute_router(b, "backend-dead");
	// the same network card, so the same hardware address
	if (!err)
		err = lab_net_host(limbo, b->plan, "b");
	for (size_t i = 0; !err && lab_plan_end(b->plan, "b", i, &end); i++) {
		err = lab_net_end(limbo, &end);
		if (!err)
			err = lab_net_carrier(limbo, end.device);
		if (!err)
			err = await_other_end(b, &end);
	}
	b->answer->b_rebooted = !err;
	return err;
}

/* Its programs. */

struct error *lab_break_frozen(struct lab_breaking *b)
{
	AUTO_CLOSE int fd = -1;
	struct lab_sweep sweep;
	struct error *err = lab_break_netns(b, "b", &fd);

	if (err)
		return err;
	aim(b, &sweep, b->heal ? SIGCONT : SIGSTOP);
	// twice: the first look may have missed what was being forked
	lab_sweep(&sweep);
	lab_sweep(&sweep);
	return NULL;
}

struct closing {
	const struct lab_plan *plan;
	size_t closed;
	int errnum; /* of the first that could not be */
};

static bool is_address(const struct lab_end *end, const struct in6_addr *addr)
{
	char text[LAB_ADDRESS_MAX], mapped[LAB_ADDRESS_MAX + 8];
	struct in6_addr v6, v4;

	lab_address_text(AF_INET6, end->net, end->addr, false, text);
	inet_pton(AF_INET6, text, &v6);
	lab_address_text(AF_INET, end->net, end->addr, false, text);
	snprintf(mapped, sizeof(mapped), "::ffff:%s", text);
	inet_pton(AF_INET6, mapped, &v4);
	return !memcmp(addr, &v6, sizeof(v6)) || !memcmp(addr, &v4, sizeof(v4));
}

/* What b sees as a: in its place may stand the router, or the proxy. */
static bool is_a(const struct lab_plan *plan, const struct in6_addr *addr)
{
	struct lab_end end;

	if (lab_plan_towards(plan, "a", "b", &end) && is_address(&end, addr))
		return true;
	if (plan->shape == LAB_NAT)
		return lab_plan_towards(plan, "r", "b", &end) &&
		       is_address(&end, addr);
	return plan->shape == LAB_PROXY &&
	       lab_plan_towards(plan, "p", "b", &end) && is_address(&end, addr);
}

static bool peer_of(int fd, struct in6_addr *ret)
{
	struct sockaddr_in6 sa = { 0 };
	struct sockaddr_in *v4 = (void *)&sa;
	socklen_t len = sizeof(sa);

	if (getpeername(fd, (struct sockaddr *)&sa, &len))
		return false;
	*ret = sa.sin6_addr;
	if (sa.sin6_family == AF_INET) {
		*ret = (struct in6_addr){ .s6_addr = {
						  [10] = 0xff, [11] = 0xff } };
		memcpy(&ret->s6_addr[12], &v4->sin_addr, 4);
	}
	return sa.sin6_family == AF_INET || sa.sin6_family == AF_INET6;
}

static bool is_established(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_state == TCP_ESTABLISHED;
}

static void half_close(const struct process *p, int target_fd,
		       struct closing *c)
{
	AUTO_CLOSE int fd = process_dup_fd(p, target_fd);
	struct in6_addr peer;

	if (fd < 0 && fd != -EBADF && fd != -ESRCH)
		c->errnum = -fd;
	if (fd < 0 || !is_established(fd) || !peer_of(fd, &peer) ||
	    !is_a(c->plan, &peer))
		return;
	if (shutdown(fd, SHUT_WR) == 0)
		c->closed++;
	else
		c->errnum = errno;
}

static void half_close_all(pid_t pid, void *arg)
{
	struct closing *c = arg;
	AUTO_ARENA struct arena *arena = arena_create();
	AUTO_PROCESS struct process *p = NULL;
	struct process_fds fds;
	AUTO_ERROR struct error *err = arena ? process_open(pid, &p)
					     : &error_nomem;

	if (!err)
		err = process_fds(p, arena, &fds);
	if (err)
		return; // it has ended
	for (size_t i = 0; i < fds.n; i++) {
		if (fds.v[i].kind == PROCESS_FD_SOCKET)
			half_close(p, fds.v[i].fd, c);
	}
}

struct error *lab_break_half_closed(struct lab_breaking *b)
{
	AUTO_CLOSE int fd = -1;
	struct closing c = { .plan = b->plan };
	struct lab_sweep sweep;
	struct error *err = lab_break_netns(b, "b", &fd);

	if (err)
		return err;
	aim(b, &sweep, 0);
	lab_sweep_each(&sweep, half_close_all, &c);
	if (c.errnum)
		return error_os(c.errnum, "cannot shut down all connections of "
					  "b");
	if (!c.closed)
		return error_new(ERROR_USAGE,
				 "b has no established connection with a; "
				 "connect first");
	return NULL;
}
