#!/bin/sh
# A lock that names an address ties every clone to one mirror.
set -eu
cd "$(dirname "$0")/.."
if grep -nE 'https?:|"resolved"|--(extra-)?index-url|--find-links' requirements/*.lock tests/interop/*/package-lock.json \
    tools/vendor/package-lock.json; then
    echo "a lock names an address (above): run make lock" >&2
    exit 1
fi
if [ -e uv.lock ]; then
    echo "uv.lock names addresses: the locks are requirements/*.lock" >&2
    exit 1
fi
