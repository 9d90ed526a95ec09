/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOKS_GO_IMAGE_PRIV_H
#define RUNTIME_HOOKS_GO_IMAGE_PRIV_H

/**
 * What the parts of a go_image share: image.c finds it, version.c and refuse.c
 * say what it is, frames.c answers from it.
 */

#include "runtime-hooks/go/buildinfo.h"
#include "runtime-hooks/go/image.h"
#include "base/pagecache.h"
#include "runtime-hooks/go/module.h"

#define IMAGE_MAX_OBJECTS 1024 /* mapped ELF objects that are looked at */

/** Interned strings and pcs; see frames.c. */
struct intern;

struct go_image {
	struct arena *arena;
	struct pagecache *mem;
	struct intern *intern;
	struct module_object *objects;
	size_t n_objects;
	struct module *modules;
	struct go_module *public; /* parallel to modules */
	size_t n_modules;
	size_t n_runtimes; /* more than 1: c-shared libraries; one is read */
	char version[GO_VERSION_MAX];
	const char *version_from;
	int minor;
	int wrapper_id; /* FuncID of wrappers, -1: not found */
	char *how;
};

/**
 * The steps of go_image_create() for those who have the memory and no process:
 * tests, fuzzers. Allocate (takes @mem, also when it fails), fill in objects,
 * search them for modules, and when there are any, settle.
 */
struct go_image *image_alloc(struct pagecache *mem);
struct error *image_search(struct go_image *image);
struct error *image_settle(struct go_image *image);

/** Tables of frames.c; NULL: out of memory. */
struct intern *intern_create(void);
void intern_destroy(struct intern *in);
size_t intern_bytes(const struct intern *in);

/** Set version, version_from and minor. */
void image_find_version(struct go_image *image);

/** Why @p is not read: never NULL. @found what the search left behind. */
struct error *image_refuse(const struct process *p,
			   const struct process_maps *maps,
			   const struct go_image *found);

/** The module that holds @pc, or NULL. */
struct module *image_module(const struct go_image *image, raddr_t pc);

#endif
