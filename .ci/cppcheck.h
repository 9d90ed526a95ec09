/* SPDX-License-Identifier: Apache-2.0 */
/* For cppcheck alone, which does not read system headers: loops of libnl. */
#define nla_for_each_nested(pos, nest, left)                                   \
	for (pos = nest, left = 1; left; left--)
