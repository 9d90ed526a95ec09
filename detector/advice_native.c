/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/advice.h"

#include "detector/frames.h"

static const struct frame *site_of(const struct finding *f)
{
	return stack_own_frame(f->stack);
}

/*
 * Libraries and language runtimes that own the connection: the time-out is one
 * of their settings.
 */
static const struct {
	const char
		*object; /* file name of an ELF object on the stack, or NULL */
	const char *prefix; /* or of a function */
	const char *text;
} libraries[] = {
	{ "libpq.so", "PQ",
	  "libpq: add keepalives_idle=60 keepalives_interval=10 "
	  "keepalives_count=5 and tcp_user_timeout=30000 to the connection "
	  "string" },
	{ "libmysqlclient", "mysql_",
	  "set MYSQL_OPT_READ_TIMEOUT and MYSQL_OPT_WRITE_TIMEOUT with "
	  "mysql_options()" },
	{ "libmariadb", NULL,
	  "set MYSQL_OPT_READ_TIMEOUT and MYSQL_OPT_WRITE_TIMEOUT with "
	  "mysql_options()" },
	{ "libhiredis", "redis",
	  "hiredis: redisSetTimeout() and redisEnableKeepAliveWithInterval()" },
	{ "libcurl", "curl_",
	  "libcurl: set CURLOPT_TCP_KEEPALIVE, and CURLOPT_LOW_SPEED_LIMIT "
	  "with CURLOPT_LOW_SPEED_TIME or CURLOPT_TIMEOUT" },
	{ "libjvm.so", NULL,
	  "Java: Socket.setSoTimeout(ms) before the read, and "
	  "Socket.setKeepAlive(true)" },
	{ "libpython3", "_PyEval_",
	  "Python: sock.settimeout(seconds), or socket.setdefaulttimeout() "
	  "before the connection is made" },
	{ NULL, "st_read",
	  "State Threads: give st_read() a time-out instead of "
	  "ST_UTIME_NO_TIMEOUT" },
	{ NULL, "st_poll",
	  "State Threads: give st_poll() a time-out instead of "
	  "ST_UTIME_NO_TIMEOUT" },
	{ "libpth.so", "pth_",
	  "GNU Pth: wait with pth_read_ev() or pth_recv_ev() and an event of "
	  "PTH_EVENT_TIME" },
	{ "libboost_fiber", "boost::fibers",
	  "Boost.Fiber: wait with wait_for() or wait_until(), and close the "
	  "socket when they time out" },
};

static bool advise_library(struct finding *f)
{
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
		const char *object = libraries[i].object;
		const char *prefix = libraries[i].prefix;

		if (!(object && stack_has_object(f->stack, object)) &&
		    !(prefix && stack_has_prefix(f->stack, prefix)))
			continue;
		advice_say(f, site_of(f), libraries[i].text);
		return true;
	}
	return false;
}

static void advise_keepalive(struct finding *f)
{
	if (f->keepalive == KEEPALIVE_OFF)
		advice_say(f, NULL,
			   "turn keepalive on: setsockopt SO_KEEPALIVE, with "
			   "TCP_KEEPIDLE 60, TCP_KEEPINTVL 10, TCP_KEEPCNT 5");
}

static void advise_user_timeout(struct finding *f)
{
	if (advice_wants_user_timeout(f))
		advice_say(f, NULL,
			   "set TCP_USER_TIMEOUT (tcp(7)): unanswered data "
			   "then fails after that time, not after 15 min");
}

static void advise_reader(struct finding *f)
{
	const struct task *task = f->members[0].task;

	if (f->verdict == VERDICT_DATA_WAITING)
		advice_say(f, site_of(f),
			   "the data has come: look for another reader of the "
			   "same file descriptor, and for CPU starvation");
	else if (advise_library(f))
		;
	else if (f->runtime == TASK_COROUTINE)
		advice_say(f, site_of(f),
			   "give the wait a time-out, and close the connection "
			   "when it passes");
	else if (task->wait == WAIT_POLL && task->timeout_ms >= 0)
		advice_say(f, site_of(f),
			   "poll(2) times out, and the program waits again: "
			   "count the time, and close the connection");
	else if (task->wait == WAIT_POLL)
		advice_say(f, site_of(f),
			   "give poll(2) a time-out, and close the connection "
			   "when it passes");
	else
		advice_say(f, site_of(f),
			   "set SO_RCVTIMEO (socket(7)), or poll(2) with a "
			   "time-out before the read");
	if (f->verdict == VERDICT_DATA_WAITING)
		return;
	advise_keepalive(f);
	advise_user_timeout(f);
}

static void advise_writer(struct finding *f)
{
	if (!advise_library(f))
		advice_say(f, site_of(f),
			   "set SO_SNDTIMEO (socket(7)), or poll(2) with a "
			   "time-out before the write");
	advise_user_timeout(f);
}

static void advise_connect(struct finding *f)
{
	advice_say(f, site_of(f),
		   "limit the handshake: SO_SNDTIMEO before connect(2), or a "
		   "non-blocking connect and poll(2) with a time-out");
}

static void advise_held(struct finding *f)
{
	if (f->members[0].task)
		advice_say(f, site_of(f),
			   "close the connection: its peer has closed, and "
			   "this wait has no time-out");
	else
		advice_say(f, NULL,
			   "close the connection when a read gives 0: the fd "
			   "is held, and nobody reads it");
}

static void advise_idle(struct finding *f)
{
	if (f->members[0].holder)
		advice_say(f, site_of(f),
			   "the event loop is told only when the kernel gives "
			   "up: close what is idle by a timer, or let "
			   "keepalive find out");
	else
		advice_say(f, NULL,
			   "close what is idle by a timer, or check it before "
			   "it is used again");
	advise_keepalive(f);
	advise_user_timeout(f);
}

static void advise_group(struct finding *f)
{
	if (f->members[0].task->wait == WAIT_FUTEX)
		advice_say(f, site_of(f),
			   "look for who holds the lock or should signal: "
			   "stranded ps --stacks");
}

void advise_native(struct finding *f)
{
	switch (f->kind) {
	case FINDING_STRANDED_READER:
		advise_reader(f);
		break;
	case FINDING_STRANDED_WRITER:
		advise_writer(f);
		break;
	case FINDING_STRANDED_CONNECT:
		advise_connect(f);
		break;
	case FINDING_HALF_CLOSED_HELD:
		advise_held(f);
		break;
	case FINDING_DEAD_IDLE:
		advise_idle(f);
		break;
	case FINDING_BLOCKED_GROUP:
		advise_group(f);
		break;
	}
}
