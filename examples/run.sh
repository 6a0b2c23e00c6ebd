#!/bin/sh
# What `make run` shows: a home is made, a chat is kept, watched, counted and forgotten.
#
#     examples/run.sh build/keep
#
# Each step is a sentence, the command, and what it printed. Nothing is left behind, and nothing
# waits by the clock: the watch says when it is in place, and answers when the message is there.
set -eu

keep=$(realpath "${1:?usage: examples/run.sh BUILD/keep}")
folder=$(mktemp -d)
watcher=
trap 'kill $watcher 2>/dev/null || :; rm -rf "$folder"' EXIT
cd "$folder"
mkdir bin
ln -s "$keep" bin/keep
PATH=$folder/bin:$PATH
unset KEEP_HOME

say() { printf '\n%s\n' "$*"; }

# Show a command, run it, and indent what it prints.
show() {
	printf '  $ %s\n' "$*"
	eval "$*" >printed 2>&1 && status=0 || status=$?
	sed 's/^/    /' printed
	[ $status -eq 0 ] || printf '    (exit status %s)\n' $status
}

say 'A home is one folder for everything that an agent must not forget.'
show 'keep init home'

say "A channel keeps its session's credentials: whole or not at all, and on the disk when it returns."
show "keep engine set home session/creds '{\"key\":\"c2VjcmV0\"}'"

say 'Three messages arrive in a chat.'
show 'keep engine set home chat/ada/message/1 "Good morning"'
show 'keep engine set home chat/ada/message/2 "Is the train on time?"'
show 'keep engine set home chat/ada/message/3 "It is raining here"'

say 'The newest come first, whatever the clocks say. Two of them, with their names:'
show 'keep engine list home chat/ada/message --limit 2 --names'

say 'Counting reads no message.'
show 'keep engine count home chat/ada/message'

say 'Another process waits for news; it uses no processor time and misses nothing.'
mkfifo news
printf '  $ %s\n' 'keep engine watch home chat/ada --announce &'
keep engine watch home chat/ada --announce >news &
watcher=$!
exec 3<news
read -r line <&3
printf '    %s\n' "$line"

say 'A fourth message arrives, and the watch ends:'
show 'keep engine set home chat/ada/message/4 "The train is late"'
read -r line <&3
printf '    the watch says: %s\n' "$line"
wait "$watcher"
watcher=
show 'keep engine list home chat/ada/message --limit 1'

say 'Many changes at once, as JSON lines on standard input, answered one line each:'
cat >requests <<'END'
{"id":1,"op":"set","path":"chat/bob/message/1","value":"Hello"}
{"id":2,"op":"get","path":"chat/bob/message/1"}
{"id":3,"op":"get","path":"chat/../session/creds"}
END
sed 's/^/    /' requests
show 'keep engine batch home <requests'

say 'One call forgets a chat with everything below it, and nothing else.'
show 'keep engine unset home chat/ada'
show 'keep engine count home chat/ada/message'
show 'keep engine get home session/creds'
echo

say 'What is not there is an answer, not a crash:'
show 'keep engine get home chat/ada/message/1'

say 'All of it was in one folder, which is gone now. Read on:'
cat <<'END'
  README.md                      what Keep is for
  examples/first.c               the same from a C program
  docs/reference/operations.md   every operation, input, result and exit status
  keep help                      the command explains itself
END
