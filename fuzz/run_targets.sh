#!/bin/sh
# fuzz/run_targets.sh BUILD SECONDS [TARGET…] - search with every target of fuzz/targets, or with these.
#
#   fuzz/run_targets.sh build-fuzz 600
#
# BUILD was set up with -Dfuzz=true and CC=clang. Each target runs SECONDS, one after the other. It
# begins with fuzz/corpus/<target>/, which is only read, and with what earlier runs found worth
# keeping in BUILD/work/<target>/. An input that breaks a target is kept as fuzz/findings/<target>-…
# and its report is shown: mend the cause, then move the input to fuzz/corpus/<target>/, where the
# tests replay it for good. The exit status is 1 when there is a finding, old or new.
set -eu

[ $# -ge 2 ] || {
	echo "usage: fuzz/run_targets.sh BUILD SECONDS [TARGET…]" >&2
	exit 2
}
build=$(CDPATH='' cd -- "$1" && pwd)
seconds=$2
shift 2
cd "$(dirname -- "$0")"
mkdir -p findings
[ $# -gt 0 ] || set -- $(cat targets)

for target in "$@"; do
	work=$build/work/$target
	log=$build/work/$target.log
	mkdir -p "$work"
	status=0
	"$build/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 \
		-artifact_prefix="findings/$target-" "$work" "corpus/$target" >"$log" 2>&1 || status=$?
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
	printf '%-12s %10s inputs tried, %5s edges covered, %4s inputs kept, exit status %s\n' \
		"$target" "${runs:-no}" "${covered:-no}" "$(ls "$work" | wc -l)" "$status"
	if [ "$status" != 0 ]; then
		tail -n 60 "$log"
		failed=yes
	fi
done

for finding in findings/*; do
	[ -e "$finding" ] || continue
	echo "fuzz/$finding"
	failed=yes
done
[ -z "${failed:-}" ]
