/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/advice.h"

#include "detector/frames.h"

void advice_say(struct finding *f, const struct frame *site, const char *text)
{
	if (f->n_advice < FINDING_MAX_ADVICE)
		f->advice[f->n_advice++] =
			(struct finding_advice){ .site = site, .text = text };
}

static const struct frame *own_site(const struct finding *f)
{
	return stack_own_frame(f->stack);
}

/* Where the program started the task, when it was the program. */
static const struct frame *creator_site(const struct finding *f)
{
	const struct frame *c = f->created_by;

	return c && frame_class(c) == FRAME_PROGRAM ? c : NULL;
}

/*
 * Libraries that own the connection: the deadline belongs into their settings,
 * because the program cannot reach the net.Conn.
 */
static const struct {
	const char *prefix; /* of a function on the stack */
	const char *text;
} libraries[] = {
	{ "net/http.(*conn).serve",
	  "set http.Server.ReadTimeout, or ReadHeaderTimeout and IdleTimeout" },
	{ "net/http.(*persistConn)",
	  "set http.Transport.IdleConnTimeout and ResponseHeaderTimeout, and "
	  "give each request a context with a deadline" },
	{ "net/http.(*http2ClientConn)",
	  "let HTTP/2 ping: http.HTTP2Config.SendPingTimeout (Go 1.24), before "
	  "that http2.Transport.ReadIdleTimeout" },
	{ "golang.org/x/net/http2.(*ClientConn)",
	  "let HTTP/2 ping: http2.Transport.ReadIdleTimeout" },
	{ "golang.org/x/net/http2.(*serverConn)",
	  "set http2.Server.IdleTimeout and ReadIdleTimeout" },
	{ "google.golang.org/grpc/internal/transport.(*http2Client)",
	  "let gRPC ping: grpc.WithKeepaliveParams(keepalive.ClientParameters{"
	  "Time: 30 * time.Second})" },
	{ "google.golang.org/grpc/internal/transport.(*http2Server)",
	  "let gRPC ping: grpc.KeepaliveParams(keepalive.ServerParameters{"
	  "Time: 30 * time.Second})" },
	{ "github.com/lib/pq.",
	  "set tcp_user_timeout or a context deadline: lib/pq has no read "
	  "timeout of its own" },
	{ "github.com/jackc/pgx",
	  "give each query a context with a deadline; set health checks in "
	  "pgxpool.Config" },
	{ "github.com/go-sql-driver/mysql.",
	  "add readTimeout and writeTimeout to the data source name" },
	{ "github.com/redis/go-redis",
	  "set redis.Options.ReadTimeout: -1 means none" },
	{ "github.com/go-redis/redis",
	  "set redis.Options.ReadTimeout: -1 means none" },
};

static bool advise_library(struct finding *f)
{
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
		if (!stack_has_prefix(f->stack, libraries[i].prefix))
			continue;
		advice_say(f, NULL, libraries[i].text);
		return true;
	}
	return false;
}

static void advise_keepalive(struct finding *f)
{
	if (f->keepalive != KEEPALIVE_OFF)
		return;
	advice_say(
		f, creator_site(f),
		"keep keepalive on: net.Dialer or net.ListenConfig{KeepAlive: "
		"15 * time.Second}; from Go 1.23 KeepAliveConfig");
}

/* Data is on its way: keepalive does not run, only this ends it early. */
bool advice_wants_user_timeout(const struct finding *f)
{
	const struct tcp_socket *s = f->members[0].socket;
	enum tcp_timer timer = tcp_socket_latest(s)->timer;

	return (timer == TCP_TIMER_RETRANSMIT || timer == TCP_TIMER_PERSIST) &&
	       !(s->options.known && s->options.user_timeout_ms);
}

static void advise_user_timeout(struct finding *f)
{
	if (advice_wants_user_timeout(f))
		advice_say(
			f, NULL,
			"set TCP_USER_TIMEOUT (net.Dialer.Control): unanswered data then "
			"fails after that time, not after 15 min");
}

static void advise_reader(struct finding *f)
{
	if (f->verdict == VERDICT_DATA_WAITING) {
		advice_say(
			f, own_site(f),
			"the data has come: look for a file descriptor shared by "
			"File() or a raw system call, and for CPU starvation");
		return;
	}
	/* Go's deadlines do not reach a call that Go's poller does not make. */
	if (f->members[0].task->fd_proof == FD_SYSCALL)
		advice_say(
			f, own_site(f),
			"a raw system call has no deadline: set SO_RCVTIMEO, or "
			"read through package net and set one");
	else if (!advise_library(f))
		advice_say(f, own_site(f),
			   "set a deadline: conn.SetReadDeadline");
	advise_keepalive(f);
	advise_user_timeout(f);
}

static void advise_writer(struct finding *f)
{
	if (!advise_library(f) ||
	    stack_has_prefix(f->stack, "net/http.(*conn).serve"))
		advice_say(f, own_site(f),
			   "set a deadline: conn.SetWriteDeadline");
	if (stack_has_prefix(f->stack, "net/http.(*conn).serve"))
		advice_say(f, NULL, "set http.Server.WriteTimeout");
	advise_user_timeout(f);
}

static void advise_held(struct finding *f)
{
	if (f->members[0].task)
		advice_say(f, own_site(f),
			   "close the connection, and set a deadline: "
			   "conn.SetDeadline");
	else
		advice_say(
			f, NULL,
			"close the connection when a read gives io.EOF: the fd is "
			"held, and nobody reads it");
}

static void advise_idle(struct finding *f)
{
	advice_say(
		f, NULL,
		"let the pool drop what is idle: http.Transport.IdleConnTimeout, "
		"sql.DB.SetConnMaxIdleTime, or a ping before reuse");
	advise_keepalive(f);
	advise_user_timeout(f);
}

static const struct {
	enum wait_kind wait;
	const char *text;
} group_texts[] = {
	{ WAIT_CHAN_SEND, "nobody receives: select on ctx.Done() too, or give "
			  "the channel room for every sender" },
	{ WAIT_CHAN_RECV,
	  "nobody sends: select on ctx.Done() too, or close the "
	  "channel" },
	{ WAIT_SELECT, "no case can fire: add ctx.Done()" },
	{ WAIT_FOREVER, "a nil channel or an empty select never wakes" },
	{ WAIT_MUTEX, "look for who holds the lock: stranded ps --stacks" },
	{ WAIT_RWMUTEX, "look for who holds the lock: stranded ps --stacks" },
	{ WAIT_WAITGROUP, "a Done is missing: defer it first thing in each "
			  "goroutine" },
};

static void advise_group(struct finding *f)
{
	enum wait_kind wait = f->members[0].task->wait;

	for (size_t i = 0; i < sizeof(group_texts) / sizeof(group_texts[0]);
	     i++)
		if (group_texts[i].wait == wait)
			advice_say(f, own_site(f), group_texts[i].text);
}

void advise(struct finding *finding)
{
	if (finding->runtime != TASK_GO) {
		advise_native(finding);
		return;
	}
	switch (finding->kind) {
	case FINDING_STRANDED_READER:
		advise_reader(finding);
		break;
	case FINDING_STRANDED_WRITER:
		advise_writer(finding);
		break;
	case FINDING_STRANDED_CONNECT:
		advice_say(finding, own_site(finding),
			   "limit the handshake: net.Dialer{Timeout: 10 * "
			   "time.Second} or DialContext with a deadline");
		break;
	case FINDING_HALF_CLOSED_HELD:
		advise_held(finding);
		break;
	case FINDING_DEAD_IDLE:
		advise_idle(finding);
		break;
	case FINDING_BLOCKED_GROUP:
		advise_group(finding);
		break;
	}
}
