#!/bin/sh
# chaos.sh PYTHON  -- a campaign for each of $SEEDS (default: 1) of $KILLS kills (default: 1000), $LANES at once
set -eu
echo "chaos: ${KILLS:-1000} kills for each of the seeds ${SEEDS:-1}"
# shellcheck disable=SC2086
printf '%s\n' ${SEEDS:-1} |
    xargs -P "${LANES:-3}" -I SEED scripts/own_network.sh "$1" -m tests.chaos --kills "${KILLS:-1000}" --seed SEED
