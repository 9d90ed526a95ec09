#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Run unit test programs, say little unless one fails, count at the end.
# With STRANDED_TEST_STRICT=1 a skipped test is a failed one.
#
# usage: run.sh PROGRAM...    environment: UNIT_SECONDS, STRANDED_TEST_STRICT
set -u
passed=0 failed=0 skipped=0

for program in "$@"; do
	log=$program.log
	CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "${UNIT_SECONDS:-300}" \
		"$program" </dev/null >"$log" 2>&1
	status=$?
	skip=$(grep -c '^\(not \)\?ok .*# SKIP' "$log")
	bad=$(grep '^not ok ' "$log" | grep -vc '# SKIP')
	ok=$(grep '^ok ' "$log" | grep -vc '# SKIP')
	[ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	# a program that ran no test at all shows nothing
	[ $((ok + bad + skip)) -gt 0 ] || bad=1
	[ "${STRANDED_TEST_STRICT-}" != 1 ] || { bad=$((bad + skip)); skip=0; }
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
	if [ "$bad" -eq 0 ]; then
		printf '  PASS    %s (%d)\n' "${program##*/}" "$ok"
	else
		printf '  FAIL    %s (exit status %d)\n' "${program##*/}" "$status"
		sed 's/^/    /' "$log"
	fi
	[ "$skip" -eq 0 ] || grep '# SKIP' "$log" | sed 's/^/    /'
done
printf 'unit: %d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
