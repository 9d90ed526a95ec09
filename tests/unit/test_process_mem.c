/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/process.h"

#define PAGE 4096
#define N_PAGES 4096

/*
 * What a child shares with its parent's view by fork(): pages that each start
 * with their number, every fourth and the last one unmapped.
 */
static unsigned char *pages;

static bool is_hole(size_t page)
{
	return page % 4 == 3 || page == N_PAGES - 1;
}

static raddr_t page_addr(size_t page)
{
	return (raddr_t)(uintptr_t)pages + page * PAGE;
}

static void punch(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N_PAGES; i++) {
		if (is_hole(i))
			munmap(pages + i * PAGE, PAGE);
	}
}

struct fixture {
	pid_t pid;
	struct process *p;
};

static int start(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	pages = mmap(NULL, (size_t)N_PAGES * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(pages != MAP_FAILED);
	for (size_t i = 0; i < N_PAGES; i++) {
		memset(pages + i * PAGE, (int)i & 0xff, PAGE);
		memcpy(pages + i * PAGE, &i, sizeof(i));
	}
	f->pid = child_start(punch, NULL);
	assert_ok(process_open(f->pid, &f->p));
	*state = f;
	return 0;
}

static int start_proc(void **state)
{
	int rc;

	setenv("STRANDED_MEM", "proc", 1);
	rc = start(state);
	unsetenv("STRANDED_MEM");
	assert_true(((struct fixture *)*state)->p->memfd >= 0);
	return rc;
}

static int stop(void **state)
{
	struct fixture *f = *state;

	process_close(f->p);
	child_end(f->pid);
	munmap(pages, (size_t)N_PAGES * PAGE);
	free(f);
	return 0;
}

static void test_what_is_mapped_is_read(void **state)
{
	struct fixture *f = *state;
	unsigned char buf[3 * PAGE];

	assert_int_equal(process_read(f->p, page_addr(4), buf, sizeof(buf)), 0);
	assert_memory_equal(buf, pages + 4 * PAGE, sizeof(buf));
	assert_int_equal(process_read(f->p, page_addr(5) + 5, buf, 1), 0);
	assert_int_equal(buf[0], pages[5 * PAGE + 5]);
	assert_int_equal(process_read(f->p, page_addr(3), buf, 0), 0);
}

static void test_hole_after_mapped_page_is_a_fault(void **state)
{
	struct fixture *f = *state;
	unsigned char buf[2 * PAGE];

	assert_int_equal(process_read(f->p, page_addr(2), buf, sizeof(buf)),
			 -EFAULT);
	assert_int_equal(process_read(f->p, page_addr(2) + PAGE - 1, buf, 2),
			 -EFAULT);
	assert_int_equal(process_read(f->p, page_addr(3), buf, 1), -EFAULT);
	assert_int_equal(process_read(f->p, 0, buf, 1), -EFAULT);
	assert_int_equal(process_read(f->p, UINT64_MAX, buf, 1), -EFAULT);
	assert_int_equal(process_read(f->p, UINT64_MAX - 7, buf, 16), -EFAULT);
	assert_int_equal(process_read(f->p, INT64_MAX, buf, 2), -EFAULT);
	assert_int_equal(process_read(f->p, 0xffff800000000000, buf, 8),
			 -EFAULT);
}

static void test_read_some_stops_at_the_hole(void **state)
{
	struct fixture *f = *state;
	unsigned char buf[4 * PAGE];

	assert_int_equal(
		process_read_some(f->p, page_addr(1) + 10, buf, sizeof(buf)),
		2 * PAGE - 10);
	assert_memory_equal(buf, pages + PAGE + 10, 2 * PAGE - 10);
	assert_int_equal(process_read_some(f->p, page_addr(3), buf, 10), 0);
}

static void check_batch(const struct fixture *f, size_t n,
			struct process_read_req *reqs, uint64_t *out)
{
	for (size_t i = 0; i < n; i++)
		reqs[i] = (struct process_read_req){
			.addr = page_addr(i % N_PAGES),
			.buf = &out[i],
			.len = sizeof(out[i]),
			.ok = true,
		};
	assert_int_equal(process_read_batch(f->p, reqs, n), 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(reqs[i].ok, !is_hole(i % N_PAGES));
		if (reqs[i].ok)
			assert_int_equal(out[i], i % N_PAGES);
	}
}

static void test_a_hole_in_a_batch_fails_its_own_piece_only(void **state)
{
	enum { N = 3 * IOV_MAX + 17 };
	struct fixture *f = *state;
	struct process_read_req *reqs = calloc(N, sizeof(*reqs));
	uint64_t *out = calloc(N, sizeof(*out));
	static const size_t sizes[] = { 0,	 1,	      3,	   4, 5,
					IOV_MAX, IOV_MAX + 1, 2 * IOV_MAX, N };

	for (size_t i = 0; i < N_OF(sizes); i++)
		check_batch(f, sizes[i], reqs, out);
	free(reqs);
	free(out);
}

static void test_odd_pieces_in_a_batch_are_judged_one_by_one(void **state)
{
	struct fixture *f = *state;
	unsigned char buf[5][2 * PAGE];
	struct process_read_req reqs[] = {
		{ .addr = page_addr(0), .buf = buf[0], .len = 2 * PAGE },
		/* begins well and runs into a hole */
		{ .addr = page_addr(2), .buf = buf[1], .len = 2 * PAGE },
		{ .addr = page_addr(3), .buf = buf[2], .len = 0 },
		{ .addr = UINT64_MAX - 3, .buf = buf[3], .len = 8 },
		{ .addr = page_addr(4), .buf = buf[4], .len = PAGE },
	};
	static const bool ok[] = { true, false, true, false, true };

	assert_int_equal(process_read_batch(f->p, reqs, N_OF(reqs)), 0);
	for (size_t i = 0; i < N_OF(reqs); i++)
		assert_int_equal(reqs[i].ok, ok[i]);
	assert_memory_equal(buf[0], pages, 2 * PAGE);
	assert_memory_equal(buf[4], pages + 4 * PAGE, PAGE);
}

static void test_a_batch_of_holes_only_is_linear(void **state)
{
	enum { N = 100000 };
	struct fixture *f = *state;
	struct process_read_req *reqs = calloc(N, sizeof(*reqs));
	int64_t start_ns;
	uint64_t x;

	for (size_t i = 0; i < N; i++)
		reqs[i] = (struct process_read_req){
			.addr = 8 * i,
			.buf = &x,
			.len = 8,
			.ok = true,
		};
	start_ns = clock_mono_ns();
	assert_int_equal(process_read_batch(f->p, reqs, N), 0);
	// with full batches after each hole it would be a hundred times that
	assert_true(clock_mono_ns() - start_ns < 5000000000);
	for (size_t i = 0; i < N; i++)
		assert_false(reqs[i].ok);
	free(reqs);
}

static void test_strings_end_at_nul_page_or_size(void **state)
{
	struct fixture *f = *state;
	char buf[1000];

	/* the page's own number: bytes 6, 0 */
	assert_int_equal(process_read_string(f->p, page_addr(6), buf, 10), 1);
	assert_string_equal(buf, "\x06");
	/* no NUL before the hole */
	assert_int_equal(process_read_string(f->p, page_addr(6) + PAGE - 5, buf,
					     sizeof(buf)),
			 -EFAULT);
	assert_int_equal(
		process_read_string(f->p, page_addr(5) + 100, buf, sizeof(buf)),
		-E2BIG);
	assert_int_equal(strlen(buf), sizeof(buf) - 1);
	/* over a page's end: page 5 is full of 5, page 6 begins with 6, 0 */
	assert_int_equal(process_read_string(f->p, page_addr(5) + PAGE - 3, buf,
					     sizeof(buf)),
			 4);
	assert_string_equal(buf, "\x05\x05\x05\x06");
	assert_int_equal(process_read_string(f->p, page_addr(6), buf, 1),
			 -E2BIG);
	assert_int_equal(process_read_string(f->p, page_addr(6), buf, 0),
			 -EINVAL);
}

static void test_after_its_end_a_process_has_no_memory(void **state)
{
	struct fixture *f = *state;
	uint64_t x = 0;
	struct process_read_req reqs[] = {
		{ .addr = page_addr(0), .buf = &x, .len = 8, .ok = true },
		{ .addr = page_addr(1), .buf = &x, .len = 8, .ok = true },
	};

	kill(f->pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)f->pid, &(siginfo_t){ 0 },
				WEXITED | WNOWAIT),
			 0);
	assert_int_equal(process_read(f->p, page_addr(0), &x, 8), -ESRCH);
	assert_int_equal(process_read_batch(f->p, reqs, 2), -ESRCH);
	assert_false(reqs[0].ok || reqs[1].ok);
	assert_error(process_error(f->p, ESRCH, "memory of"), ERROR_GONE,
		     "has ended");
}

static void test_a_fault_is_an_error_of_the_living(void **state)
{
	struct fixture *f = *state;

	assert_error(process_error(f->p, EFAULT, "memory of"), ERROR_FAULT,
		     "cannot read memory of process ");
	assert_error(process_error(f->p, ENOMEM, "memory of"), ERROR_NOMEM,
		     "cannot allocate memory");
}

/* Each test twice: by process_vm_readv(2) and by /proc/PID/mem. */
#define BOTH(test)                                                             \
	{ #test, test, start, stop, NULL },                                    \
	{                                                                      \
#test "_proc", test, start_proc, stop, NULL                    \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_what_is_mapped_is_read),
		BOTH(test_hole_after_mapped_page_is_a_fault),
		BOTH(test_read_some_stops_at_the_hole),
		BOTH(test_a_hole_in_a_batch_fails_its_own_piece_only),
		BOTH(test_odd_pieces_in_a_batch_are_judged_one_by_one),
		BOTH(test_a_batch_of_holes_only_is_linear),
		BOTH(test_strings_end_at_nul_page_or_size),
		BOTH(test_after_its_end_a_process_has_no_memory),
		BOTH(test_a_fault_is_an_error_of_the_living),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
