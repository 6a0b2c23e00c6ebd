#!/bin/sh
# bench/run.sh BUILD-FOLDER: every benchmark, one after the other, in a temporary folder on the disk
# of $TMPDIR (/tmp). Run by `make bench` under tests/support/with_servers.sh.
set -eu
build=$1
folder=$(mktemp -d "${TMPDIR:-/tmp}/keep-bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
grep -m1 'model name' /proc/cpuinfo || true
echo "$(nproc) processors, kernel $(uname -r), SQLite $(sqlite3 --version | cut -d' ' -f1)"
"$build/bench/bench_engine_sqlite" "$folder"
"$build/bench/bench_engine_files" "$folder"
"$build/bench/bench_engine_redis"
"$build/bench/bench_engine_postgres"
"$build/bench/bench_gateway_idle" "$folder"
"$build/bench/bench_gateway_routes" "$folder"
"$build/bench/bench_gateway_put" "$folder"
"$build/bench/bench_gateway_postgres"
"$build/bench/bench_mailbox" "$folder"
"$build/bench/bench_mailbox_sessions" "$folder"
"$build/bench/bench_assistant" "$folder"
"$build/bench/bench_fernet"
"$build/bench/bench_vectors"
"$build/bench/bench_search" "$folder"
"$build/bench/bench_audit" "$folder"
"$build/bench/bench_backup" "$folder"
