#!/bin/sh
# own_network.sh COMMAND ARGUMENT...  -- run a command with a loopback of its own, so that several can use port 5000
#
# The address beside 127.0.0.1 is one for documentation (RFC 5737): Slurm wants its host to have one.
set -eu
up='ip link set lo up && ip addr add 192.0.2.1/32 dev lo'
if [ "$(id -u)" = 0 ]; then
    exec unshare --net sh -c "$up"' && exec "$@"' sh "$@"
fi
# An ordinary user may do it in a user namespace; the capabilities that it takes are given up before COMMAND runs.
exec unshare --user --map-current-user --net --keep-caps \
    sh -c "$up"' && exec setpriv --ambient-caps=-all --inh-caps=-all "$@"' sh "$@"
