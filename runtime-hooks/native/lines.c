/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/native/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "runtime-hooks/native/confine.h"
#include "runtime-hooks/native/dwarf_lines.h"

/* File descriptors of the child. */
enum { CHILD_SOCKET = 3, CHILD_FILE, CHILD_ALT, CHILD_N };

struct lines {
	pid_t pid;
	int fd;
	bool failed;
	uint64_t bytes; /* of sections that the child reads */
};

/* How many bytes of DWARF there are. 0: none, or more than we want to hold. */
static uint64_t count_dwarf(const struct elffile *file)
{
	uint64_t total = 0;
	bool any = false;

	for (size_t i = 0; i < file->n && file->names; i++) {
		const Elf64_Shdr *sh = &file->sections[i];
		uint64_t size = sh->sh_size;
		Elf64_Chdr ch;

		if (sh->sh_name >= file->names_len ||
		    strncmp(file->names + sh->sh_name, ".debug_", 7) != 0 ||
		    sh->sh_type == SHT_NOBITS)
			continue;
		// what it says is what is allocated to unpack it
		if (sh->sh_flags & SHF_COMPRESSED) {
			if (pread(file->fd, &ch, sizeof(ch),
				  (off_t)sh->sh_offset) != sizeof(ch))
				return 0;
			size = ch.ch_size;
		}
		if (size > LINES_MAX_BYTES)
			return 0;
		total += size;
		any |= !strcmp(file->names + sh->sh_name, ".debug_info");
	}
	return any && total <= LINES_MAX_BYTES ? total : 0;
}

/* One frame as it is sent: this, then two strings with their NULs. */
struct wire_frame {
	uint32_t line;
	uint8_t inlined, has_function, has_file;
};

struct answer {
	uint32_t len; /* of bytes */
	uint32_t n;   /* frames */
	char bytes[LINES_MAX_ANSWER];
};

static bool put(struct answer *to, const void *bytes, size_t len)
{
	if (len > sizeof(to->bytes) - to->len)
		return false;
	memcpy(to->bytes + to->len, bytes, len);
	to->len += (uint32_t)len;
	return true;
}

static bool put_frame(struct answer *to, const struct names_frame *frame)
{
	struct wire_frame wire = { .line = frame->line,
				   .inlined = frame->inlined,
				   .has_function = frame->function != NULL,
				   .has_file = frame->file != NULL };
	const char *function = frame->function ? frame->function : "";
	const char *file = frame->file ? frame->file : "";

	return put(to, &wire, sizeof(wire)) &&
	       put(to, function, strlen(function) + 1) &&
	       put(to, file, strlen(file) + 1);
}

static bool write_all(int fd, const void *bytes, size_t len)
{
	const char *from = bytes;

	while (len) {
		ssize_t n = write(fd, from, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		from += n;
		len -= (size_t)n;
	}
	return true;
}

static bool answer(struct dwarf_lines *lines, uint64_t addr)
{
	struct names_frame frames[NAMES_MAX_INLINED];
	AUTO_ARENA struct arena *arena = arena_create();
	static struct answer to;
	size_t n = 0;

	to.len = to.n = 0;
	if (arena && lines)
		n = dwarf_lines_find(lines, addr, arena, frames,
				     NAMES_MAX_INLINED);
	for (size_t i = 0; i < n; i++) {
		uint32_t len = to.len;

		if (!put_frame(&to, &frames[i])) {
			to.len = len;
			break;
		}
		to.n++;
	}
	return write_all(CHILD_SOCKET, &to,
			 offsetof(struct answer, bytes) + to.len);
}

/* Only these three, at fixed numbers; nothing of ours is left open. */
static bool arrange_files(int sock, int file, int alt)
{
	const int from[] = { sock, file, alt };
	int high[3] = { -1, -1, -1 };
	int null = open("/dev/null", O_RDWR);

	for (int i = 0; i < 3; i++)
		if (from[i] >= 0)
			high[i] = fcntl(from[i], F_DUPFD, 64);
	if (null < 0 || high[0] < 0 || high[1] < 0)
		return false;
	for (int i = 0; i < 3; i++) {
		dup2(null, i);
		close(CHILD_SOCKET + i);
		if (high[i] >= 0)
			dup2(high[i], CHILD_SOCKET + i);
	}
	return !close_range(CHILD_N, ~0u, 0);
}

static void limit(int what, uint64_t most)
{
	struct rlimit r = { most, most };

	setrlimit(what, &r);
}

static void confine(void)
{
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_CPU, LINES_MAX_CPU_S);
#if !defined(__SANITIZE_ADDRESS__)
	// a sanitizer reserves terabytes
	limit(RLIMIT_AS, LINES_MAX_MEMORY);
#endif
}

_Noreturn static void serve(int sock, int file, int alt, pid_t parent)
{
	struct dwarf_lines *lines;
	uint64_t addr;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "stranded-lines");
	if (getppid() != parent || !arrange_files(sock, file, alt))
		_exit(1);
	confine();
	if (confine_to_computing())
		_exit(1);
	lines = dwarf_lines_create(CHILD_FILE, alt < 0 ? -1 : CHILD_ALT);
	while (read(CHILD_SOCKET, &addr, sizeof(addr)) == sizeof(addr))
		if (!answer(lines, addr))
			break;
	_exit(0);
}

struct lines *lines_create(const struct elffile *file, int alt_fd)
{
	AUTO_FREE struct lines *lines = NULL;
	uint64_t bytes = count_dwarf(file);
	pid_t parent = getpid();
	int pair[2];

	if (!bytes)
		return NULL;
	lines = calloc(1, sizeof(*lines));
	if (!lines || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return NULL;
	lines->fd = pair[0];
	lines->bytes = bytes;
	lines->pid = fork();
	if (!lines->pid)
		serve(pair[1], file->fd, alt_fd, parent);
	close(pair[1]);
	if (lines->pid < 0) {
		close(pair[0]);
		return NULL;
	}
	return TAKE(lines);
}

static void give_up(struct lines *lines)
{
	if (lines->pid > 0) {
		kill(lines->pid, SIGKILL);
		waitpid(lines->pid, NULL, 0);
		close(lines->fd);
	}
	lines->pid = 0;
}

void lines_destroy(struct lines *lines)
{
	if (!lines)
		return;
	give_up(lines);
	free(lines);
}

uint64_t lines_bytes(const struct lines *lines)
{
	return lines->failed ? 0 : lines->bytes;
}

bool lines_failed(const struct lines *lines)
{
	return lines->failed;
}

static bool read_all(int fd, void *bytes, size_t len, int64_t until_ns)
{
	char *to = bytes;

	while (len) {
		int64_t left = (until_ns - clock_mono_ns()) / 1000000;
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (left <= 0)
			return false;
		n = poll(&p, 1, (int)left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		n = recv(fd, to, len, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return false;
		to += n;
		len -= (size_t)n;
	}
	return true;
}

/* The string at *at, which moves past its NUL; NULL: it does not end. */
static const char *take_string(const struct answer *from, size_t *at)
{
	const char *s = from->bytes + *at;
	const char *nul = memchr(s, '\0', from->len - *at);

	if (!nul)
		return NULL;
	*at += (size_t)(nul - s) + 1;
	return s;
}

static bool take_frame(const struct answer *from, size_t *at,
		       struct arena *arena, struct names_frame *frame)
{
	struct wire_frame wire;
	const char *function, *file;

	if (from->len - *at < sizeof(wire))
		return false;
	memcpy(&wire, from->bytes + *at, sizeof(wire));
	*at += sizeof(wire);
	function = take_string(from, at);
	file = function ? take_string(from, at) : NULL;
	if (!file)
		return false;
	*frame = (struct names_frame){
		.function = wire.has_function ? arena_strdup(arena, function)
					      : NULL,
		.file = wire.has_file ? arena_strdup(arena, file) : NULL,
		.line = wire.line,
		.inlined = wire.inlined,
	};
	return true;
}

/* Ask for @addr. False: the child is lost. */
static bool ask(struct lines *lines, uint64_t addr, struct answer *to)
{
	int64_t until = clock_mono_ns() + LINES_TIMEOUT_MS * 1000000ll;

	return send(lines->fd, &addr, sizeof(addr), MSG_NOSIGNAL) ==
		       sizeof(addr) &&
	       read_all(lines->fd, to, offsetof(struct answer, bytes), until) &&
	       to->len <= sizeof(to->bytes) && to->n <= NAMES_MAX_INLINED &&
	       read_all(lines->fd, to->bytes, to->len, until);
}

size_t lines_find(struct lines *lines, uint64_t addr, struct arena *arena,
		  struct names_frame *frames, size_t max)
{
	AUTO_FREE struct answer *got = NULL;
	size_t at = 0, n = 0;

	if (lines->failed)
		return 0;
	got = malloc(sizeof(*got));
	if (!got)
		return 0;
	if (!ask(lines, addr, got)) {
		lines->failed = true;
		give_up(lines);
		return 0;
	}
	while (n < got->n && n < max && take_frame(got, &at, arena, &frames[n]))
		n++;
	// the last one is a function; what was cut off would say so
	if (n)
		frames[n - 1].inlined = false;
	return n;
}
