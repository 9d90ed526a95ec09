/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"
#include "base/process_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* No user address is above; reading there is a hole, not a bad argument. */
#define RADDR_MAX ((raddr_t)INT64_MAX)
/* The kernel moves at most 2 GiB less a page in one call (MAX_RW_COUNT). */
#define BATCH_BYTES ((uint64_t)1 << 30)
#define PAGE ((raddr_t)4096)

/*
 * Is process_vm_readv(2) there? A seccomp filter (old container defaults)
 * refuses it with EPERM, also for ourselves; a kernel without
 * CONFIG_CROSS_MEMORY_ATTACH has ENOSYS.
 */
static bool vm_readv_works(void)
{
	const char *forced = getenv("STRANDED_MEM");
	char from = 'x', to = 0;
	struct iovec local = { &to, 1 }, remote = { &from, 1 };

	if (forced && !strcmp(forced, "proc"))
		return false;
	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1;
}

void process_mem_init(struct process *p)
{
	p->memfd = -1;
	p->memfd_errno = 0;
	if (vm_readv_works())
		return;
	p->memfd = openat(p->procfd, "mem", O_RDONLY | O_CLOEXEC);
	if (p->memfd < 0)
		p->memfd_errno = errno == ENOENT ? ESRCH : errno;
}

static bool uses_memfd(const struct process *p)
{
	return p->memfd >= 0 || p->memfd_errno;
}

/* One piece by /proc/PID/mem: bytes read, 0 at a hole, or -errno. */
static ssize_t pread_mem(const struct process *p, raddr_t addr, void *buf,
			 size_t len)
{
	ssize_t n;

	if (p->memfd < 0)
		return -p->memfd_errno;
	do {
		n = pread(p->memfd, buf, len, (off_t)addr);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EIO || errno == EFAULT ? 0 : -errno;
	return n ? n : -ESRCH; // the address space has gone
}

static ssize_t readv_mem(const struct process *p, raddr_t addr, void *buf,
			 size_t len)
{
	struct iovec local = { buf, len };
	struct iovec remote = { (void *)(uintptr_t)addr, len };
	ssize_t n = process_vm_readv(p->pid, &local, 1, &remote, 1, 0);

	if (n < 0)
		return errno == EFAULT ? 0 : -errno;
	return n;
}

ssize_t process_read_some(const struct process *p, raddr_t addr, void *buf,
			  size_t len)
{
	size_t done = 0;
	ssize_t n = 0;

	if (len > SSIZE_MAX)
		return -EINVAL;
	while (done < len && addr + done >= addr && addr + done <= RADDR_MAX) {
		char *to = (char *)buf + done;

		if (uses_memfd(p))
			n = pread_mem(p, addr + done, to, len - done);
		else
			n = readv_mem(p, addr + done, to, len - done);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done || n >= 0 ? (ssize_t)done : n;
}

int process_read(const struct process *p, raddr_t addr, void *buf, size_t len)
{
	ssize_t n = process_read_some(p, addr, buf, len);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EFAULT;
}

static int batch_by_memfd(const struct process *p,
			  struct process_read_req *reqs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		ssize_t got = process_read_some(p, reqs[i].addr, reqs[i].buf,
						reqs[i].len);

		if (got < 0)
			return (int)got;
		reqs[i].ok = (size_t)got == reqs[i].len;
	}
	return 0;
}

static bool out_of_range(const struct process_read_req *req)
{
	return req->addr > RADDR_MAX - req->len;
}

/*
 * Read as many of @reqs as one call takes, at most @limit.
 *
 * Returns: how many are settled (at least 1); *@hole_ret tells whether the
 * last of them is a hole. Or -errno.
 */
static ssize_t batch_once(const struct process *p,
			  struct process_read_req *reqs, size_t n, size_t limit,
			  bool *hole_ret)
{
	struct iovec local[IOV_MAX], remote[IOV_MAX];
	uint64_t bytes = 0;
	size_t k = 0, i;
	ssize_t got;

	*hole_ret = false;
	while (k < n && k < limit && !out_of_range(&reqs[k]) &&
	       (!k || bytes + reqs[k].len <= BATCH_BYTES)) {
		local[k] = (struct iovec){ reqs[k].buf, reqs[k].len };
		remote[k] = (struct iovec){ (void *)(uintptr_t)reqs[k].addr,
					    reqs[k].len };
		bytes += reqs[k++].len;
	}
	if (!k) {
		*hole_ret = true;
		return 1;
	}
	got = process_vm_readv(p->pid, local, k, remote, k, 0);
	if (got < 0) {
		if (errno != EFAULT)
			return -errno;
		got = 0;
	}
	// a piece over BATCH_BYTES can be cut by the kernel: read it alone
	for (i = 0; i < k && (size_t)got >= reqs[i].len; i++) {
		got -= reqs[i].len;
		reqs[i].ok = true;
	}
	if (i == k)
		return (ssize_t)k;
	if (reqs[i].len > BATCH_BYTES)
		reqs[i].ok = !process_read(p, reqs[i].addr, reqs[i].buf,
					   reqs[i].len);
	*hole_ret = !reqs[i].ok;
	return (ssize_t)i + 1;
}

int process_read_batch(const struct process *p, struct process_read_req *reqs,
		       size_t n)
{
	size_t limit = IOV_MAX, done = 0;
	bool hole;

	for (size_t i = 0; i < n; i++)
		reqs[i].ok = false;
	if (uses_memfd(p))
		return batch_by_memfd(p, reqs, n);
	while (done < n) {
		ssize_t k = batch_once(p, reqs + done, n - done, limit, &hole);

		if (k < 0)
			return (int)k;
		done += (size_t)k;
		// each hole ends a call: where they are thick, hand over few
		// pieces at a time, so that work stays linear in n
		limit = hole ? 2 * (size_t)k : 4 * limit;
		if (limit > IOV_MAX)
			limit = IOV_MAX;
	}
	return 0;
}

ssize_t process_read_string(const struct process *p, raddr_t addr, char *buf,
			    size_t size)
{
	size_t done = 0;

	if (!size)
		return -EINVAL;
	while (done < size - 1) {
		size_t len = PAGE - ((addr + done) & (PAGE - 1));
		const char *nul;
		int rc;

		if (len > size - 1 - done)
			len = size - 1 - done;
		if (len > 256)
			len = 256; // most names are short
		rc = process_read(p, addr + done, buf + done, len);
		if (rc) {
			buf[done] = '\0';
			return rc;
		}
		nul = memchr(buf + done, '\0', len);
		if (nul)
			return nul - buf;
		done += len;
	}
	buf[done] = '\0';
	return -E2BIG;
}
