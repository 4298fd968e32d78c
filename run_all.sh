#!/usr/bin/env bash
# One command: set up what is missing, train what is missing, write the reports.
#   ./run_all.sh [--profile smoke|demo|study|bench|paper] [--papers imgnet,…] [--data DIR]
#                [--imagefolder DIR] [--results DIR] [--seeds N] [--device auto|cpu|cuda]
#                [--precision auto|fp32|bf16] [--jobs N] [--world-seed N]
#   ./run_all.sh test          the whole test suite
set -euo pipefail
here="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
case "$here" in
*:*)
    echo "error: $here: a colon in the path of the checkout would end it in PYTHONPATH; move it" >&2
    exit 2
    ;;
esac

# The active environment's Python first, then any that is new enough.
base=""
for candidate in python3 python python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
        >/dev/null 2>&1; then
        base="$candidate"
        break
    fi
done
if [ -z "$base" ]; then
    echo "error: no Python 3.11 or 3.12 found on PATH (python3, python, python3.12, python3.11)" >&2
    exit 2
fi

# Wrong arguments are reported before anything is installed; --help needs no installation either.
if [ "${1:-}" != test ]; then
    PYTHONPATH="$here" "$base" -P -m reidlib.arguments "$@" || { s=$?; [ "$s" -eq 100 ] && exit 0; exit "$s"; }
fi

python="$("$base" "$here/scripts/setup_env.py")"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
if [ "${1:-}" = test ]; then
    shift
    exec "$python" "$here/scripts/run_tests.py" "$@"
fi
# -P: what lies in the folder this is called from (a tqdm.py) is none of our modules.
exec "$python" -P -m reidlib all "$@"
