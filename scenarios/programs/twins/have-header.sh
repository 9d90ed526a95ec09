#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Is there what a victim is built with? Says what is missing.
#
# usage: have-header.sh COMPILER [PACKAGE HEADER [LIBRARY...]]
command -v "$1" >/dev/null || { echo "  not built: needs $1 ${2-}"; exit 1; }
[ $# -lt 3 ] || "$1" -x c -fsyntax-only - 2>/dev/null <<-END || { echo "  not built: needs $2"; exit 1; }
	#if !__has_include(<$3>)
	#error
	#endif
END
