/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/process.h"
#include "scenarios/lab/lab_priv.h"

#define STATE_FILE "state.json"
#define STATE_NEW "state.json.new"
#define STATE_MAX (64 * 1024)
#define STATE_SCHEMA 1
#define LOCK_NS (10 * INT64_C(1000000000))
#define STEP_NS 5000000
#define PATH_SIZE 256

/* Processes. */

struct lab_process lab_process_of(pid_t pid)
{
	AUTO_PROCESS struct process *p = NULL;
	AUTO_ERROR struct error *err = process_open(pid, &p);

	if (err)
		return (struct lab_process){ 0 };
	return (struct lab_process){ pid, p->start_ticks };
}

int lab_process_open(const struct lab_process *p)
{
	if (p->pid <= 0)
		return -1;
	int fd = pidfd_open(p->pid, 0);
	if (fd < 0)
		return -1;
	// held by now: its number cannot become another's between the two
	struct lab_process now = lab_process_of(p->pid);
	if (now.pid == p->pid && now.start == p->start)
		return fd;
	close(fd);
	return -1;
}

bool lab_process_alive(const struct lab_process *p)
{
	AUTO_CLOSE int fd = lab_process_open(p);

	return fd >= 0;
}

/* JSON. */

static json_t *pack_process(const struct lab_process *p)
{
	return json_pack("{s:i, s:I}", "pid", p->pid, "start",
			 (json_int_t)p->start);
}

static json_t *pack_host(const struct lab_host *h)
{
	return json_pack("{s:s, s:o, s:I}", "name", h->name, "holder",
			 pack_process(&h->holder), "netns",
			 (json_int_t)h->netns);
}

static json_t *pack_fault(const struct lab_fault_state *f)
{
	return json_pack("{s:s, s:s, s:o, s:I}", "name", f->name, "arg", f->arg,
			 "helper", pack_process(&f->helper), "until",
			 (json_int_t)f->until_ms);
}

json_t *lab_state_pack(const struct lab_state *st)
{
	json_t *hosts = json_array(), *faults = json_array();

	for (size_t i = 0; i < st->n_hosts; i++)
		json_array_append_new(hosts, pack_host(&st->hosts[i]));
	for (size_t i = 0; i < st->n_faults; i++)
		json_array_append_new(faults, pack_fault(&st->faults[i]));
	return json_pack("{s:i, s:s, s:s, s:s, s:o, s:o, s:i, s:I, s:o, s:o, "
			 "s:o}",
			 "schema", STATE_SCHEMA, "name", st->name, "id", st->id,
			 "topology", st->plan->name, "keeper",
			 pack_process(&st->keeper), "warden",
			 pack_process(&st->warden), "owner", st->owner, "since",
			 (json_int_t)st->since_ms, "hosts", hosts, "spare",
			 pack_host(&st->spare), "faults", faults);
}

/* A string that fits, into @buf. */
static bool take_text(const json_t *doc, const char *key, char *buf,
		      size_t size)
{
	const char *s = json_string_value(json_object_get(doc, key));

	return s && (size_t)snprintf(buf, size, "%s", s) < size;
}

static bool take_number(const json_t *doc, const char *key, int64_t most,
			int64_t *ret)
{
	const json_t *v = json_object_get(doc, key);

	*ret = json_integer_value(v);
	return json_is_integer(v) && *ret >= 0 && *ret <= most;
}

static bool take_pid(const json_t *doc, const char *key, pid_t *ret)
{
	int64_t n;
	bool ok = take_number(doc, key, PROCESS_MAX_PIDS, &n);

	*ret = ok ? (pid_t)n : 0;
	return ok && n != 1;
}

static bool take_process(const json_t *doc, const char *key,
			 struct lab_process *ret)
{
	const json_t *o = json_object_get(doc, key);
	int64_t start;

	if (!take_pid(o, "pid", &ret->pid) ||
	    !take_number(o, "start", INT64_MAX, &start))
		return false;
	ret->start = (uint64_t)start;
	return true;
}

static bool take_host(const json_t *doc, struct lab_host *ret)
{
	int64_t netns;

	if (!take_text(doc, "name", ret->name, sizeof(ret->name)) ||
	    !take_process(doc, "holder", &ret->holder) ||
	    !take_number(doc, "netns", INT64_MAX, &netns))
		return false;
	ret->netns = (uint64_t)netns;
	return true;
}

static bool take_hosts(const json_t *doc, struct lab_state *ret)
{
	const json_t *v = json_object_get(doc, "hosts");

	// all of the topology, in its order
	ret->n_hosts = json_array_size(v);
	for (size_t i = 0; i < ret->n_hosts; i++) {
		struct lab_host *h = &ret->hosts[i];

		if (!ret->plan->hosts[i] ||
		    !take_host(json_array_get(v, i), h) ||
		    strcmp(ret->plan->hosts[i], h->name) != 0)
			return false;
	}
	if (ret->plan->hosts[ret->n_hosts])
		return false;
	return take_host(json_object_get(doc, "spare"), &ret->spare);
}

static bool take_fault(const json_t *doc, struct lab_fault_state *ret)
{
	return take_text(doc, "name", ret->name, sizeof(ret->name)) &&
	       take_text(doc, "arg", ret->arg, sizeof(ret->arg)) &&
	       lab_name_ok(ret->name) &&
	       (!ret->arg[0] || lab_name_ok(ret->arg)) &&
	       take_process(doc, "helper", &ret->helper) &&
	       take_number(doc, "until", INT64_MAX, &ret->until_ms);
}

static bool take_faults(const json_t *doc, struct lab_state *ret)
{
	const json_t *v = json_object_get(doc, "faults");

	ret->n_faults = json_array_size(v);
	if (!json_is_array(v) || ret->n_faults > LAB_MAX_FAULTS)
		return false;
	for (size_t i = 0; i < ret->n_faults; i++) {
		if (!take_fault(json_array_get(v, i), &ret->faults[i]))
			return false;
	}
	return true;
}

bool lab_state_unpack(const json_t *doc, struct lab_state *ret)
{
	struct lab_state st = { 0 };
	char topology[32];
	int64_t schema;

	if (!take_number(doc, "schema", STATE_SCHEMA, &schema) ||
	    schema != STATE_SCHEMA ||
	    !take_text(doc, "topology", topology, sizeof(topology)) ||
	    !take_text(doc, "name", st.name, sizeof(st.name)) ||
	    !take_text(doc, "id", st.id, sizeof(st.id)) || !st.id[0])
		return false;
	st.plan = lab_plan_find(topology);
	if (!st.plan || !lab_name_ok(st.name) ||
	    !take_process(doc, "keeper", &st.keeper) ||
	    !take_process(doc, "warden", &st.warden) ||
	    !take_pid(doc, "owner", &st.owner) ||
	    !take_number(doc, "since", INT64_MAX, &st.since_ms) ||
	    !take_hosts(doc, &st) || !take_faults(doc, &st))
		return false;
	*ret = st;
	return true;
}

struct lab_host *lab_state_host(struct lab_state *st, const char *name)
{
	for (size_t i = 0; i < st->n_hosts; i++) {
		if (!strcmp(st->hosts[i].name, name))
			return &st->hosts[i];
	}
	return NULL;
}

/* The directory. */

/* Whoever may write there may make us kill: it must be ours alone. */
static struct error *check_ours(const char *path, bool make)
{
	struct stat st;

	if (make && mkdir(path, 0700) && errno != EEXIST)
		return error_os(errno, "cannot make the directory '%s'", path);
	if (lstat(path, &st) && errno == ENOENT && !make)
		return NULL; // then there is no lab, which the caller will see
	if (lstat(path, &st))
		return error_os(errno, "cannot look at '%s'", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & (S_IWGRP | S_IWOTH)))
		return error_new(ERROR_DENIED,
				 "'%s' is not a directory that only we may "
				 "write; remove it",
				 path);
	return NULL;
}

static struct error *base_dir(bool make, char path[PATH_SIZE])
{
	const char *run = getenv("XDG_RUNTIME_DIR");
	struct error *err;

	// root of a user namespace may write there as little as anybody
	if (geteuid() == 0 && access("/run", W_OK) == 0)
		snprintf(path, PATH_SIZE - 64, "/run/stranded");
	else if (run && run[0] == '/' && strlen(run) < PATH_SIZE - 64 &&
		 access(run, W_OK) == 0)
		snprintf(path, PATH_SIZE - 48, "%s/stranded", run);
	else
		snprintf(path, PATH_SIZE - 64, "/tmp/stranded-%d",
			 (int)geteuid());
	err = check_ours(path, make);
	if (err)
		return err;
	strcat(path, "/lab");
	return check_ours(path, make);
}

static struct error *dir_path(const char *name, bool make, char path[PATH_SIZE])
{
	if (!lab_name_ok(name))
		return error_new(ERROR_USAGE,
				 "'%s' is no name for a lab; use up to %d of "
				 "A-Z a-z 0-9 _ and -, no - first",
				 name, LAB_NAME_MAX - 1);
	struct error *err = base_dir(make, path);
	if (err)
		return err;
	strcat(path, "/");
	strcat(path, name);
	return NULL;
}

/* Is @fd still what is at @path? */
static bool is_at(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && lstat(path, &b) == 0 &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static int lock_within(int fd, int64_t ns)
{
	int64_t end = clock_mono_ns() + ns;

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (clock_mono_ns() > end)
			return -ETIMEDOUT;
		clock_sleep_until(clock_mono_ns() + STEP_NS);
	}
	return 0;
}

/* Who has locked @fd, by /proc/locks (locks_show, Linux 6.18); 0: not known. */
static pid_t holder_of(int fd)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[256];
	struct stat st;
	pid_t ret = 0;

	if (!locks)
		return 0;
	if (fstat(fd, &st))
		st = (struct stat){ 0 };
	while (!ret && fgets(line, sizeof(line), locks)) {
		unsigned int major, minor;
		uint64_t inode;
		int pid;

		/* "4: FLOCK  ADVISORY  WRITE 1234 00:1a:567 0 EOF"; who waits
		 * for it has "4: -> FLOCK" */
		if (sscanf(line, "%*u: FLOCK ADVISORY WRITE %d %x:%x:%" SCNu64,
			   &pid, &major, &minor, &inode) == 4 &&
		    inode == st.st_ino && makedev(major, minor) == st.st_dev)
			ret = pid;
	}
	fclose(locks);
	return ret > 0 ? ret : 0;
}

static struct error *busy_error(const char *name, int fd)
{
	pid_t pid = holder_of(fd);

	if (!pid)
		return error_new(ERROR_OS,
				 "lab '%s' is busy: another command holds it; "
				 "wait for that, or end it",
				 name);
	return error_new(ERROR_OS,
			 "lab '%s' is busy: process %d holds it; wait for "
			 "that, or end it with kill -9 %d",
			 name, (int)pid, (int)pid);
}

static int open_dir(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

struct error *lab_dir_lock(const char *name, int *dirfd_ret)
{
	char path[PATH_SIZE];
	struct error *err = dir_path(name, false, path);

	if (err)
		return err;
	AUTO_LAB_DIR int fd = open_dir(path);
	if (fd < 0 && errno == ENOENT)
		return error_new(ERROR_GONE, "no lab '%s' is up", name);
	if (fd < 0)
		return error_os(errno, "cannot open '%s'", path);
	int rc = lock_within(fd, LOCK_NS);
	if (rc == -ETIMEDOUT)
		return busy_error(name, fd);
	if (rc)
		return error_os(-rc, "cannot lock '%s'", path);
	if (!is_at(fd, path))
		return error_new(ERROR_GONE, "lab '%s' has just gone down",
				 name);
	*dirfd_ret = TAKE_FD(fd);
	return NULL;
}

void lab_dir_unlock(int *dirfd)
{
	if (*dirfd < 0)
		return;
	flock(*dirfd, LOCK_UN);
	close(*dirfd);
}

void lab_dir_remove(const char *name)
{
	char path[PATH_SIZE];
	AUTO_ERROR struct error *err = dir_path(name, false, path);

	if (err)
		return;
	// a command may be writing a last time; it finds no directory then
	for (int i = 0; i < 10; i++) {
		AUTO_CLOSE int fd = open_dir(path);

		if (fd < 0)
			return;
		unlinkat(fd, STATE_FILE, 0);
		unlinkat(fd, STATE_NEW, 0);
		if (rmdir(path) == 0 || errno != ENOTEMPTY)
			return;
	}
}

/* Somebody has that name. Returns NULL when that was a leftover, now gone. */
static struct error *evict(const char *name)
{
	AUTO_LAB_DIR int fd = -1;
	struct lab_state st;
	struct error *err = lab_dir_lock(name, &fd);

	if (!err)
		err = lab_state_read(fd, name, &st);
	if (!err)
		return error_new(ERROR_USAGE,
				 "lab '%s' is up already; take another --name, "
				 "or 'stranded lab down --name %s'",
				 name, name);
	error_catch(&err, ERROR_GONE);
	return err;
}

struct error *lab_dir_reserve(const char *name, int *dirfd_ret)
{
	char path[PATH_SIZE];
	struct error *err = dir_path(name, true, path);

	for (int i = 0; !err && i < 10; i++) {
		bool taken = mkdir(path, 0700) != 0;

		if (taken && errno != EEXIST)
			return error_os(errno, "cannot make '%s'", path);
		if (taken && (err = evict(name)))
			return err;
		AUTO_LAB_DIR int fd = open_dir(path);
		if (fd < 0)
			continue;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_at(fd, path) &&
		    faccessat(fd, STATE_FILE, F_OK, 0) != 0) {
			*dirfd_ret = TAKE_FD(fd);
			return NULL;
		}
	}
	return err ? err
		   : error_new(ERROR_OS, "cannot make '%s': others remove it",
			       path);
}

/* Nobody looks after it: end what is left. */
static void sweep_leftovers(const struct lab_state *st)
{
	struct lab_sweep sweep;

	/* The numbers of its namespaces may be others' by now: only what has
	 * the lab's id in its environment is of the lab.
	 */
	lab_keeper_end(st);
	lab_sweep_init(&sweep, st, false);
	sweep.id = st->id;
	lab_sweep(&sweep);
}

static json_t *load(int dirfd, const char *name, struct error **err_ret)
{
	AUTO_CLOSE int fd =
		openat(dirfd, STATE_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	json_t *doc = NULL;

	// who makes a lab holds its lock until there is a state
	if (fd < 0 && errno == ENOENT)
		*err_ret = error_new(ERROR_GONE, "no lab '%s' is up", name);
	else if (fd < 0 || fstat(fd, &st))
		*err_ret =
			error_os(errno, "cannot read the state of '%s'", name);
	else if (!S_ISREG(st.st_mode) || st.st_size > STATE_MAX)
		*err_ret = error_new(ERROR_CORRUPT,
				     "the state of lab '%s' is no state file",
				     name);
	else
		doc = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
	return doc;
}

/* A command may have been killed between the deed and writing it down. */
static void see_dead_hosts(struct lab_state *st)
{
	for (size_t i = 0; i < st->n_hosts; i++) {
		struct lab_host *h = &st->hosts[i];

		if (lab_process_alive(&h->holder))
			continue;
		h->holder = (struct lab_process){ 0 };
		h->netns = 0;
	}
}

bool lab_state_peek(int dirfd, struct lab_state *ret)
{
	AUTO_ERROR struct error *err = NULL;
	json_t *doc = load(dirfd, "", &err);
	bool ok = doc && lab_state_unpack(doc, ret);

	json_decref(doc);
	return ok;
}

struct error *lab_state_read(int dirfd, const char *name, struct lab_state *ret)
{
	struct error *err = NULL;
	json_t *doc = load(dirfd, name, &err);

	if (err) {
		if (error_code(err) == ERROR_GONE)
			lab_dir_remove(name);
		return err;
	}
	bool ok = lab_state_unpack(doc, ret) && !strcmp(ret->name, name);
	json_decref(doc);
	if (!ok) {
		lab_dir_remove(name);
		return error_new(ERROR_CORRUPT,
				 "the state of lab '%s' made no sense and was "
				 "removed; processes of it may be left",
				 name);
	}
	if (lab_process_alive(&ret->keeper)) {
		see_dead_hosts(ret);
		return NULL;
	}
	sweep_leftovers(ret);
	lab_dir_remove(name);
	return error_new(ERROR_GONE, "the keeper of lab '%s' was killed", name);
}

struct error *lab_state_write(int dirfd, const struct lab_state *st)
{
	AUTO_CLOSE int fd = openat(
		dirfd, STATE_NEW,
		O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_os(errno, "cannot write the state of lab '%s'",
				st->name);
	json_t *doc = lab_state_pack(st);
	int rc = doc ? json_dumpfd(doc, fd, JSON_COMPACT) : -1;
	json_decref(doc);
	if (rc || renameat(dirfd, STATE_NEW, dirfd, STATE_FILE))
		return error_os(rc ? ENOSPC : errno,
				"cannot write the state of lab '%s'", st->name);
	return NULL;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct error *lab_dir_names(struct arena *arena, const char ***ret,
			    size_t *n_ret)
{
	char path[PATH_SIZE];
	struct error *err = base_dir(false, path);
	struct dirent *e;
	size_t n = 0;

	if (err)
		return err;
	const char **v = arena_array(arena, LAB_MAX_LABS, sizeof(*v));
	DIR *dir = opendir(path);
	if (v && !dir && errno == ENOENT) {
		*ret = v;
		*n_ret = 0;
		return NULL;
	}
	if (!v || !dir) {
		if (dir)
			closedir(dir);
		return v ? error_os(errno, "cannot list '%s'", path)
			 : &error_nomem;
	}
	while (n < LAB_MAX_LABS && (e = readdir(dir))) {
		if (!lab_name_ok(e->d_name))
			continue;
		v[n] = arena_strdup(arena, e->d_name);
		if (v[n])
			n++;
	}
	closedir(dir);
	qsort(v, n, sizeof(*v), compare_names);
	*ret = v;
	*n_ret = n;
	return NULL;
}
