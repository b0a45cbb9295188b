#!/bin/bash
# slurm_up.sh DIR PORT: a Slurm of two virtual nodes for this user, on loopback, with its files in DIR (new) and
# its ports from PORT to PORT+3. Prints nothing when all is well; SLURM_CONF is DIR/slurm.conf. See slurm_down.sh.
set -eu
dir=${1:?a new directory} port=${2:?the first of four free ports} user=$(id -un)
PATH=$PATH:/usr/sbin:/sbin
umask 022
mkdir "$dir" "$dir"/{munge,state,log,n1,n2}
cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ReturnToService=2
KillWait=2
EnforcePartLimits=ALL
PropagateResourceLimits=NONE
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[$((port + 2))-$((port + 3))] CPUs=4 RealMemory=2000
PartitionName=debug Nodes=n[1-2] Default=YES MaxTime=30 State=UP
CONF
export SLURM_CONF=$dir/slurm.conf
head -c 1024 /dev/urandom >"$dir/munge/key"
chmod 600 "$dir/munge/key"
munged --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/munged.pid" \
    --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
slurmctld -i
slurmd -N n1
slurmd -N n2
for _ in $(seq 100); do
    [ "$(timeout 2 sinfo -h -N -o %t 2>/dev/null | grep -c '^idle$')" = 2 ] && exit 0
    sleep 0.1
done
timeout 5 sinfo -N -l >&2
tail -n 5 "$dir"/log/* >&2
exit 1
