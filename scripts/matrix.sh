#!/bin/sh
# matrix.sh PYTHON  -- the tests that need no daemon, on each supported Python that is here, but for PYTHON's own
#
# The oldest one is lowest.sh's, which runs the same tests with the oldest versions of everything else, too.
set -eu
export CHILTEPIN_TEST_STEP=7  # of the sweeps over every write and request: see tests/sampling.py
have=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ran=0
for version in 3.11 3.12 3.13; do
    [ "$version" = "$have" ] && continue
    if ! found=$(scripts/find_python.sh "$version"); then
        echo "matrix: Python $version: skipped, it is not on this machine"
        continue
    fi
    echo "matrix: Python $version: $found"
    scripts/make_venv.sh "$found" ".venv-matrix/$version" -e '.[dev]'
    ".venv-matrix/$version/bin/python" -m pytest -q -m "not e2e" -n "${LANES:-3}" --dist worksteal
    ran=$((ran + 1))
done
echo "matrix: $ran further versions of Python passed"
