/* SPDX-License-Identifier: Apache-2.0 */
#include "netwatch/shield.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define OUTPUT_MAX (64u << 20) /* of nft: 1,000 elements are 200 KB */
#define ERROR_TEXT 200

static void json_free(json_t **json)
{
	json_decref(*json);
}
#define AUTO_JSON __attribute__((cleanup(json_free)))

/* --- running nft --- */

/* Beside those of PATH: a user's often has no sbin. */
static const char *const nft_paths[] = { "/usr/sbin/nft", "/sbin/nft" };

bool shield_has_nft(void)
{
	const char *path = getenv("PATH");

	for (size_t i = 0; i < sizeof(nft_paths) / sizeof(nft_paths[0]); i++)
		if (!access(nft_paths[i], X_OK))
			return true;
	while (path && *path) {
		size_t len = strcspn(path, ":");
		char file[4096];

		if (snprintf(file, sizeof(file), "%.*s/nft", (int)len, path) <
			    (int)sizeof(file) &&
		    !access(file, X_OK))
			return true;
		path += len + (path[len] == ':');
	}
	return false;
}

/* In the child, after fork: only system calls. */
static void __attribute__((noreturn))
become_nft(const struct guard *g, int netns_fd, int in, int out, int err,
	   char *const *argv)
{
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		_exit(126);
	// while nft works, the guardian waits: it would miss what comes later
	fcntl(guard_pipe(g), F_SETFD, 0);
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	execvp("nft", argv);
	for (size_t i = 0; i < sizeof(nft_paths) / sizeof(nft_paths[0]); i++)
		execv(nft_paths[i], argv);
	_exit(127);
}

/* Its wait status; -ETIMEDOUT when it had to be killed. */
static int wait_for_nft(pid_t pid)
{
	AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int64_t until = clock_mono_ns() + SHIELD_NFT_MS * INT64_C(1000000);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int64_t left;
	int status = 0, rc = 0;

	while (pidfd >= 0 && !rc && (left = until - clock_mono_ns()) > 0)
		rc = poll(&p, 1, (int)(left / 1000000) + 1) > 0;
	if (!rc)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return rc ? status : -ETIMEDOUT;
}

/* Read back what was written to the memory file @fd; NULL: none, no memory. */
static char *read_all(int fd, size_t *len_ret)
{
	off_t len = lseek(fd, 0, SEEK_END);
	char *text = len >= 0 && len <= OUTPUT_MAX ? malloc((size_t)len + 1)
						   : NULL;

	if (!text)
		return NULL;
	ssize_t got = pread(fd, text, (size_t)len, 0);
	if (got < 0)
		got = 0;
	text[got] = '\0';
	*len_ret = (size_t)got;
	return text;
}

static struct error *nft_failed(int status, int err_fd)
{
	size_t len = 0;
	AUTO_FREE char *text = read_all(err_fd, &len);
	const char *says = text ? text : "";
	int first = (int)strcspn(says, "\n");

	if (status == -ETIMEDOUT)
		return error_new(ERROR_OS, "no RST shield: nft did not end");
	if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return error_new(ERROR_UNSUPPORTED,
				 "no RST shield: there is no nft; install "
				 "nftables, or probe without --rst-shield");
	if ((status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 126) ||
	    strstr(says, "Operation not permitted"))
		return error_new(
			ERROR_DENIED,
			"no RST shield: not permitted; run as root, or "
			"grant CAP_NET_ADMIN and CAP_SYS_ADMIN in the "
			"connection's network namespace");
	return error_new(ERROR_OS, "no RST shield: nft: %.*s",
			 first > ERROR_TEXT ? ERROR_TEXT : first, says);
}

/*
 * Run nft in namespace @netns_fd with @commands on its standard input (NULL:
 * none). *out_ret, when asked for, is what it wrote; the caller frees it.
 */
static struct error *run_nft(const struct guard *g, int netns_fd,
			     char *const *argv, const json_t *commands,
			     char **out_ret)
{
	AUTO_CLOSE int in = memfd_create("nft-in", MFD_CLOEXEC);
	AUTO_CLOSE int out = memfd_create("nft-out", MFD_CLOEXEC);
	AUTO_CLOSE int err = memfd_create("nft-err", MFD_CLOEXEC);
	size_t len;

	if (in < 0 || out < 0 || err < 0)
		return error_os(errno, "no RST shield: no memory file for nft");
	if (commands && json_dumpfd(commands, in, JSON_COMPACT))
		return &error_nomem;
	lseek(in, 0, SEEK_SET);
	pid_t pid = fork();
	if (pid < 0)
		return error_os(errno, "no RST shield: cannot run nft");
	if (!pid)
		become_nft(g, netns_fd, in, out, err, argv);
	int status = wait_for_nft(pid);
	if (status != 0)
		return nft_failed(status, err);
	if (!out_ret)
		return NULL;
	*out_ret = read_all(out, &len);
	return *out_ret ? NULL : &error_nomem;
}

/* --- rules --- */

static bool is_ipv4(const struct tcp_socket *s)
{
	return s->remote.family == AF_INET || endpoint_is_v4mapped(&s->remote);
}

/* A packet from the peer: remote address and port, then ours. */
static json_t *element(const struct tcp_socket *s, int64_t timeout_s)
{
	struct endpoint from = endpoint_unmap(&s->remote);
	struct endpoint to = endpoint_unmap(&s->local);
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	inet_ntop(from.family, from.addr, src, sizeof(src));
	inet_ntop(to.family, to.addr, dst, sizeof(dst));
	return json_pack("{s:{s:{s:[s,i,s,i]},s:I}}", "elem", "val", "concat",
			 src, from.port, dst, to.port, "timeout",
			 (json_int_t)timeout_s);
}

static json_t *set(const char *table, bool ipv4, const struct shielded *v,
		   size_t n, int64_t timeout_s)
{
	const char *addr = ipv4 ? "ipv4_addr" : "ipv6_addr";
	json_t *elements = json_array();
	json_t *s = json_pack("{s:s, s:s, s:s, s:[s,s,s,s], s:[s], s:[{s:n}]}",
			      "family", "inet", "table", table, "name",
			      ipv4 ? "v4" : "v6", "type", addr, "inet_service",
			      addr, "inet_service", "flags", "timeout", "stmt",
			      "counter");

	for (size_t i = 0; i < n; i++)
		if (is_ipv4(v[i].s) == ipv4)
			json_array_append_new(elements,
					      element(v[i].s, timeout_s));
	// nft takes no empty list
	if (json_array_size(elements))
		json_object_set(s, "elem", elements);
	json_decref(elements);
	return json_pack("{s:{s:o}}", "add", "set", s);
}

static json_t *field(const char *protocol, const char *name)
{
	return json_pack("{s:{s:s, s:s}}", "payload", "protocol", protocol,
			 "field", name);
}

static json_t *rule(const char *table, bool ipv4)
{
	const char *ip = ipv4 ? "ip" : "ip6";
	json_t *rst = json_pack("{s:{s:s, s:o, s:s}}", "match", "op", "in",
				"left", field("tcp", "flags"), "right", "rst");
	json_t *tuple = json_pack("{s:[o,o,o,o]}", "concat", field(ip, "saddr"),
				  field("tcp", "sport"), field(ip, "daddr"),
				  field("tcp", "dport"));
	json_t *ours = json_pack("{s:{s:s, s:o, s:s}}", "match", "op",
				 "==", "left", tuple, "right",
				 ipv4 ? "@v4" : "@v6");

	return json_pack("{s:{s:{s:s, s:s, s:s, s:[o,o,{s:n}]}}}", "add",
			 "rule", "family", "inet", "table", table, "chain",
			 "in", "expr", rst, ours, "drop");
}

static json_t *table_json(const char *name)
{
	return json_pack("{s:{s:s, s:s}}", "table", "family", "inet", "name",
			 name);
}

static json_t *ruleset(const char *name, const struct shielded *v, size_t n,
		       int64_t timeout_s)
{
	json_t *chain = json_pack(
		"{s:{s:{s:s, s:s, s:s, s:s, s:s, s:i, s:s}}}", "add", "chain",
		"family", "inet", "table", name, "name", "in", "type", "filter",
		"hook", "prerouting", "prio", -300, "policy", "accept");

	return json_pack("{s:[{s:o}, o, o, o, o, o]}", "nftables", "create",
			 table_json(name), chain,
			 set(name, true, v, n, timeout_s),
			 set(name, false, v, n, timeout_s), rule(name, true),
			 rule(name, false));
}

static char *const from_stdin[] = { (char *)"nft", (char *)"-j", (char *)"-f",
				    (char *)"-", NULL };

struct error *shield_raise(struct guard *guard, size_t i, struct shielded *v,
			   size_t n, int64_t window_ms)
{
	struct guard_shield *shield = guard_shield(guard, i);
	AUTO_JSON json_t *commands = ruleset(
		guard_name(guard), v, n, window_ms / 1000 + SHIELD_MARGIN_S);

	if (!commands)
		return &error_nomem;
	atomic_store(&shield->armed, 1);
	struct error *err =
		run_nft(guard, shield->netns_fd, from_stdin, commands, NULL);
	// All of it or nothing, unless nft had to be killed: then who knows.
	if (err && error_code(err) != ERROR_OS)
		atomic_store(&shield->armed, 0);
	else if (err && shield_remove(guard, i))
		log_debug("net", "cannot remove %s", guard_name(guard));
	return err;
}

/* --- counters --- */

static bool is_endpoint(const json_t *addr, const json_t *port,
			const struct endpoint *e)
{
	struct endpoint plain = endpoint_unmap(e);
	unsigned char bytes[16];

	return json_integer_value(port) == plain.port && json_is_string(addr) &&
	       inet_pton(plain.family, json_string_value(addr), bytes) == 1 &&
	       !memcmp(bytes, plain.addr, plain.family == AF_INET ? 4 : 16);
}

static void count_element(const json_t *elem, struct shielded *v, size_t n)
{
	const json_t *val =
		json_object_get(json_object_get(elem, "val"), "concat");
	json_int_t packets = json_integer_value(
		json_object_get(json_object_get(elem, "counter"), "packets"));

	if (packets <= 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (is_endpoint(json_array_get(val, 0), json_array_get(val, 1),
				&v[i].s->remote) &&
		    is_endpoint(json_array_get(val, 2), json_array_get(val, 3),
				&v[i].s->local)) {
			v[i].resets = (uint64_t)packets;
			return;
		}
	}
}

static void count_table(const json_t *answer, struct shielded *v, size_t n)
{
	const json_t *objects = json_object_get(answer, "nftables");

	for (size_t i = 0; i < json_array_size(objects); i++) {
		const json_t *elems = json_object_get(
			json_object_get(json_array_get(objects, i), "set"),
			"elem");

		for (size_t k = 0; k < json_array_size(elems); k++)
			count_element(json_object_get(json_array_get(elems, k),
						      "elem"),
				      v, n);
	}
}

struct error *shield_read(struct guard *guard, size_t i, struct shielded *v,
			  size_t n)
{
	char *const argv[] = { (char *)"nft",
			       (char *)"-j",
			       (char *)"list",
			       (char *)"table",
			       (char *)"inet",
			       (char *)guard_name(guard),
			       NULL };
	AUTO_FREE char *text = NULL;
	struct error *err = run_nft(guard, guard_shield(guard, i)->netns_fd,
				    argv, NULL, &text);

	if (err)
		return err;
	AUTO_JSON json_t *answer = json_loads(text, 0, NULL);
	if (!answer)
		return error_new(ERROR_CORRUPT,
				 "the RST shield cannot be read: nft gave no "
				 "JSON");
	count_table(answer, v, n);
	return NULL;
}

/* --- removal --- */

/* Is there a table of ours? 1, 0, or -errno. */
static int is_there(struct guard *guard, int netns_fd)
{
	char *const argv[] = { (char *)"nft", (char *)"-j", (char *)"list",
			       (char *)"tables", NULL };
	AUTO_FREE char *text = NULL;
	AUTO_ERROR struct error *err =
		run_nft(guard, netns_fd, argv, NULL, &text);

	if (err)
		return -EIO;
	return strstr(text, guard_name(guard)) != NULL;
}

int shield_remove(struct guard *guard, size_t i)
{
	struct guard_shield *shield = guard_shield(guard, i);

	if (!atomic_load(&shield->armed))
		return 0;
	AUTO_JSON json_t *commands = json_pack("{s:[{s:o}]}", "nftables",
					       "delete",
					       table_json(guard_name(guard)));
	if (!commands)
		return -ENOMEM;
	AUTO_ERROR struct error *err =
		run_nft(guard, shield->netns_fd, from_stdin, commands, NULL);
	// it may never have been made; without nft none was
	if (err && error_code(err) != ERROR_UNSUPPORTED) {
		int rc = is_there(guard, shield->netns_fd);

		if (rc)
			return rc < 0 ? rc : -EBUSY;
	}
	atomic_store(&shield->armed, 0);
	return 0;
}
