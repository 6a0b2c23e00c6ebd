#!/bin/sh
# server.sh - one throw-away PostgreSQL or Redis of a test, in a folder of its own.
#
#   server.sh make   postgres|redis FOLDER    an empty server: its data and its configuration
#   server.sh start  postgres|redis FOLDER    start it and wait until it answers
#   server.sh stop   postgres|redis FOLDER    end it in good order
#   server.sh kill   postgres|redis FOLDER    kill -9: what a power cut or the OOM killer does
#   server.sh pause  postgres|redis FOLDER    it is there and does not answer
#   server.sh resume postgres|redis FOLDER
#   server.sh remove postgres|redis FOLDER    kill it and remove FOLDER
#
# Both listen on a Unix socket in FOLDER and nowhere else: FOLDER/.s.PGSQL.5432, FOLDER/redis.sock.
# FOLDER is readable by its owner alone, which is what protects a server that trusts everybody. Run
# as root, the servers get a user without rights, because initdb refuses root.
#
# KEEP_TEST_FSYNC=1 (at `make`): PostgreSQL syncs, as a benchmark of commits needs. Otherwise it does
# not: a test that kills it asks what PostgreSQL does, not what the disk does. Redis always syncs.
set -eu

fail() {
	echo "server.sh: $*" >&2
	exit 1
}

[ $# = 3 ] || fail "wrong use; see the head of the file"
action=$1 kind=$2 folder=$3
case $folder in
/*) ;;
*) fail "not an absolute path: $folder" ;;
esac
[ ${#folder} -le 80 ] || fail "$folder: longer than the name of a socket may be"

# What to say when a package is missing, and the user that a server gets under root.
case $kind in
postgres)
	bin=
	for candidate in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5n); do
		bin=$candidate
	done
	[ -x "$bin/initdb" ] || fail "PostgreSQL is not installed: apt-get install postgresql-15"
	user=postgres
	pid_file=$folder/data/postmaster.pid
	;;
redis)
	command -v redis-server >/dev/null || fail "Redis is not installed: apt-get install redis-server"
	user=redis
	id "$user" >/dev/null 2>&1 || user=nobody
	pid_file=$folder/redis.pid
	;;
*) fail "no such kind of server: $kind" ;;
esac

as=
if [ "$(id -u)" = 0 ]; then
	command -v setpriv >/dev/null || fail "setpriv is not installed: apt-get install util-linux"
	id "$user" >/dev/null 2>&1 || fail "there is no user $user to run $kind as"
	as="setpriv --reuid=$user --regid=$(id -g "$user") --clear-groups --inh-caps=-all"
fi

make_postgres() {
	$as "$bin/initdb" -D "$folder/data" -U keep -A trust -E UTF8 --locale=C --no-sync --no-instructions \
		>"$folder/init.log" 2>&1 || fail "initdb failed: $(tail -n 3 "$folder/init.log")"
	sync=off
	[ "${KEEP_TEST_FSYNC:-0}" = 1 ] && sync=on
	$as tee -a "$folder/data/postgresql.conf" >/dev/null <<-END
		listen_addresses = ''
		unix_socket_directories = '$folder'
		max_connections = 400
		shared_buffers = 64MB
		fsync = $sync
		full_page_writes = $sync
		log_min_messages = fatal
		log_min_error_statement = panic
	END
}

make_redis() {
	$as tee "$folder/redis.conf" >/dev/null <<-END
		port 0
		unixsocket $folder/redis.sock
		dir $folder
		pidfile $pid_file
		logfile $folder/server.log
		daemonize yes
		appendonly yes
		appendfsync always
		save ""
	END
}

# Is it there and does it answer?
answers() {
	case $kind in
	postgres) "$bin/pg_isready" -q -h "$folder" -U keep -d postgres ;;
	redis) [ "$(redis-cli -s "$folder/redis.sock" ping 2>/dev/null)" = PONG ] ;;
	esac
}

start() {
	case $kind in
	postgres)
		$as "$bin/pg_ctl" -D "$folder/data" -W -s -l "$folder/server.log" start >/dev/null ||
			fail "PostgreSQL did not start: $(tail -n 3 "$folder/server.log")"
		;;
	redis)
		rm -f "$folder/redis.sock"
		$as redis-server "$folder/redis.conf" >/dev/null ||
			fail "Redis did not start: $(tail -n 3 "$folder/server.log")"
		;;
	esac
	tries=0
	until answers; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || fail "$kind did not answer: $(tail -n 3 "$folder/server.log")"
		sleep 0.05
	done
}

# The server's process and those it started; nothing when it does not run.
processes() {
	[ -s "$pid_file" ] || return 0
	pid=$(head -n 1 "$pid_file")
	# A number can be another process' by now; both servers show their folder in their title.
	grep -qs "$folder" "/proc/$pid/cmdline" || return 0
	echo "$pid"
	ps -o pid= --ppid "$pid" || true
}

signal_all() {
	for pid in $2; do
		kill "-$1" "$pid" 2>/dev/null || true
	done
}

wait_gone() {
	for pid in $1; do
		tries=0
		# A zombie nobody reaps counts as gone.
		while [ -n "$(ps -o stat= -p "$pid" | grep -v Z)" ]; do
			tries=$((tries + 1))
			[ $tries -lt 600 ] || fail "$kind does not end (process $pid)"
			sleep 0.02
		done
	done
}

stop() {
	all=$(processes)
	signal_all CONT "$all"
	case $kind in
	postgres) signal_all INT "${all%%[!0-9]*}" ;; # fast shutdown: the first is the postmaster
	redis) signal_all TERM "$all" ;;
	esac
	wait_gone "$all"
}

kill_hard() {
	# Children of a postmaster that died end by themselves; those it started meanwhile too.
	all=$(processes)
	signal_all KILL "$all"
	wait_gone "$all"
	# Where nobody reaps zombies (a container), their numbers still look alive to a new server.
	rm -f "$pid_file" "$folder/.s.PGSQL.5432.lock"
}

case $action in
make)
	[ -d "$folder" ] || mkdir -m 700 "$folder"
	[ -z "$as" ] || chown "$user:" "$folder"
	cd "$folder" # a folder the server's user may enter
	"make_$kind"
	;;
start)
	cd "$folder"
	start
	;;
stop) stop ;;
kill) kill_hard ;;
pause) signal_all STOP "$(processes)" ;;
resume) signal_all CONT "$(processes)" ;;
remove)
	kill_hard
	rm -rf "$folder"
	;;
*) fail "no such action: $action" ;;
esac
