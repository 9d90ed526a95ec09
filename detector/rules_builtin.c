/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/rules_builtin.h"

/*
 * The file as it is, embedded by the assembler: no generator, no tool that is
 * not there anyway. The Makefile names the dependency.
 */
__asm__(".section .rodata\n"
	".global rules_builtin_start\n"
	".global rules_builtin_end\n"
	"rules_builtin_start:\n"
	".incbin \"detector/benign.rules\"\n"
	"rules_builtin_end:\n"
	".byte 0\n"
	".previous\n");
