/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Firewall rules, by the nft program with JSON on its standard input: the
 * library behind it is GPL-2-only. libnftables-json(5) has the format.
 */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/exec_status.h"
#include "scenarios/lab/lab_priv.h"

static void add(json_t *batch, const char *verb, const char *what,
		json_t *object)
{
	json_array_append_new(batch,
			      json_pack("{s:{s:o}}", verb, what, object));
}

static json_t *table(const char *family, const char *name)
{
	return json_pack("{s:s, s:s}", "family", family, "name", name);
}

void lab_rules_untable(json_t *batch, const char *family, const char *name)
{
	// what is not there cannot be deleted, so there it is first
	add(batch, "add", "table", table(family, name));
	add(batch, "delete", "table", table(family, name));
}

void lab_rules_table(json_t *batch, const char *family, const char *name)
{
	lab_rules_untable(batch, family, name);
	add(batch, "add", "table", table(family, name));
}

void lab_rules_chain(json_t *batch, const char *family, const char *name,
		     const char *chain, const char *type, const char *hook,
		     int priority, const char *device)
{
	add(batch, "add", "chain",
	    json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s*}", "family",
		      family, "table", name, "name", chain, "type", type,
		      "hook", hook, "prio", priority, "policy", "accept", "dev",
		      device));
}

void lab_rules_rule(json_t *batch, const char *family, const char *name,
		    const char *chain, json_t *expr)
{
	add(batch, "add", "rule",
	    json_pack("{s:s, s:s, s:s, s:o}", "family", family, "table", name,
		      "chain", chain, "expr", expr));
}

void lab_rules_set(json_t *batch, const char *family, const char *name,
		   const char *set, const char *const *devices, long seconds)
{
	json_t *elements = json_array();

	for (size_t i = 0; devices[i]; i++)
		json_array_append_new(elements,
				      json_pack("{s:{s:s, s:I}}", "elem", "val",
						devices[i], "timeout",
						(json_int_t)seconds));
	add(batch, "add", "set",
	    json_pack("{s:s, s:s, s:s, s:s, s:[s], s:o}", "family", family,
		      "table", name, "name", set, "type", "ifname", "flags",
		      "timeout", "elem", elements));
}

/* The child: nft in the namespace, its words into @out. */
static void run_nft(int netns, int in, int out)
{
	char nft[] = "nft", json[] = "-j", file[] = "-f", input[] = "-";
	char *argv[] = { nft, json, file, input, NULL };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setns(netns, CLONE_NEWNET) || dup2(in, 0) < 0 || dup2(out, 1) < 0 ||
	    dup2(out, 2) < 0)
		_exit(EXEC_CANNOT_RUN);
	_exit(exec_status(lab_execvpe(argv, environ)));
}

static struct error *nft_error(int status, int out)
{
	char text[300];
	ssize_t n = pread(out, text, sizeof(text) - 1, 0);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return error_new(ERROR_UNSUPPORTED,
				 "this needs the program nft; install it "
				 "(Debian: nftables)");
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	// a kernel without the expression or hook says so
	return error_new(
		strstr(text, "No such file") || strstr(text, "not supported")
			? ERROR_UNSUPPORTED
			: ERROR_OS,
		"nft refuses the rules: %s", text[0] ? text : "it was killed");
}

static int write_batch(json_t *batch)
{
	int fd = memfd_create("rules", MFD_CLOEXEC);
	json_t *doc = json_pack("{s:o}", "nftables", batch);

	if (fd >= 0 && (!doc || json_dumpfd(doc, fd, JSON_COMPACT) ||
			lseek(fd, 0, SEEK_SET))) {
		close(fd);
		fd = -1;
	}
	json_decref(doc);
	return fd;
}

struct error *lab_rules_apply(int netns, json_t *batch)
{
	AUTO_CLOSE int in = write_batch(batch);
	AUTO_CLOSE int out = memfd_create("words", MFD_CLOEXEC);
	int status = 0;

	if (in < 0 || out < 0)
		return error_new(ERROR_OS, "cannot hold the rules for nft");
	pid_t pid = fork();
	if (pid == 0)
		run_nft(netns, in, out);
	if (pid < 0)
		return error_os(errno, "cannot fork");
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return error_os(errno, "cannot wait for nft");
	}
	return status ? nft_error(status, out) : NULL;
}

/* Ports first to last, or with 0 whichever the connection had if it is free. */
struct error *lab_rules_masquerade(int netns, int first_port, int last_port)
{
	static const char *const name = "stranded-nat";
	json_t *batch = json_array();

	lab_rules_table(batch, "inet", name);
	lab_rules_chain(batch, "inet", name, "out", "nat", "postrouting", 100,
			NULL);
	if (first_port)
		lab_rules_rule(
			batch, "inet", name, "out",
			json_pack("[{s:{s:s, s:{s:{s:s}}, s:s}}, {s:{s:s, "
				  "s:{s:{s:s}}, s:s}}, {s:{s:{s:[i,i]}}}]",
				  "match", "op", "==", "left", "meta", "key",
				  "oifname", "right", "to-b", "match", "op",
				  "==", "left", "meta", "key", "l4proto",
				  "right", "tcp", "masquerade", "port", "range",
				  first_port, last_port));
	lab_rules_rule(batch, "inet", name, "out",
		       json_pack("[{s:{s:s, s:{s:{s:s}}, s:s}}, {s:n}]",
				 "match", "op", "==", "left", "meta", "key",
				 "oifname", "right", "to-b", "masquerade"));
	return lab_rules_apply(netns, batch);
}
