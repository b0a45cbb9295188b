#!/bin/sh
# e2e.sh PYTHON [PYTEST_ARGUMENT...]  -- the tests with real daemons
#
# Port 5000 is fixed in the Globus Compute SDK. Where the kernel gives us network namespaces, each lane has its own
# loopback and several tests run at once (they mostly wait); elsewhere one runs after the other.
set -eu
python=$1; shift
lane=$(pwd)/scripts/own_network.sh
lanes=${LANES:-3}
if "$lane" true 2>/dev/null; then
    exec "$python" -m pytest -m e2e --dist worksteal --tx "$lanes*popen//python=$lane $python" "$@"
fi
echo "e2e: no network namespaces here (unshare, ip): one test after the other, and port 5000 must be free"
exec "$python" -m pytest -m e2e "$@"
