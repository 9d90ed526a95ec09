/* SPDX-License-Identifier: Apache-2.0 */

/*
 * usage: plugin LIBRARY
 *
 * Opens LIBRARY for itself alone, calls its run(), and prints what that
 * returned; ends after a line of input. -DPLUGIN builds the library: ten
 * switches of Boost.Context, which only the library is linked with. -DOTHER
 * gives it functions of its own by the same names that save more, as later
 * versions of Boost do.
 */
#ifdef PLUGIN

#include <stddef.h>

struct transfer {
	void *context, *data;
};
void *make_fcontext(void *sp, size_t size, void (*fn)(struct transfer));
struct transfer jump_fcontext(void *to, void *data);

#ifdef OTHER
__asm__(".globl make_fcontext, jump_fcontext\n"
	".type make_fcontext, @function\n"
	"make_fcontext:\n"
	"	and $-16, %rdi\n"
	"	lea -0x50(%rdi), %rax\n"
	"	mov %rdx, 0x40(%rax)\n"
	"	ret\n"
	".type jump_fcontext, @function\n"
	"jump_fcontext:\n"
	"	lea -0x40(%rsp), %rsp\n"
	"	mov %r12, 0x10(%rsp)\n"
	"	mov %r13, 0x18(%rsp)\n"
	"	mov %r14, 0x20(%rsp)\n"
	"	mov %r15, 0x28(%rsp)\n"
	"	mov %rbx, 0x30(%rsp)\n"
	"	mov %rbp, 0x38(%rsp)\n"
	"	mov %rsp, %rax\n"
	"	mov %rdi, %rsp\n"
	"	mov 0x40(%rsp), %r8\n"
	"	mov 0x10(%rsp), %r12\n"
	"	mov 0x18(%rsp), %r13\n"
	"	mov 0x20(%rsp), %r14\n"
	"	mov 0x28(%rsp), %r15\n"
	"	mov 0x30(%rsp), %rbx\n"
	"	mov 0x38(%rsp), %rbp\n"
	"	lea 0x48(%rsp), %rsp\n"
	"	mov %rsi, %rdx\n"
	"	mov %rax, %rdi\n"
	"	jmp *%r8\n");
#endif

static char stack[64 * 1024] __attribute__((aligned(16)));

static void body(struct transfer t)
{
	for (long n = 0;; n++)
		t = jump_fcontext(t.context, (void *)n);
}

long run(void)
{
	void *context =
		make_fcontext(stack + sizeof(stack), sizeof(stack), body);
	struct transfer t = { context, NULL };

	for (int i = 0; i < 10; i++)
		t = jump_fcontext(t.context, NULL);
	return (long)t.data;
}

#else

#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL)
				 : NULL;
	long (*run)(void);

	if (!library) {
		puts(dlerror());
		return 1;
	}
	*(void **)&run = dlsym(library, "run");
	printf("%ld\n", run());
	fflush(stdout);
	return getchar() == '\n';
}

#endif
