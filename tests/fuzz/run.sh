#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Run fuzz targets one after the other, each from its seeds in corpus/NAME.
# What they find new is kept beside the programs, not in the source tree.
#
# usage: run.sh PROGRAM...    environment: FUZZ_SECONDS (60)
set -u
cd "$(dirname "$0")/../.." || exit 2
rc=0
for program in "$@"; do
	name=${program##*/fuzz_}
	found=$program.corpus seeds=tests/fuzz/corpus/$name
	mkdir -p "$found"
	dict=()
	[ ! -f "tests/fuzz/$name.dict" ] || dict=(-dict="tests/fuzz/$name.dict")
	[ -d "$seeds" ] || { printf '  FAIL    %s has no seeds in %s\n' "$name" "$seeds"; rc=1; continue; }
	if "$program" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 \
		-rss_limit_mb=2048 -artifact_prefix="$program." "${dict[@]}" \
		"$found" "$seeds" </dev/null >"$program.log" 2>&1; then
		printf '  PASS    fuzz_%s: %s\n' "$name" "$(grep '^Done ' "$program.log")"
	else
		printf '  FAIL    fuzz_%s, the input is %s.*\n' "$name" "$program"
		tail -60 "$program.log" | sed 's/^/    /'
		rc=1
	fi
done
exit "$rc"
