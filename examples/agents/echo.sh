#!/bin/sh
# echo.sh - the smallest agent: any program is one.
#
#     keep serve HOME --agent examples/agents/echo.sh
#     keep agent SESSION_FOLDER -- examples/agents/echo.sh
#
# It is run once for each message. Standard input is the message's JSON ({"text":"Hello", …}), or its
# text alone where the host was told so (--text). What it prints is the answer; exit status 0 stores that
# and completes the message, any other fails it, and it is run again later.
#
# With KEEP_HOME and KEEP_CHAT (keep serve sets both) it remembers: three calls of `keep assistant`.
# Each says under which name it stores, so that a second run for the same message stores nothing twice.
set -eu

input=$(cat)

# The text of a JSON line, well enough for an example; a real agent has a JSON library.
case $input in
'{'*)
	value='"text": *"\(\([^"\\]\|\\.\)*\)"'
	text=$(printf '%s' "$input" | tr -d '\n' | sed -n "s/^{ *$value.*/\1/p;t
		s/.*$value.*/\1/p" | sed 's/\\n/ /g; s/\\"/"/g; s/\\\//\//g; s/\\\\/\\/g')
	;;
*) text=$input ;;
esac

if [ -z "$text" ]; then
	exit 0 # a file, a reaction: nothing to answer
fi

# keep assistant <verb>, in the home that the host named.
assistant() {
	verb=$1
	shift
	"${KEEP_COMMAND:-keep}" assistant "$verb" --home "$KEEP_HOME" "$@"
}

if [ -z "${KEEP_HOME:-}" ] || [ -z "${KEEP_CHAT:-}" ]; then
	printf 'You said: %s\n' "$text"
	exit 0
fi

# telegram:ada is a conversation with ada on telegram.
conversation=$(assistant find_or_create --json -- "${KEEP_CHAT%%:*}" "${KEEP_CHAT#*:}" |
	sed 's/.*"conversation_id":"\([^"]*\)".*/\1/')
name=${KEEP_SESSION:-}:${KEEP_MESSAGE_ID:?}
number=$(assistant append --message-id "$name" -- "$conversation" user "$text" | sed -n 's/^seq: //p')
answer="You said: $text (line $number of our conversation)"
assistant append --message-id "$name:answer" -- "$conversation" assistant "$answer" >/dev/null
printf '%s\n' "$answer"
