#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Make real connections half-open and show what stranded says of them.
#
# A Go client in one network namespace keeps 37 connections to a queue server
# in another, and 3 to a second server that stays well. The queue server's
# machine "loses power": its frames reach nobody from then on, its process dies
# and its kernel forgets the connections. Then it "boots": it listens again,
# the path is whole, and the client knows nothing of it.
#
# Leaves nothing behind, also when interrupted; what an earlier run that was
# killed may have left is removed first.
#
# usage: run.sh [STRANDED]      environment: GO, DEMO_WAIT (seconds)
# shellcheck disable=SC2317 # trap and wait_for call the functions
set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 2
stranded=$(realpath "${1:-$here/../../build/stranded}")
cd "$here" || exit 2

queue=10.77.0.2 metrics=10.77.0.3 client=10.77.0.1
prefix=st-demo
nsc=$prefix-$$-client nss=$prefix-$$-server
tmp=

say() { printf '\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '%s\n' "$*"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 2; }

# remove_netns NAME: end what runs in it and delete it.
remove_netns() {
	local pids pid
	pids=$(ip netns pids "$1" 2>/dev/null)
	for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
	ip netns del "$1" 2>/dev/null
}

remove_leftovers() {
	local name owner
	for name in $(ip netns list 2>/dev/null | awk '{ print $1 }'); do
		owner=${name#"$prefix"-}
		[ "$owner" != "$name" ] || continue
		owner=${owner%%-*}
		kill -0 "$owner" 2>/dev/null || remove_netns "$name"
	done
	for name in /tmp/"$prefix"-*; do
		owner=${name#/tmp/"$prefix"-}
		kill -0 "${owner%%-*}" 2>/dev/null || rm -rf "$name"
	done
}

cleanup() {
	local status=$?
	trap '' INT TERM HUP
	trap - EXIT
	remove_netns "$nsc"
	remove_netns "$nss"
	[ -z "$tmp" ] || rm -rf "$tmp"
	exit "$status"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	local tenths=$(($1 * 10))
	shift
	while ! "$@" >/dev/null 2>&1; do
		tenths=$((tenths - 1))
		[ $tenths -gt 0 ] || return 1
		sleep 0.1
	done
}

find_go() {
	local go
	for go in "${GO:-go}" /usr/local/go/bin/go /usr/lib/go-1.*/bin/go; do
		command -v "$go" 2>/dev/null && return
	done
	return 1
}

build() {
	local go
	go=$(find_go) || die "there is no Go compiler; apt-get install golang-go"
	(cd ../half-open-pool && CGO_ENABLED=0 GOFLAGS=-mod=mod \
		"$go" build -o "$tmp" ./client ./server) ||
		die "the client and server did not build"
}

links_up() { ip -n "$1" link set lo up && ip -n "$1" link set eth0 up; }

lay_cable() {
	ip netns add "$nsc" && ip netns add "$nss" &&
		ip -n "$nsc" link add eth0 type veth peer name eth0 netns "$nss" &&
		ip -n "$nsc" addr add $client/24 dev eth0 &&
		ip -n "$nss" addr add $queue/24 dev eth0 &&
		ip -n "$nss" addr add $metrics/24 dev eth0 &&
		links_up "$nsc" && links_up "$nss" &&
		ip netns exec "$nss" sysctl -qw net.ipv4.tcp_orphan_retries=1
}

start_server() { # ADDRESS LOG
	: >"$2"
	ip netns exec "$nss" "$tmp/server" "$1" </dev/null >"$2" 2>&1 &
	disown
	wait_for 10 grep -q listening "$2" || die "server: $(cat "$2")"
}

start_client() {
	mkfifo "$tmp/stdin"
	exec 9<>"$tmp/stdin"
	: >"$tmp/truth"
	ip netns exec "$nsc" "$tmp/client" $queue:6379=37 $metrics:9100=3 \
		<"$tmp/stdin" >"$tmp/truth" 2>"$tmp/client.log" 9>&- &
	disown
	wait_for 10 grep -q workers "$tmp/truth" ||
		die "client: $(cat "$tmp/client.log")"
	pid=$(sed 's/.*"pid":\([0-9]*\).*/\1/' "$tmp/truth")
}

queue_sockets() {
	ip netns exec "$nss" ss -Htan "src $queue" | grep -v LISTEN
}
no_queue_sockets() { [ -z "$(queue_sockets)" ]; }

all_connected() {
	[ "$(ip netns exec "$nsc" ss -Htn state established | wc -l)" = 40 ]
}

power_cut() {
	# Frames to an address that nobody has are dropped by the other end of
	# the cable, without a word to anybody.
	ip -n "$nss" neigh replace $client lladdr 02:00:5e:00:00:99 dev eth0 \
		nud permanent || die "the cable could not be cut"
	kill -9 "$(ip netns exec "$nss" ss -Hltnp "src $queue" |
		sed 's/.*pid=\([0-9]*\).*/\1/')" || die "no queue server to end"
	wait_for 20 no_queue_sockets ||
		die "the server's kernel still knows its connections"
}

boot() {
	start_server $queue:6379 "$tmp/queue2"
	ip -n "$nss" neigh del $client dev eth0
}

[ "$(id -u)" = 0 ] || die "needs root, for network namespaces; sudo make demo"
for tool in ip ss awk; do
	command -v $tool >/dev/null || die "$tool is missing; apt-get install iproute2"
done
[ -x "$stranded" ] || die "$stranded is missing; make"
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
tmp=$(mktemp -d "/tmp/$prefix-$$-XXXXXX") || exit 2
remove_leftovers

say "building a client and a server"
build
say "two machines: client $client, server $queue (queue) and $metrics (metrics)"
lay_cable || die "the network namespaces could not be made"
start_server $queue:6379 "$tmp/queue"
start_server $metrics:9100 "$tmp/metrics"
start_client
wait_for 10 all_connected || die "the client has not got its 40 connections"
say "the client (pid $pid) has 37 connections to the queue, 3 to the metrics"
power_cut
say "the queue server lost power; it boots, and knows none of them"
boot
say "the client sees nothing of it:"
ip netns exec "$nsc" ss -tno state established dst "$queue" | head -n 4
printf '...\n\n'
sleep "${DEMO_WAIT:-2}"
say "\$ stranded check --min-blocked 1s $pid"
"$stranded" check --min-blocked 1s "$pid"
status=$?
printf '\n'
say "exit status $status (1: findings)"
[ $status = 1 ] || exit 2
exit 0
