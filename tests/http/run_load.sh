#!/bin/sh
# run_load.sh BUILD [WORD …] - serve a new home on SQLite and let the load client loose on it; the words
# are the client's. The home is in KEEP_TEST_FOLDER or TMPDIR or /tmp, which should be a real disk. Exit
# status: the client's.
set -eu

build=$(cd "$1" && pwd)
shift
folder=$(mktemp -d "${KEEP_TEST_FOLDER:-${TMPDIR:-/tmp}}/keep-load-XXXXXX")
server=
trap 'test -z "$server" || { kill "$server" && wait "$server"; } || true; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

"$build/keep" init "$folder/home"
"$build/keep" serve "$folder/home" --listen 127.0.0.1:0 >"$folder/url" 2>"$folder/log" &
server=$!
until grep -q http "$folder/url"; do
	kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 2; }
	sleep 0.1
done
"$build/tests/http/load_client" "$(sed 's/.* //; q' "$folder/url")" "$@"
