#!/bin/sh
# Run the public tuf-conformance suite against our verification core.
#
#   tests/interop/conformance.sh SUITE [pytest arguments]
#
# SUITE is a checkout of theupdateframework/tuf-conformance. It is installed in an environment of its own
# beside it (SUITE/.sealwire-venv), because it pins other versions than we do. Needs `faketime`.
set -eu

if [ $# -lt 1 ] || [ ! -d "$1/tuf_conformance" ]; then
    echo "usage: $0 SUITE: a checkout of theupdateframework/tuf-conformance" >&2
    exit 2
fi
command -v faketime >/dev/null || { echo "$0: needs faketime (apt-get install faketime)" >&2; exit 2; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
suite=$(CDPATH='' cd -- "$1" && pwd)
shift
python=${SEALWIRE_PYTHON:-$here/../../.venv/bin/python}
python=$(CDPATH='' cd -- "$(dirname -- "$python")" && pwd)/$(basename -- "$python")
own=$suite/.sealwire-venv

if [ ! -x "$own/bin/pytest" ]; then
    python3 -m venv "$own"
    "$own/bin/pip" install --quiet -e "$suite"
fi
exec "$own/bin/pytest" "$suite/tuf_conformance" -q -p no:cacheprovider \
    --entrypoint "$python $here/tuf_conformance_client.py" "$@"
