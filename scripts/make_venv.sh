#!/bin/sh
# make_venv.sh PYTHON DIR PIP_ARGUMENT...  -- a virtual environment with what the arguments name
set -eu
python=$1; venv=$2; shift 2
if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))'; then
    echo "$python is $("$python" --version 2>&1); Python 3.10 to 3.13 is needed: make PYTHON=python3.12 ..." >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
    else
        echo "$python cannot make virtual environments: as root, apt-get install python3-venv" >&2
        exit 1
    fi
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
# Chiltepin first: both packages install a script called `chiltepin`, and ours, the last, hands its commands on.
pip "chiltepin>=0.1.7,<0.2" ${CONSTRAINTS:+-c "$CONSTRAINTS"}
pip "$@" ${CONSTRAINTS:+-c "$CONSTRAINTS"}
