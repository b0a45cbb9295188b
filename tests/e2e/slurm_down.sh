#!/bin/bash
# slurm_down.sh DIR: cancel all jobs of a Slurm that slurm_up.sh started, and end its daemons. Exits 1 if one had to be
# killed, or a job was left.
set -u
dir=${1:?the directory given to slurm_up.sh} code=0
export SLURM_CONF=$dir/slurm.conf
timeout 10 squeue -h -o %A | sort -u | xargs -r timeout 10 scancel || code=1
for _ in $(seq 150); do
    left=$(timeout 5 squeue -h) || { code=1; break; }
    [ -z "$left" ] && break
    sleep 0.1
done
[ -n "$left" ] && { echo "jobs left: $left" >&2; code=1; }

lives() { [ -e "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

for file in "$dir"/slurmd.*.pid "$dir"/slurmctld.pid "$dir"/munge/munged.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    kill -TERM "$pid" 2>/dev/null
    for _ in $(seq 100); do lives "$pid" || break; sleep 0.1; done
    lives "$pid" && { echo "killed: $file $pid" >&2; kill -KILL "$pid"; code=1; }
done
exit $code
