#!/bin/sh
# What `make tour` shows, the four stores by themselves: a home is made, a chat is kept, watched, counted and
# forgotten; then a gateway takes a message in, finds who is to answer, hands the answer out, and lets a task
# come due; a mailbox gives a message to an agent, which is any program, and takes its answer; an assistant
# remembers, keeps a secret, and lets a job come due; and the home is backed up and restored.
#
#     examples/tour.sh build/keep
#
# Each step is a sentence, the command, and what it printed. Nothing is left behind, and nothing
# waits by the clock: the watch says when it is in place, and answers when the message is there.
set -eu

keep=$(realpath "${1:?usage: examples/tour.sh BUILD/keep}")
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

say 'The gateway is the second store. A message comes in, and comes again: it is there once.'
show 'keep gateway put_message home telegram:ada 17 "Is the train on time?" --sender ada --timestamp 1767225600000'
show 'keep gateway put_message home telegram:ada 17 "Is the train on time?" --sender ada --timestamp 1767225600000'

say 'Routes say who is to answer, and can tell why:'
show 'keep gateway add_route home telegram: ops prefix @ops'
show 'keep gateway add_route home telegram: travel keyword train --seq 1'
show 'keep gateway resolve home telegram:ada "Is the train on time?" --explain'

say 'The answer waits to be delivered; an adapter claims it, sends it, and reports:'
show 'keep gateway put_outbound home telegram:ada "It is ten minutes late" --id answer-1 --group-folder travel'
show 'keep gateway claim_deliveries home telegram'
show 'keep gateway complete_delivery home telegram:ada answer-1 1 delivered --platform-id 18'

say 'A task becomes a message when it is due, once, whoever ticks and however often:'
show 'keep gateway create_task home travel telegram:ada "Good morning" --id morning --next-run 2026-01-02T08:00:00Z'
show 'keep gateway fire_due_tasks home --now-ms 2026-01-02T08:00:00Z'
show 'keep gateway fire_due_tasks home --now-ms 2026-01-02T08:00:01Z'
show 'keep gateway history home telegram:ada'

say 'A remark for the agent rides on its next message:'
show 'keep gateway enqueue_system_message home travel timed fired "the task <morning> came due"'
show 'keep gateway flush_system_messages home travel'

say 'The mailbox is the third store: an agent, a chat, and who serves whom.'
show 'keep mailbox put_agent_group home Travel travel --id travel'
show 'keep mailbox put_messaging_group home telegram ada --id ada'
show 'keep mailbox wire home ada travel --id ada-travel'

say 'A message comes in; each conversation is a session, with a folder that its agent works in:'
show "keep mailbox route home telegram ada '{\"text\":\"Is the train on time?\"}' --message-id 17 >routed"
session=$(keep mailbox list_sessions home | cut -f 1)
agent_folder=$(keep mailbox session_place home "$session")
export session agent_folder
show 'head -3 routed'
show 'keep mailbox messages home $session | cut -f 1,3,4'

say 'Any program is the agent. It gets the text, and what it prints is the answer:'
show "keep agent \$agent_folder --once --text -- sed 's/.*/You ask: &/'"

say 'The host takes the answer over, says that it is about to send it, and what became of it:'
show 'keep mailbox collect home $session >collected'
show "cut -f 8-12 collected | grep text"
answer=$(cut -f 2-3 collected | sed -n 's/\t3$//p')
export answer
show 'keep mailbox begin_delivery home $session $answer'
show 'keep mailbox complete_delivery home $session $answer 1 delivered --platform-message-id 18'

say 'Where is message 17 now?'
show "keep mailbox trace home 17 | grep -e '^state' -e '^  '"

say 'The assistant is the fourth store: what was said, within a budget of tokens.'
show "keep assistant add_conversation home webui ada --conversation-id talk | tail -1"
show "keep assistant append home talk user 'Is the train to Köln on time?'  | head -1"
show "keep assistant append home talk assistant 'It is ten minutes late.' | head -1"
show "keep assistant add_summary home talk 1 2 'Ada asked for a train, which is late.' | head -1"
show "keep assistant append home talk user 'And the one after it?' | head -1"
show "keep assistant context home talk --token-budget 50 | grep -e summary_text -e tokens -e is_complete"

say 'It finds what was said, however it is spelled:'
show "keep assistant search_messages home koln --json | grep -o '\"snippet\":\"[^\"]*\"'"

say 'A secret is encrypted under the key of the home, and every look at it is remembered:'
show "printf s3cret | keep assistant put_credential home railway api_key -"
show "keep assistant get_credential home railway"
show "keep assistant verify_audit home | head -2"

say 'A job comes due once, whoever ticks:'
show "keep assistant put_cron_job home Morning '0 7 * * *' prompt --job-id morning --prompt 'What is on today?' --timezone Europe/Brussels --now-ms 2026-01-01T12:00:00Z; echo"
show "keep assistant claim_due home --now-ms 2026-01-02T06:00:00Z --json | grep -o '\"scheduled_for\":\"[^\"]*\"'"
show "keep assistant claim_due home --now-ms 2026-01-02T06:00:01Z | head -1"

say 'The whole home, as of one moment, while it is in use; and a new home of it:'
show 'keep backup home >backup-name'
show 'keep backup home --verify'
show 'keep restore home another | head -1 | cut -d " " -f 1-5'
show 'keep engine get another session/creds'; echo

say 'All of it was in one folder, which is gone now. Read on:'
cat <<'END'
  README.md                      what Keep is for
  examples/run.sh                all of them together: `make run`
  examples/first.c               the same from a C program
  docs/reference/operations.md   every operation, input, result and exit status
  keep help                      the command explains itself
END
