#!/bin/sh
# setup.sh [build|test|all]: install what Debian 12 lacks to build Keep, to run its tests, or for
# the slow searches too. Does nothing, quickly, when everything is there. Needs root or sudo only when something is missing.
set -eu

build="gcc libc6-dev meson ninja-build pkg-config libsqlite3-dev libpq-dev libhiredis-dev libssl-dev libargon2-dev libexpat1-dev libcurl4-openssl-dev libutf8proc-dev libmicrohttpd-dev zlib1g-dev"
test="$build g++ curl libcmocka-dev libjansson-dev openssl python3 python3-croniter python3-cryptography postgresql prometheus redis-server scdoc sqlite3 procps locales"
all="$test clang libclang-rt-14-dev clang-format valgrind gcovr"

case "${1:-build}" in
build) wanted=$build ;;
test) wanted=$test ;;
all) wanted=$all ;;
*)
	echo "usage: setup.sh [build|test|all]" >&2
	exit 2
	;;
esac

missing=
for package in $wanted; do
	status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "setup.sh: these packages are missing, and neither root nor sudo is here:$missing" >&2
		exit 1
	fi
	as=sudo
fi
echo "setup.sh: installing$missing"

# The tests start their own servers; the packages must not start others, nor make a cluster.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e $policy ]; then
	made_policy=yes
	printf '#!/bin/sh\nexit 101\n' | $as tee $policy >/dev/null
	$as chmod 755 $policy
fi
cluster=/etc/postgresql-common/createcluster.conf
if [ ! -e $cluster ]; then
	$as mkdir -p /etc/postgresql-common
	echo 'create_main_cluster = false' | $as tee $cluster >/dev/null
fi
clean_up() {
	[ -z "$made_policy" ] || $as rm -f $policy
}
trap clean_up EXIT

$as env DEBIAN_FRONTEND=noninteractive apt-get update -q
# shellcheck disable=SC2086
$as env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
	-o Dpkg::Options::=--force-confold $missing
