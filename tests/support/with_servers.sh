#!/bin/sh
# with_servers.sh COMMAND… - run a command beside a throw-away PostgreSQL and a throw-away Redis.
#
#   tests/support/with_servers.sh meson test -C build
#
# Both live in one new folder under /tmp, on Unix sockets, without a TCP port, and are gone when the
# command has ended, however it ended. The exit status is the command's. The command finds
#
#   KEEP_TEST_POSTGRES       "host=… user=keep dbname=postgres", a superuser's connection
#   KEEP_TEST_REDIS          the path of Redis' socket
#   KEEP_TEST_PG_DATA        PostgreSQL's data folder
#   KEEP_TEST_SERVER         server.sh, which starts, kills and restarts servers
#   KEEP_TEST_SERVERS        the folder with postgres/ and redis/ that server.sh takes
#
# A test that stops or kills a server starts its own (tests/support/server_control.h): these two are
# shared by every test that runs at the same time. KEEP_TEST_FSYNC=1: PostgreSQL syncs its commits.
set -eu

[ $# -gt 0 ] || {
	echo "usage: with_servers.sh COMMAND [ARGUMENT…]" >&2
	exit 2
}
support=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
KEEP_TEST_SERVER=$support/server.sh
KEEP_TEST_SERVERS=$(mktemp -d /tmp/keep-XXXXXX) # short: a socket's name has at most 107 bytes
command_pid=

clean_up() {
	status=$?
	trap '' INT TERM HUP
	if [ -n "$command_pid" ]; then
		kill -TERM "$command_pid" 2>/dev/null || true
		wait "$command_pid" || true
	fi
	# Ours, and those of tests that were killed (server_control.c).
	for folder in "$KEEP_TEST_SERVERS"/postgres "$KEEP_TEST_SERVERS"/*/postgres \
		"$KEEP_TEST_SERVERS"/redis "$KEEP_TEST_SERVERS"/*/redis; do
		[ ! -d "$folder" ] || "$KEEP_TEST_SERVER" remove "${folder##*/}" "$folder" || true
	done
	rm -rf "$KEEP_TEST_SERVERS"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

chmod 711 "$KEEP_TEST_SERVERS" # the servers' own users pass through
for kind in postgres redis; do
	"$KEEP_TEST_SERVER" make $kind "$KEEP_TEST_SERVERS/$kind"
	"$KEEP_TEST_SERVER" start $kind "$KEEP_TEST_SERVERS/$kind"
done

KEEP_TEST_POSTGRES="host=$KEEP_TEST_SERVERS/postgres user=keep dbname=postgres"
KEEP_TEST_REDIS=$KEEP_TEST_SERVERS/redis/redis.sock
KEEP_TEST_PG_DATA=$KEEP_TEST_SERVERS/postgres/data
export KEEP_TEST_SERVER KEEP_TEST_SERVERS KEEP_TEST_POSTGRES KEEP_TEST_REDIS KEEP_TEST_PG_DATA

# In the background, because a shell hears of a signal only while it waits; with our own input,
# which a shell takes away from what it starts in the background.
exec 3<&0
"$@" <&3 3<&- &
command_pid=$!
exec 3<&-
status=0
wait "$command_pid" || status=$?
command_pid=
exit "$status"
