/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A library whose only function of its own is called NAME. All that are built
 * from this have the same layout.
 */

static volatile int sink;

__attribute__((noinline, noclone)) static void NAME(void (*f)(void))
{
	f();
	sink++;
}

void entry(void (*f)(void));

void entry(void (*f)(void))
{
	NAME(f);
	sink++;
}
