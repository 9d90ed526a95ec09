/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROCESS_PRIV_H
#define BASE_PROCESS_PRIV_H

/**
 * What the files of base/process share, and what their tests look into. Not
 * for other folders.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/process.h"

/** What of /proc/PID/stat is used (proc(5)); see process_stat_parse(). */
struct process_stat {
	char comm[64];
	char state;
	pid_t ppid;
	uint32_t flags; /* PF_* of the kernel's linux/sched.h */
	uint32_t n_threads;
	uint64_t start_ticks;
	uint64_t stack_start; /* 0 when the reader may not see it */
};

/** PF_KTHREAD of linux/sched.h, the same since Linux 2.6.27. */
#define PROCESS_PF_KTHREAD 0x00200000u

/**
 * Parse /proc/PID/stat. The name in it is the target's choice and may hold
 * parentheses, blanks and newlines; what follows the last ')' does not.
 *
 * Returns: 0 or -EPROTO.
 */
int process_stat_parse(const char *text, struct process_stat *ret)
	__attribute__((warn_unused_result));

/** Read a file below the directory @dirfd whole; as process_slurp(). */
ssize_t process_slurp_at(int dirfd, const char *name, size_t max, char **ret)
	__attribute__((warn_unused_result));

/**
 * The text of the line "@key:" in the status file below @procfd, from after
 * the colon, cut at @size. Returns: whether there is one.
 */
bool process_status_line(int procfd, const char *key, char *buf, size_t size);

/** What decides why the kernel refuses to show a process. */
struct process_denial {
	pid_t pid;
	const char *comm;
	uid_t our_uid, target_uid;
	bool cap_ptrace;   /* we have CAP_SYS_PTRACE */
	bool non_dumpable; /* /proc/PID is not owned by the target's uid */
	bool more_caps;	   /* it has capabilities that we lack */
	int yama;	   /* kernel.yama.ptrace_scope, -1: no Yama */
	bool other_userns; /* its user namespace is not ours */
};

/** The cause and, after ';', the remedy: pure, see ptrace(2). */
void process_denial_text(const struct process_denial *why, char *buf,
			 size_t size);

/** Open p->memfd when process_vm_readv(2) cannot be used here. */
void process_mem_init(struct process *p);

/**
 * The numbers that name the entries of a directory below /proc/PID ("fd",
 * "task"), ascending.
 *
 * @param max entries beyond that many are counted in *@more_ret only.
 * Returns: 0 or -errno.
 */
int process_numbers(int dirfd, const char *dir, size_t max, struct arena *arena,
		    int **ret, size_t *n_ret, size_t *more_ret)
	__attribute__((warn_unused_result));

#endif
