/* SPDX-License-Identifier: Apache-2.0 */
#include <locale.h>

#include "detector/cli.h"

int main(int argc, char **argv)
{
	/*
	 * For wcwidth() only: how many columns a foreign name takes. Numbers
	 * and messages stay in the C locale.
	 */
	setlocale(LC_CTYPE, "C.UTF-8");
	return cli_main(argc, argv);
}
