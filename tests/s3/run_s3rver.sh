#!/bin/sh
# run_s3rver.sh TEST... - run the tests of the S3 client against a server that other people wrote: s3rver, from
# npm's registry, as far as it goes. `make s3` calls it with the built programs.
#
# It is no part of `make test`, because the registry may be out of reach. The server is installed into
# a temporary folder, listens on 127.0.0.1 with a port of the system's choice, and is gone when the
# tests have ended, however they ended. The exit status is that of the first test that failed.
set -eu

version=3.7.1
[ $# -gt 0 ] || {
	echo "usage: run_s3rver.sh TEST..." >&2
	exit 2
}
command -v npm >/dev/null || {
	echo "run_s3rver.sh: npm is not installed" >&2
	exit 1
}
folder=$(mktemp -d /tmp/keep-s3-XXXXXX)
server=
clean_up() {
	status=$?
	trap '' INT TERM HUP
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	[ -z "$server" ] || wait "$server" 2>/dev/null || true
	rm -rf "$folder"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

npm install --ignore-scripts --no-save --no-audit --no-fund --prefix "$folder/npm" \
	"s3rver@$version" >"$folder/npm.log" 2>&1 || {
	cat "$folder/npm.log" >&2
	exit 1
}
# Told in its log: "S3rver listening on 127.0.0.1:PORT".
node "$folder/npm/node_modules/.bin/s3rver" -d "$folder/data" -a 127.0.0.1 -p 0 --no-vhost-buckets \
	--configure-bucket keep-test >"$folder/server.log" 2>&1 &
server=$!
tries=0
until port=$(sed -n 's/.*listening on [^ ]*:\([0-9][0-9]*\).*/\1/p' "$folder/server.log" | head -n 1) &&
	[ -n "$port" ]; do
	tries=$((tries + 1))
	if [ $tries -ge 200 ] || ! kill -0 "$server" 2>/dev/null; then
		echo "run_s3rver.sh: s3rver did not start" >&2
		cat "$folder/server.log" >&2
		exit 1
	fi
	sleep 0.1
done

unset KEEP_TEST_S3_TLS KEEP_TEST_S3_TOKEN http_proxy HTTP_PROXY || true
KEEP_TEST_S3=http://127.0.0.1:$port
KEEP_TEST_S3_BUCKET=keep-test
KEEP_TEST_S3_ACCESS_KEY=S3RVER
KEEP_TEST_S3_SECRET_KEY=S3RVER
# It reads signatures of version 4 and does not compare them, leaves folders out of a listing that
# hold nothing but folders, and stores a body that ended early.
KEEP_TEST_S3_LACKS="signatures, folders of folders, whole bodies alone"
export KEEP_TEST_S3_LACKS KEEP_TEST_S3 KEEP_TEST_S3_BUCKET KEEP_TEST_S3_ACCESS_KEY KEEP_TEST_S3_SECRET_KEY
for test in "$@"; do
	echo "$(basename "$test") against s3rver $version"
	"$test"
done
