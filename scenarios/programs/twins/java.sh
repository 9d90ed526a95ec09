#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The class lies beside this file; a JVM as small and as quick to start as it
# gets, in this very process.
exec java -Xmx32m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto \
	-cp "$(dirname "$0")" Twin "$@"
