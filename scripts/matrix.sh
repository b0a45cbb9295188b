#!/bin/sh
# matrix.sh PYTHON  -- the tests that need no daemon, on each supported Python that is here, but for PYTHON's own
set -eu
export CHILTEPIN_TEST_STEP=7  # of the sweeps over every write and request: see tests/sampling.py
have=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ran=0
for version in 3.10 3.11 3.12 3.13; do
    [ "$version" = "$have" ] && continue
    found=
    for candidate in "$(command -v "python$version" || true)" \
        $(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python 2>/dev/null || true); do
        if [ -n "$candidate" ] && "$candidate" -c 'import ensurepip, sqlite3' 2>/dev/null; then found=$candidate; break; fi
    done
    if [ -z "$found" ]; then
        echo "matrix: Python $version: skipped, it is not on this machine"
        continue
    fi
    echo "matrix: Python $version: $found"
    scripts/make_venv.sh "$found" ".venv-matrix/$version" -e '.[dev]'
    ".venv-matrix/$version/bin/python" -m pytest -q -m "not e2e" -n "${LANES:-2}" --dist worksteal
    ran=$((ran + 1))
done
echo "matrix: $ran further versions of Python passed"
