/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIOS_LAB_LAB_PRIV_H
#define SCENARIOS_LAB_LAB_PRIV_H

/**
 * What the files of the lab share. Not for other folders.
 *
 *	topology.c  which hosts and cables there are: tables
 *	state.c     what is kept in files: reading, writing, locking
 *	keeper.c    the processes that a lab consists of
 *	userns.c    without root
 *	sweep.c     the processes that live in its namespaces
 *	inside.c    running something of ours inside a lab
 *	net.c       links, addresses, routes, sysctls
 *	rules.c     firewall rules
 *	fault*.c    what breaks
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "scenarios/lab/lab.h"

#define LAB_MAX_HOSTS 8
#define LAB_MAX_CABLES 8
#define LAB_MAX_FAULTS 32
#define LAB_MAX_LABS 1000
#define LAB_ARG_MAX 16	  /* of a fault's argument, with the NUL */
#define LAB_FAULT_MAX 32  /* of a fault's name, with the NUL */
#define LAB_DEVICE_MAX 16 /* IFNAMSIZ */
#define LAB_ADDRESS_MAX 64
#define LAB_ID_MAX 17 /* 64 random bits in hex, with the NUL */
#define LAB_PROXY_PORT 7000
#define LAB_DELAY_LIFE_MS 120000 /* a full queue is not kept full longer */
#define LAB_SWITCH "switch"	 /* the bridge in host s */

/* topology.c */

enum lab_shape {
	LAB_PAIR = 1 << 0,
	LAB_LAN = 1 << 1,
	LAB_ROUTED = 1 << 2,
	LAB_NAT = 1 << 3,
	LAB_PROXY = 1 << 4,
	LAB_ROUTER = LAB_ROUTED | LAB_NAT | LAB_PROXY, /* those with r */
	LAB_ANY = LAB_PAIR | LAB_LAN | LAB_ROUTER,
};

/** A veth pair; in x it is called to-y, in y to-x. */
struct lab_cable {
	const char *x, *y;
	int net;		/* 10.90.N.0/24 and fd90:N::/64 */
	uint8_t addr_x, addr_y; /* the last byte; 0: no address */
};

struct lab_plan {
	enum lab_shape shape;
	const char *name;
	const char *hosts[LAB_MAX_HOSTS + 1];	 /* ends with NULL */
	struct lab_cable cables[LAB_MAX_CABLES]; /* ends with x NULL */
};

/** NULL: there is none of that name. */
const struct lab_plan *lab_plan_find(const char *topology);
bool lab_plan_has(const struct lab_plan *plan, const char *host);

/** One host's end of a cable. */
struct lab_end {
	const char *host, *to;
	char device[LAB_DEVICE_MAX];
	int net;
	uint8_t addr;	 /* 0: none */
	uint8_t gateway; /* of the default route, 0: none by this end */
};

/** End number @i of @host, in the order of the cables. False: no more. */
bool lab_plan_end(const struct lab_plan *plan, const char *host, size_t i,
		  struct lab_end *ret);
/** The end of @host that is on the path between a and b, by who asks. */
bool lab_plan_towards(const struct lab_plan *plan, const char *host,
		      const char *whom, struct lab_end *ret);
/** "10.90.1.254" or "fd90:1::fe"; @bits adds the prefix length. */
void lab_address_text(int family, int net, uint8_t addr, bool bits,
		      char buf[LAB_ADDRESS_MAX]);
/** Letters, digits, - and _, no - first, shorter than LAB_NAME_MAX. */
bool lab_name_ok(const char *name);

/* state.c */

/** A process, known again by its start time. */
struct lab_process {
	pid_t pid;	/* 0: none */
	uint64_t start; /* ticks since boot, field 22 of /proc/PID/stat */
};

struct lab_host {
	char name[LAB_HOST_MAX];
	struct lab_process holder; /* pid 0: the machine is gone */
	uint64_t netns;		   /* inode */
};

struct lab_fault_state {
	char name[LAB_FAULT_MAX];
	char arg[LAB_ARG_MAX];	   /* "": none */
	struct lab_process helper; /* that keeps it up; pid 0: none */
	int64_t until_ms;	   /* ends by itself (boot clock); 0: not */
};

/** What the file of a lab holds. */
struct lab_state {
	char name[LAB_NAME_MAX];
	char id[LAB_ID_MAX];
	const struct lab_plan *plan;
	struct lab_process keeper, warden;
	pid_t owner;
	int64_t since_ms; /* boot clock */
	struct lab_host hosts[LAB_MAX_HOSTS];
	size_t n_hosts;
	/** An empty host: where the cables of a dead one end, and who takes
	 * its place when it boots again. */
	struct lab_host spare;
	struct lab_fault_state faults[LAB_MAX_FAULTS];
	size_t n_faults;
};

struct lab {
	struct lab_state state;
	bool owned;
	char addresses[2 * LAB_MAX_HOSTS][LAB_ADDRESS_MAX];
};

/** The state as JSON and back. Takes nothing on trust: false is nonsense. */
json_t *lab_state_pack(const struct lab_state *st);
bool lab_state_unpack(const json_t *doc, struct lab_state *ret);

/**
 * Make the directory of lab @name and lock it: the name is ours. Fails:
 * ERROR_USAGE (is up), ERROR_OS.
 */
struct error *lab_dir_reserve(const char *name, int *dirfd_ret);
/** Open and lock it. Fails: ERROR_GONE (no such lab), ERROR_OS (is busy). */
struct error *lab_dir_lock(const char *name, int *dirfd_ret);
/** Let go of the lock, also where a child of another thread has a copy. */
void lab_dir_unlock(int *dirfd);
#define AUTO_LAB_DIR __attribute__((cleanup(lab_dir_unlock)))
/** Remove it and all that we put in it. */
void lab_dir_remove(const char *name);
/**
 * Read the state in @dirfd and check that its keeper lives. Fails: ERROR_GONE
 * (the keeper died: what is left was swept, the directory removed),
 * ERROR_CORRUPT, ERROR_OS.
 */
struct error *lab_state_read(int dirfd, const char *name,
			     struct lab_state *ret);
/** The same, whoever lives. */
bool lab_state_peek(int dirfd, struct lab_state *ret);
struct error *lab_state_write(int dirfd, const struct lab_state *st);
/** Names in the directory of labs, live or not. */
struct error *lab_dir_names(struct arena *arena, const char ***ret,
			    size_t *n_ret);

struct lab_host *lab_state_host(struct lab_state *st, const char *name);
/** The process as it is now; pid 0 when it is not there. */
struct lab_process lab_process_of(pid_t pid);
/** Is that very process there, and no zombie? */
bool lab_process_alive(const struct lab_process *p);
/** A pidfd of that very process, or -1. */
int lab_process_open(const struct lab_process *p);

/* sweep.c */

struct lab_sweep {
	uint64_t netns[LAB_MAX_HOSTS + 1];
	size_t n;
	pid_t spare[LAB_MAX_HOSTS + 4]; /* processes to leave alone */
	size_t n_spare;
	const char *id; /* only with this STRANDED_LAB_ID; NULL: all */
	int signal;
};

/**
 * Send the signal to every process whose main thread is in one of the
 * namespaces. A process of which only a further thread is there just looks in
 * (netns_run()) and is left alone. SIGKILL: until none is left, 10 s at most.
 *
 * Returns: how many were found at the last look: 0 after SIGKILL is success.
 */
size_t lab_sweep(const struct lab_sweep *sweep);
/** For each process there: @fn(pid, arg). */
void lab_sweep_each(const struct lab_sweep *sweep,
		    void (*fn)(pid_t pid, void *arg), void *arg);
/** All hosts of @st; its holders are left alone when @keep_holders. */
void lab_sweep_init(struct lab_sweep *sweep, const struct lab_state *st,
		    bool keep_holders);

/* keeper.c */

/** Build the lab @st (name, id, plan, owner are set) and fill in the rest. */
struct error *lab_keeper_start(struct lab_state *st, int dirfd, int owner_fd);
/** End it, by asking the keeper or by force. */
void lab_keeper_end(const struct lab_state *st);

/* userns.c */

/**
 * Have what a lab takes, if need be in a new user namespace. Only with one
 * thread. Fails: ERROR_DENIED, which names the setting that forbids it.
 */
struct error *lab_become_admin(void);

/* inside.c */

/** What a piece of work in a lab may say besides its error. */
struct lab_answer {
	struct lab_process helper;
	bool b_gone, b_rebooted;
};

typedef struct error *lab_work(void *arg, struct lab_answer *answer);

/**
 * Run @work(@arg) in a child that is in the user namespace of the lab, so that
 * it may enter its network namespaces (netns_run()).
 */
struct error *lab_inside(const struct lab_state *st, lab_work *work, void *arg,
			 struct lab_answer *answer);
/** lab_spawn() without a look at the state in the file. */
struct error *lab_start(struct lab_state *st, const struct lab_spawn *what,
			pid_t *ret);
/**
 * An error, or NULL, through a pipe: one write, one read. Receiving gives
 * false when all writers ended without a word, sending when nobody hears it.
 * Sending takes @err. SIGPIPE must be ignored.
 */
bool lab_error_receive(int fd, struct lab_answer *answer, struct error **ret);
bool lab_error_send(int fd, struct error *err, const struct lab_answer *answer);
/** Open the network namespace of @host; checked. */
struct error *lab_host_netns(const struct lab_host *host, int *fd_ret);
/** execvpe(3) with /usr/sbin and /sbin searched too. Returns errno. */
int lab_execvpe(char *const *argv, char *const *envp);

/* net.c: in the caller's user namespace, at a network namespace's fd. */

/** All that a host has besides links: lo, sysctls. */
struct error *lab_net_host(int netns, const struct lab_plan *plan,
			   const char *host);
/** The device at @x, its other end at @y; no addresses yet. */
struct error *lab_net_cable(const struct lab_cable *c, int netns_x,
			    int netns_y);
/** Addresses, default routes, up; may be there already. */
struct error *lab_net_end(int netns, const struct lab_end *end);
/** Wait until @device has carrier; bounded. */
struct error *lab_net_carrier(int netns, const char *device);
struct error *lab_net_updown(int netns, const char *device, bool up);
/** Move @device, which goes down by that, to another namespace. */
struct error *lab_net_move(int netns, const char *device, int to_netns);
/** Remove or restore the addresses of @end. */
struct error *lab_net_addresses(int netns, const struct lab_end *end,
				bool there);
/** Remove the default route of @end or, if it has none, the connected one. */
struct error *lab_net_unroute(int netns, const struct lab_end *end);
/** Put back what lab_net_unroute() removed. */
struct error *lab_net_reroute(int netns, const struct lab_end *end);
/** The router's route to b's addresses with an MTU; 0: without. */
struct error *lab_net_route_mtu(int netns, const struct lab_end *end,
				uint8_t host_addr, int bytes);
/** @x knows @y's hardware address for good (@there), or asks again. */
struct error *lab_net_pin(int netns_x, const struct lab_end *x, int netns_y,
			  const struct lab_end *y, bool there);
/** A token bucket at @device, or with @rate 0 none. In bytes and bytes/s. */
struct error *lab_net_tbf(int netns, const char *device, int rate, int limit);
/** Bytes in that queue now; -errno. Call it inside the namespace. */
int lab_net_backlog(int ifindex);
struct error *lab_net_sysctl(int netns, const char *key, const char *value);
/** Forget all connections that are tracked there. */
struct error *lab_net_conntrack_flush(int netns);

/* rules.c: a batch of commands for `nft -j -f -`. */

/** Adds the table anew, empty; what it held before is gone. */
void lab_rules_table(json_t *batch, const char *family, const char *table);
void lab_rules_untable(json_t *batch, const char *family, const char *table);
/** @device: netdev chains only, else NULL. @type: filter or nat. */
void lab_rules_chain(json_t *batch, const char *family, const char *table,
		     const char *chain, const char *type, const char *hook,
		     int priority, const char *device);
/** Takes @expr (an array). */
void lab_rules_rule(json_t *batch, const char *family, const char *table,
		    const char *chain, json_t *expr);
/** A set of devices (ends with NULL) that is empty again after @seconds. */
void lab_rules_set(json_t *batch, const char *family, const char *table,
		   const char *set, const char *const *devices, long seconds);
/** Run nft; takes @batch. Fails: ERROR_UNSUPPORTED (no nft, no such hook). */
struct error *lab_rules_apply(int netns, json_t *batch);
/** The rules of a topology. */
struct error *lab_rules_masquerade(int netns, int first_port, int last_port);

/* fault.c */

struct lab_breaking {
	struct lab_state *st;
	const struct lab_plan *plan;
	const char *name; /* of the fault */
	const char *arg;  /* NULL: none */
	long number;	  /* of the argument, or its default */
	bool heal;
	struct lab_answer *answer;
};

typedef struct error *lab_break(struct lab_breaking *b);

struct lab_fault_row {
	const char *name;
	unsigned shapes; /* enum lab_shape */
	lab_break *run;
	bool for_good;		 /* cannot be undone */
	bool at_once;		 /* an act, not a state: may be done again */
	long least, most, usual; /* a number as argument; most 0: none */
};

extern const struct lab_fault_row lab_fault_rows[];

/** Open the namespace of one of the hosts. */
struct error *lab_break_netns(struct lab_breaking *b, const char *host,
			      int *fd_ret);
/** The name of the fault's own table of rules. */
#define LAB_TABLE_MAX (LAB_FAULT_MAX + 16)
void lab_break_table(const struct lab_breaking *b, char buf[LAB_TABLE_MAX]);

lab_break lab_break_router_drop, lab_break_one_way, lab_break_reject_icmp,
	lab_break_reject_rst, lab_break_outage, lab_break_next_hop,
	lab_break_mtu;
lab_break lab_break_nat_flush, lab_break_nat_strict, lab_break_nat_new_port;
lab_break lab_break_address, lab_break_route, lab_break_carrier;
lab_break lab_break_link_cut, lab_break_machine_gone, lab_break_rebooted,
	lab_break_frozen, lab_break_half_closed;
lab_break lab_break_delay;
/** Part of some faults: the router tells nobody that b is unreachable. */
lab_break lab_break_mute_router;

#endif
