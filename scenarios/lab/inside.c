/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/open_files.h"
#include "base/process.h"
#include "netwatch/netns.h"
#include "scenarios/lab/lab_priv.h"

/* An error and an answer in one write, shorter than PIPE_BUF. */
struct parcel {
	bool failed;
	enum error_code code;
	struct lab_answer answer;
	char text[2000];
};

bool lab_error_send(int fd, struct error *err, const struct lab_answer *answer)
{
	struct parcel p = { .failed = err != NULL };

	if (err) {
		p.code = error_code(err);
		snprintf(p.text, sizeof(p.text), "%s", error_text(err));
		error_free(err);
	}
	if (answer)
		p.answer = *answer;
	return write(fd, &p, sizeof(p)) == (ssize_t)sizeof(p);
}

bool lab_error_receive(int fd, struct lab_answer *answer, struct error **ret)
{
	struct parcel p;
	ssize_t n;

	do
		n = read(fd, &p, sizeof(p));
	while (n < 0 && errno == EINTR);
	*ret = NULL;
	if (n != (ssize_t)sizeof(p))
		return false;
	if (answer)
		*answer = p.answer;
	p.text[sizeof(p.text) - 1] = '\0';
	if (p.failed)
		*ret = error_new(p.code, "%s", p.text);
	return true;
}

static bool same_user_ns(pid_t pid)
{
	struct stat own, its;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	return stat("/proc/self/ns/user", &own) == 0 && stat(path, &its) == 0 &&
	       own.st_ino == its.st_ino;
}

/* Where the lab's namespaces are ours to enter. Only with one thread. */
static struct error *enter_user(pid_t pid)
{
	char path[64];

	if (same_user_ns(pid))
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWUSER))
		return error_os(errno, "cannot enter the user namespace of the "
				       "lab");
	return NULL;
}

struct error *lab_host_netns(const struct lab_host *host, int *fd_ret)
{
	char path[64];

	if (!host->holder.pid)
		return error_new(ERROR_GONE, "the machine '%s' is gone",
				 host->name);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", host->holder.pid);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || netns_inode(fd) != host->netns)
		return error_new(ERROR_GONE, "host '%s' of the lab is gone",
				 host->name);
	*fd_ret = TAKE_FD(fd);
	return NULL;
}

struct error *lab_inside(const struct lab_state *st, lab_work *work, void *arg,
			 struct lab_answer *answer)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return error_os(errno, "cannot make a pipe");
	pid_t pid = fork();
	if (pid == 0) {
		struct lab_answer said = { 0 };

		signal(SIGCHLD, SIG_DFL);
		signal(SIGPIPE, SIG_IGN);
		struct error *err = enter_user(st->keeper.pid);
		if (!err)
			err = work(arg, &said);
		lab_error_send(ends[1], err, &said);
		_exit(0);
	}
	int fork_errno = errno;
	close(ends[1]);
	struct error *err = NULL;
	if (pid < 0)
		err = error_os(fork_errno, "cannot fork");
	else if (!lab_error_receive(ends[0], answer, &err))
		err = error_new(ERROR_OS, "what worked on the lab was killed");
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return err;
}

/* Programs in a lab. */

static char **lab_environ(const struct lab_state *st, const char *host)
{
	static char vars[3][64];
	size_t n = 0, kept = 0;

	while (environ[n])
		n++;
	char **v = calloc(n + 4, sizeof(*v));
	if (!v)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (strncmp(environ[i], "STRANDED_LAB", 12) != 0)
			v[kept++] = environ[i];
	}
	snprintf(vars[0], sizeof(vars[0]), "STRANDED_LAB=%s", st->name);
	snprintf(vars[1], sizeof(vars[1]), "STRANDED_LAB_HOST=%s", host);
	snprintf(vars[2], sizeof(vars[2]), "STRANDED_LAB_ID=%s", st->id);
	for (size_t i = 0; i < 3; i++)
		v[kept++] = vars[i];
	return v;
}

int lab_execvpe(char *const *argv, char *const *envp)
{
	char path[4096];
	const char *own = getenv("PATH");

	// nft and the like, for who is not root
	snprintf(path, sizeof(path), "%s:/usr/sbin:/sbin",
		 own ? own : "/usr/local/bin:/usr/bin:/bin");
	setenv("PATH", path, 1);
	open_files_restore();
	execvpe(argv[0], argv, envp);
	return errno;
}

/* The part of lab_spawn() and lab_exec() that is the same. */
static struct error *enter_host(struct lab_state *st, const char *host)
{
	struct lab_host *h = lab_state_host(st, host);
	AUTO_CLOSE int fd = -1;

	if (!h)
		return error_new(ERROR_USAGE,
				 "the topology %s has no host '%s'",
				 st->plan->name, host);
	struct error *err = enter_user(st->keeper.pid);
	if (!err)
		err = lab_host_netns(h, &fd);
	if (!err && setns(fd, CLONE_NEWNET))
		err = error_os(errno, "cannot enter host '%s'", host);
	return err;
}

/* The state may have changed: b may be another by now. */
static struct error *read_anew(struct lab *lab)
{
	AUTO_LAB_DIR int fd = -1;
	struct error *err = lab_dir_lock(lab->state.name, &fd);

	return err ? err : lab_state_read(fd, lab->state.name, &lab->state);
}

static struct error *exec_error(int errnum, const char *program)
{
	return error_os(errnum, "cannot run '%s'", program);
}

struct error *lab_exec(struct lab *lab, const char *host, char *const *argv,
		       int *errnum_ret)
{
	*errnum_ret = 0;
	struct error *err = read_anew(lab);
	if (!err)
		err = enter_host(&lab->state, host);
	if (err)
		return err;
	char **envp = lab_environ(&lab->state, host);
	if (!envp)
		return &error_nomem;
	*errnum_ret = lab_execvpe(argv, envp);
	free(envp);
	return exec_error(*errnum_ret, argv[0]);
}

/* @from becomes @to, or /dev/null does. */
static int give_fd(int from, int to)
{
	int fd = from;

	if (from < 0)
		fd = open("/dev/null", to == 0 ? O_RDONLY : O_WRONLY);
	if (fd < 0)
		return -errno;
	if (fd == to)
		return fcntl(fd, F_SETFD, 0);
	return dup2(fd, to) < 0 ? -errno : 0;
}

/* The three may be each other's numbers: lift them out of the way first. */
static struct error *give_streams(const struct lab_spawn *what)
{
	int v[3] = { what->in, what->out, what->err };

	for (int i = 0; i < 3; i++) {
		if (v[i] >= 0)
			v[i] = fcntl(v[i], F_DUPFD_CLOEXEC, 3);
		if (v[i] < 0 && (i == 0	  ? what->in
				 : i == 1 ? what->out
					  : what->err) >= 0)
			return error_os(errno, "cannot pass a stream");
	}
	for (int i = 0; i < 3; i++) {
		int rc = give_fd(v[i], i);
		if (rc < 0)
			return error_os(-rc, "cannot pass a stream");
	}
	return NULL;
}

static struct error *become(struct lab_state *st, const struct lab_spawn *what,
			    pid_t parent)
{
	sigset_t none;
	struct error *err = enter_host(st, what->host);

	if (!err)
		err = give_streams(what);
	if (err)
		return err;
	// last: entering a user namespace forgets it
	if (what->die_with_us) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(127);
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	char **envp = lab_environ(st, what->host);
	return envp ? exec_error(lab_execvpe(what->argv, envp), what->argv[0])
		    : &error_nomem;
}

struct error *lab_start(struct lab_state *st, const struct lab_spawn *what,
			pid_t *ret)
{
	struct error *err = NULL;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return error_os(errno, "cannot make a pipe");
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		// the numbers 0 to 2 are about to be the program's
		int to = fcntl(ends[1], F_DUPFD_CLOEXEC, 3);

		lab_error_send(to, become(st, what, parent), NULL);
		_exit(127);
	}
	int fork_errno = errno;
	close(ends[1]);
	if (pid < 0)
		err = error_os(fork_errno, "cannot fork");
	else if (lab_error_receive(ends[0], NULL, &err))
		waitpid(pid, NULL, 0);
	else
		*ret = pid; // the end of file without a word: it runs
	close(ends[0]);
	return err;
}

struct error *lab_spawn(struct lab *lab, const struct lab_spawn *what,
			pid_t *ret)
{
	struct error *err = read_anew(lab);

	return err ? err : lab_start(&lab->state, what, ret);
}
