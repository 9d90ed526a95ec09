/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Debug information (DWARF 4, section 7.5) of one function that covers all
 * addresses, with blocks in blocks in blocks: who reads it by recursion runs
 * out of stack.
 */
	.set	DEPTH, 1000000

	.section .note.GNU-stack, "", @progbits
	.section .debug_abbrev, "", @progbits
.Labbrev:
	.uleb128 1		/* DW_TAG_compile_unit, has children */
	.uleb128 0x11
	.byte	1
	.uleb128 0x11, 0x01	/* DW_AT_low_pc, DW_FORM_addr */
	.uleb128 0x12, 0x07	/* DW_AT_high_pc, DW_FORM_data8 */
	.uleb128 0, 0
	.uleb128 2		/* DW_TAG_lexical_block, has children */
	.uleb128 0x0b
	.byte	1
	.uleb128 0x11, 0x01
	.uleb128 0x12, 0x07
	.uleb128 0, 0
	.byte	0

	.section .debug_info, "", @progbits
	.long	.Lend - .Lbegin
.Lbegin:
	.value	4
	.long	.Labbrev
	.byte	8
	.uleb128 1
	.quad	0, 0x7fffffff
	.rept	DEPTH
	.uleb128 2
	.quad	0, 0x7fffffff
	.endr
	.fill	DEPTH + 1, 1, 0
.Lend:
