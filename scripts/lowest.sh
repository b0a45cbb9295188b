#!/bin/sh
# lowest.sh PYTHON  -- the tests that need no daemon, with the lowest version of every direct dependency
#
# On the lowest Python, too, where the machine has it; else on PYTHON.
set -eu
export CHILTEPIN_TEST_STEP=7  # of the sweeps over every write and request: see tests/sampling.py
mkdir -p .venv-matrix
"$1" scripts/lowest_versions.py > .venv-matrix/lowest.txt
python=$(scripts/find_python.sh 3.10) || python=$1
echo "lowest: $("$python" --version) $(tr '\n' ' ' < .venv-matrix/lowest.txt)"
CONSTRAINTS=.venv-matrix/lowest.txt scripts/make_venv.sh "$python" .venv-matrix/lowest -e '.[dev]'
.venv-matrix/lowest/bin/python -m pytest -q -m "not e2e" -n "${LANES:-3}" --dist worksteal
