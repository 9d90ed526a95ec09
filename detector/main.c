/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <locale.h>
#include <unistd.h>

#include "base/open_files.h"
#include "detector/cli.h"

/*
 * Started with stdin, stdout or stderr closed, the next file opened would take
 * its number, and be given what is said there: a recording, or a socket. What
 * stands there instead fails as the closed one would: read only for output. A
 * program that `run` becomes finds it closed, as it would have been.
 */
static void hold_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null",
			     (fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) |
				     O_CLOEXEC);
}

int main(int argc, char **argv)
{
	hold_standard_fds();
	open_files_raise();
	/*
	 * For wcwidth() only: how many columns a foreign name takes. Numbers
	 * and messages stay in the C locale.
	 */
	setlocale(LC_CTYPE, "C.UTF-8");
	return cli_main(argc, argv);
}
