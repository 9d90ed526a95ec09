#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A PostgreSQL server on port 7000 of every address, without passwords. Its
# data lie in memory, in a mount namespace of its own, and are gone with it.
set -e
if [ "$1" != inside ]; then
	exec unshare --mount -- "$0" inside
fi
for bin in /usr/lib/postgresql/*/bin; do :; done
mount -t tmpfs -o size=256m,mode=1777 tmpfs /tmp
as='setpriv --reuid=postgres --regid=postgres --clear-groups --'
cd /tmp
# shellcheck disable=SC2086
$as "$bin/initdb" --auth=trust --no-sync --no-locale --encoding=UTF8 -D /tmp/data >/dev/null
printf 'host all all all trust\n' >>/tmp/data/pg_hba.conf
# shellcheck disable=SC2086
exec $as "$bin/postgres" -D /tmp/data -p 7000 -c listen_addresses='*' \
	-c unix_socket_directories=/tmp -c fsync=off -c shared_buffers=1MB 2>&1
