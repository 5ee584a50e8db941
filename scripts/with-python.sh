#!/bin/sh
# Run one of our scripts with a Python that can: `PYTHON=python3.12 VENV=.venv sh scripts/with-python.sh FILE ARGUMENTS`.
# Without PYTHON it is the one that .venv was made with, then python3.
set -eu
venv=${VENV:-.venv}
python=${PYTHON:-}
[ -n "$python" ] || { [ -e "$venv/.ready" ] && "$venv/bin/python" -c '' 2>/dev/null && python=$venv/bin/python; } ||
    python=python3

command -v "$python" >/dev/null || {
    echo "setup: there is no $python here: sudo apt-get install python3 python3-venv, or name another: make PYTHON=python3.12" >&2
    exit 1
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
    for other in python3.13 python3.12 python3.11 python3.10; do
        "$other" -c '' 2>/dev/null && break
        other=python3.12
    done
    echo "setup: Python 3.10 or newer is needed; $python is $("$python" --version 2>&1 | head -n 1). Give another: make PYTHON=$other" >&2
    exit 1
}
exec "$python" "$@"
