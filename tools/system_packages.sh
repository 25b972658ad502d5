#!/bin/sh
# Installs the programs some tests want and pip cannot bring, where that is allowed: as root, on a machine with apt.
# Never fails: what is missing in the end makes its tests skip with a sentence.
set -u

wanted=""
if ! command -v initdb >/dev/null 2>&1 && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    wanted="$wanted postgresql"
fi
if ! command -v chromium >/dev/null 2>&1 && ! command -v google-chrome >/dev/null 2>&1; then
    wanted="$wanted chromium"
fi
if [ "${1:-}" = "--faketime" ] && ! command -v faketime >/dev/null 2>&1; then
    wanted="$wanted faketime"
fi
[ -n "$wanted" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, and not ours to install:$wanted (their tests will skip)" >&2
    exit 0
fi

echo "installing$wanted" >&2
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/postgresql-common && [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
{ timeout 300 apt-get update -qq && timeout 600 apt-get install -y -qq --no-install-recommends $wanted; } \
    </dev/null >/dev/null 2>&1 || echo "could not install$wanted (their tests will skip)" >&2
exit 0
