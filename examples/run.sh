#!/bin/sh
# What `make run` shows: messages on their whole way, from a channel to an agent and back.
#
#     examples/run.sh build/keep
#     AGENT='any command' examples/run.sh build/keep
#
# A home is made in a temporary folder, `keep serve` becomes its host, and an adapter (examples/adapter.py,
# a program of its own) posts the mails of examples/messages.mbox over HTTP and delivers the answers. AGENT
# answers: it is run for each message, with its JSON ({"text":…}) on standard input, or with
# AGENT_TEXT=yes its text alone; what it prints is the answer. Without AGENT it is examples/agents/echo.sh.
#
# On a terminal the service goes on for `keep chat` until Ctrl-C. Without one it ends by itself: exit
# status 0, or 1 when a message was not answered. Nothing is left behind.
set -eu

shown=${1:?usage: examples/run.sh BUILD/keep}
keep=$(realpath "$shown")
here=$(realpath "$(dirname "$0")")
AGENT=${AGENT:-"'$here/agents/echo.sh'"}
folder=$(mktemp -d "${TMPDIR:-/tmp}/keep-run.XXXXXX")
home=$folder/home
service=
failed=
KEEP_COMMAND=$keep
PATH=$(dirname "$keep"):$PATH
export KEEP_COMMAND PATH
unset KEEP_HOME KEEP_TOKEN KEEP_URL

clean_up() {
	status=$?
	trap '' INT TERM HUP
	if [ -n "$service" ]; then
		kill "$service" 2>/dev/null || :
		wait "$service" 2>/dev/null || :
	fi
	if [ -n "$failed" ] && [ -s "$folder/service.log" ]; then
		printf '\nWhat the service said:\n' >&2
		tail -n 50 "$folder/service.log" | sed 's/^/    /' >&2
	fi
	rm -rf "$folder"
	exit $status
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

say() { printf '\n%s\n' "$*"; }
run() {
	printf '  $ %s\n' "$*"
}
fail() {
	failed=yes
	printf '\n%s\n' "$*" >&2
	exit 1
}

say 'A home is one folder for everything that an agent must not forget.'
run "$shown init $home"
"$keep" init "$home" || fail 'The home could not be made.'

say 'Its host accepts messages, routes them, has them answered, and hands the answers out.'
run "$shown serve $home --agent \"$AGENT\""
set -- serve "$home" --listen 127.0.0.1:0 --agent "$AGENT"
[ -z "${AGENT_TEXT:-}" ] || set -- "$@" --agent-text
mkfifo "$folder/said"
"$keep" "$@" >"$folder/said" 2>"$folder/service.log" &
service=$!
exec 3<"$folder/said"
read -r line <&3 || fail 'The service did not start.'
printf '    %s\n' "$line"
url=${line##* }

say 'An adapter, a program of its own, posts the mails of a file and delivers the answers, over HTTP.'
run "examples/adapter.py --url $url --mbox examples/messages.mbox --trace"
{
	python3 "$here/adapter.py" --url "$url" --mbox "$here/messages.mbox" --trace --patience 30 2>&1 &&
		echo yes >"$folder/answered"
} | tee "$folder/adapter.log"

say 'Each of them has left its steps in the stores: accepted, routed to a session, claimed, answered, delivered.'
sed -n 's/^    \([^ ]*\) \([^ ]*\): accepted.*/\1 \2/p' "$folder/adapter.log" >"$folder/messages"
while read -r chat id; do
	run "$shown trace $home $chat $id"
	"$keep" trace "$home" "$chat" "$id" | sed 's/^/    /'
done <"$folder/messages"

summary=$(grep '^[0-9]* accepted, [0-9]* answered, [0-9]* delivered$' "$folder/adapter.log" || :)
[ -n "$summary" ] && [ -e "$folder/answered" ] || fail "Not every message was answered${summary:+: $summary}."
say "$summary"

if ! [ -t 0 ] || ! [ -t 1 ]; then
	say 'On a terminal the service would go on now, for you to talk to it. Read on: README.md, docs/agents.md.'
	exit 0
fi

say 'The service goes on until Ctrl-C. Talk to the agent in another terminal:'
run "$shown chat $home"
say 'and look around:'
run "$shown gateway list-chats $home"
run "curl -sN $url/v1/events?after=0"
say 'With AGENT="any command" make run, your own program answers. Read on: docs/agents.md, docs/adapters.md.'
trap 'exit 0' INT TERM HUP
wait "$service" || :
fail 'The service has ended.'
