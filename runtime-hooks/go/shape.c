/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime-hooks/go/shape.h"

#include <string.h>

/* Frames from the innermost in which what a wait belongs to may show. */
#define LOOK_AT 16
/* Of a caller's frame: it may keep a copy of what it passed on. */
#define CALLER_BYTES 256

static bool starts(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

void shape_note_frame(struct go_shape *shape, const char *name, uint32_t fp)
{
	if (!name || shape->n > LOOK_AT)
		return;
	/*
	 * Register arguments have a spill slot where the caller's frame
	 * begins; and since no register survives a call in Go, what a function
	 * needs after it was parked lies in its own frame.
	 */
	if (!strcmp(name, "internal/poll.runtime_pollWait")) {
		shape->poll_arg = fp;
		shape->poll_end = fp + CALLER_BYTES;
	} else if (!shape->fd_arg && starts(name, "internal/poll.(*FD).")) {
		shape->fd_arg = fp;
		shape->poll_end = fp + CALLER_BYTES;
	} else if (!strcmp(name, "runtime.semacquire1") ||
		   !strcmp(name, "sync.runtime_notifyListWait")) {
		shape->sudog_end = fp;
	} else if (!strcmp(name, "sync.(*Cond).Wait")) {
		shape->cond_end = fp + 8;
	}
}

struct sync_name {
	const char *name;
	enum wait_kind kind;
	int back;
};

/*
 * Mutex {state i32, sema u32}, RWMutex {Mutex, writerSem u32, readerSem u32},
 * WaitGroup {8 bytes, sema u32} (sync/mutex.go, rwmutex.go, waitgroup.go).
 */
static const struct sync_name sync_names[] = {
	{ "sync.(*Mutex).lockSlow", WAIT_MUTEX, 4 },
	{ "internal/sync.(*Mutex).lockSlow", WAIT_MUTEX, 4 },
	{ "sync.(*RWMutex).RLock", WAIT_RWMUTEX, 12 },
	{ "sync.(*RWMutex).Lock", WAIT_RWMUTEX, 8 },
	{ "sync.(*WaitGroup).Wait", WAIT_WAITGROUP, 8 },
	{ "sync.(*Cond).Wait", WAIT_COND, 16 },
	{ "internal/poll.(*fdMutex).rwlock", WAIT_SEMAPHORE, 0 },
};

static bool note_sync(struct go_shape *shape, const char *name)
{
	for (size_t i = 0; i < sizeof(sync_names) / sizeof(*sync_names); i++) {
		if (strcmp(name, sync_names[i].name) != 0)
			continue;
		shape->sync = sync_names[i].kind;
		shape->sync_back = sync_names[i].back;
		return true;
	}
	return false;
}

static void note_io(struct go_shape *shape, const char *name)
{
	if (!strcmp(name, "internal/poll.(*pollDesc).waitRead"))
		shape->io = WAIT_READ;
	else if (!strcmp(name, "internal/poll.(*pollDesc).waitWrite"))
		shape->io = WAIT_WRITE;
	else if (!strcmp(name, "internal/poll.(*FD).Accept"))
		shape->io = WAIT_ACCEPT;
	else if (!strcmp(name, "net.(*netFD).connect") &&
		 shape->io == WAIT_WRITE)
		shape->io = WAIT_CONNECT;
}

void shape_note_stack(struct go_shape *shape)
{
	bool synced = false;

	shape->io = WAIT_NONE;
	shape->sync = WAIT_SEMAPHORE;
	for (uint32_t i = 0; i < shape->stack->n; i++) {
		const struct frame *f = shape->stack->frames[i];

		if (!f->function)
			continue;
		if (!starts(f->function, "runtime."))
			shape->calls_user = true;
		if (i >= LOOK_AT)
			continue;
		note_io(shape, f->function);
		synced = synced || note_sync(shape, f->function);
	}
}
