/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "scenarios/lab/lab_priv.h"

static struct error *choose(const struct lab_options *opt, struct lab_state *st)
{
	static unsigned count; // names of one process do not repeat
	uint64_t id;

	st->plan = opt->topology ? lab_plan_find(opt->topology) : NULL;
	if (!st->plan)
		return error_new(ERROR_USAGE,
				 "no topology '%s'; there are pair, lan, "
				 "routed, nat and proxy",
				 opt->topology ? opt->topology : "");
	if (opt->name && !lab_name_ok(opt->name))
		return error_new(ERROR_USAGE,
				 "'%s' is no name for a lab; use up to %d of "
				 "A-Z a-z 0-9 _ and -, no - first",
				 opt->name, LAB_NAME_MAX - 1);
	if (opt->name)
		snprintf(st->name, sizeof(st->name), "%s", opt->name);
	else
		snprintf(st->name, sizeof(st->name), "%s-%d-%u", st->plan->name,
			 getpid(),
			 __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED));
	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		return error_os(errno, "cannot make an id for the lab");
	snprintf(st->id, sizeof(st->id), "%016" PRIx64, id);
	st->owner = opt->owner ? opt->owner : opt->owned ? getpid() : 0;
	return NULL;
}

static struct error *open_owner(pid_t owner, int *ret)
{
	if (!owner)
		return NULL;
	*ret = pidfd_open(owner, 0);
	if (*ret >= 0)
		return NULL;
	if (errno == ESRCH)
		return error_new(ERROR_GONE,
				 "process %d, which should own the lab, is "
				 "gone",
				 owner);
	return error_os(errno, "cannot watch process %d", owner);
}

struct error *lab_up(const struct lab_options *opt, struct lab **ret)
{
	AUTO_CLOSE int owner = -1;
	AUTO_LAB_DIR int dirfd = -1;
	struct lab *lab = calloc(1, sizeof(*lab));

	if (!lab)
		return &error_nomem;
	lab->owned = opt->owned;
	struct error *err = choose(opt, &lab->state);
	if (!err)
		err = open_owner(lab->state.owner, &owner);
	if (!err)
		err = lab_dir_reserve(lab->state.name, &dirfd);
	if (!err)
		err = lab_keeper_start(&lab->state, dirfd, owner);
	if (err) {
		free(lab);
		return err;
	}
	*ret = lab;
	return NULL;
}

/* The lab that @name means, or the only one. */
static struct error *resolve(const char *name, char buf[LAB_NAME_MAX])
{
	AUTO_ARENA struct arena *arena = NULL;
	const char *const *names;
	size_t n;

	if (name) {
		snprintf(buf, LAB_NAME_MAX, "%s", name);
		return strcmp(buf, name) == 0 && lab_name_ok(name)
			       ? NULL
			       : error_new(ERROR_USAGE,
					   "'%s' is no name for a lab", name);
	}
	arena = arena_create();
	if (!arena)
		return &error_nomem;
	struct error *err = lab_list(arena, &names, &n);
	if (err)
		return err;
	if (n == 0)
		return error_new(ERROR_GONE,
				 "no lab is up; 'stranded lab up TOPOLOGY' "
				 "builds one");
	if (n > 1)
		return error_new(ERROR_USAGE,
				 "%zu labs are up, '%s' and '%s' among them; "
				 "say which by --name",
				 n, names[0], names[1]);
	snprintf(buf, LAB_NAME_MAX, "%s", names[0]);
	return NULL;
}

static struct error *read_state(const char *name, struct lab_state *ret)
{
	AUTO_LAB_DIR int dirfd = -1;
	struct error *err = lab_dir_lock(name, &dirfd);

	return err ? err : lab_state_read(dirfd, name, ret);
}

struct error *lab_open(const char *name, struct lab **ret)
{
	char buf[LAB_NAME_MAX];
	struct error *err = resolve(name, buf);

	if (err)
		return err;
	struct lab *lab = calloc(1, sizeof(*lab));
	if (!lab)
		return &error_nomem;
	err = read_state(buf, &lab->state);
	if (err) {
		free(lab);
		return err;
	}
	*ret = lab;
	return NULL;
}

void lab_close(struct lab *lab)
{
	if (!lab)
		return;
	if (lab->owned)
		error_free(lab_down(lab->state.name));
	free(lab);
}

struct error *lab_down(const char *name)
{
	char buf[LAB_NAME_MAX];
	struct lab_state st;
	struct error *err = resolve(name, buf);

	if (!err)
		err = read_state(buf, &st);
	if (err)
		return err;
	lab_keeper_end(&st);
	/* When the two were killed at once, some of this is left. */
	struct lab_sweep sweep;
	lab_sweep_init(&sweep, &st, false);
	sweep.id = st.id;
	if (lab_sweep(&sweep))
		return error_new(ERROR_OS,
				 "lab '%s' is down, but a process in it does "
				 "not die",
				 buf);
	return NULL;
}

struct error *lab_list(struct arena *arena, const char *const **ret,
		       size_t *n_ret)
{
	const char **names;
	size_t n, up = 0;
	struct error *err = lab_dir_names(arena, &names, &n);

	if (err)
		return err;
	for (size_t i = 0; i < n; i++) {
		struct lab_state st;

		err = read_state(names[i], &st);
		// also one that makes no sense: it is removed, and none is up
		if (!err)
			names[up++] = names[i];
		error_free(err);
	}
	*ret = names;
	*n_ret = up;
	return NULL;
}

const char *lab_name(const struct lab *lab)
{
	return lab->state.name;
}

pid_t lab_host_pid(const struct lab *lab, const char *host)
{
	struct lab_state *st = (struct lab_state *)&lab->state;
	const struct lab_host *h = lab_state_host(st, host);

	return h ? h->holder.pid : 0;
}

const char *lab_address(const struct lab *lab, const char *host, int family)
{
	struct lab_end end;
	const struct lab_plan *plan = lab->state.plan;

	if ((family != AF_INET && family != AF_INET6) ||
	    !lab_plan_has(plan, host) ||
	    !lab_plan_towards(plan, host, strcmp(host, "a") ? "a" : "b",
			      &end) ||
	    !end.addr)
		return NULL;
	for (size_t i = 0; plan->hosts[i]; i++) {
		char *buf = (char *)lab->addresses[2 * i + (family != AF_INET)];

		if (strcmp(plan->hosts[i], host) != 0)
			continue;
		lab_address_text(family, end.net, end.addr, false, buf);
		return buf;
	}
	return NULL;
}

/* Status. */

static struct error *info_host(const struct lab_plan *plan,
			       const struct lab_host *h, struct arena *arena,
			       struct lab_host_info *ret)
{
	struct lab_end end;
	size_t n = 0;

	ret->name = arena_strdup(arena, h->name);
	ret->pid = h->holder.pid;
	for (size_t i = 0; lab_plan_end(plan, h->name, i, &end); i++) {
		for (int six = 0; end.addr && six < 2 && n < 7; six++) {
			char buf[LAB_ADDRESS_MAX];

			lab_address_text(six ? AF_INET6 : AF_INET, end.net,
					 end.addr, true, buf);
			ret->addresses[n] = arena_strdup(arena, buf);
			if (!ret->addresses[n++])
				return &error_nomem;
		}
	}
	return ret->name ? NULL : &error_nomem;
}

static struct error *info_fault(const struct lab_fault_state *f,
				struct arena *arena, struct lab_fault_info *ret)
{
	ret->name = arena_strdup(arena, f->name);
	ret->args[0] = f->arg[0] ? arena_strdup(arena, f->arg) : NULL;
	return ret->name ? NULL : &error_nomem;
}

struct error *lab_info(struct lab *lab, struct arena *arena,
		       struct lab_info *ret)
{
	struct lab_state *st = &lab->state;
	struct error *err = read_state(st->name, st);

	if (err)
		return err;
	struct lab_host_info *hosts =
		arena_array(arena, st->n_hosts, sizeof(*hosts));
	struct lab_fault_info *faults =
		arena_array(arena, LAB_MAX_FAULTS, sizeof(*faults));
	if (!hosts || !faults)
		return &error_nomem;
	int64_t now = clock_boot_ns() / 1000000;
	*ret = (struct lab_info){
		.name = arena_strdup(arena, st->name),
		.topology = st->plan->name,
		.keeper = st->keeper.pid,
		.owner = st->owner,
		.age_ms = now - st->since_ms,
		.hosts = hosts,
		.n_hosts = st->n_hosts,
		.faults = faults,
	};
	for (size_t i = 0; !err && i < st->n_hosts; i++)
		err = info_host(st->plan, &st->hosts[i], arena, &hosts[i]);
	for (size_t i = 0; !err && i < st->n_faults; i++) {
		const struct lab_fault_state *f = &st->faults[i];

		if (f->until_ms && f->until_ms <= now)
			continue;
		err = info_fault(f, arena, &faults[ret->n_faults++]);
	}
	return err;
}
