/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

extern void StartGo(void);

int main(void)
{
	char c;

	StartGo();
	puts("started");
	fflush(stdout);
	return read(0, &c, 1) < 0;
}
