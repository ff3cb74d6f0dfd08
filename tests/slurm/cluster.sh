#!/usr/bin/env bash
# A real Slurm on this machine: one controller and two nodes, n1 and n2, in a folder of their own.
#   tests/slurm/cluster.sh start DIR      then: export SLURM_CONF=DIR/slurm.conf
#   tests/slurm/cluster.sh restart DIR    the controller alone; jobs go on
#   tests/slurm/cluster.sh kill DIR n2    a node and all that runs on it die, as if the power failed
#   tests/slurm/cluster.sh revive DIR n2  the node comes back
#   tests/slurm/cluster.sh stop DIR
# Needs root, and Debian's packages slurm-wlm and munge. Nothing outside DIR is written, except the two names in /etc/hosts,
# without which torch's rendezvous does not find the nodes; `stop` takes them out again.
set -euo pipefail
action=$1 dir=$(realpath -m "$2") node=${3:-}
mark="# deeplab test cluster in $dir"
export SLURM_CONF=$dir/slurm.conf
export PATH=$PATH:/usr/sbin

# Ports and job numbers of its own for each cluster, derived from the folder, so that two runs of the tests do not meet: where
# the ranks of a job meet is derived from the job's number.
base=$((20000 + $(cksum <<<"$dir" | cut -d' ' -f1) % 20000))

write_configuration() { # a requeued job waits as long as credentials live, two minutes by default
  local cores memory
  cores=$(nproc)
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  cat >"$SLURM_CONF" <<CONF
ClusterName=deeplab
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$base
FirstJobId=$((base - 19999))
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=5
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=5
SlurmctldTimeout=10
InactiveLimit=0
MinJobAge=300
KillWait=20
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MailProg=/bin/true
NodeName=n[1-2] NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=[$((base + 1))-$((base + 2))] CPUs=$cores RealMemory=$memory
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
}

start_munge() {
  install -d -m 0700 "$dir/munge"
  dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 status=none
  chmod 0400 "$dir/munge/key"
  # --force: munged dislikes a socket below a folder that others may enter, as /tmp is.
  munged --force --key-file="$dir/munge/key" --socket="$dir/munge.socket" --pid-file="$dir/munge/pid" \
    --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
}

start_node() {
  slurmd -N "$1" -f "$SLURM_CONF"
}

stop_daemon() { # by its pid file
  [ -f "$1" ] && kill ${2:-} "$(cat "$1")" 2>/dev/null || true
}

wait_for() { # until both nodes take jobs
  for _ in $(seq 60); do
    [ "$(sinfo -h -N -o '%t' 2>/dev/null | grep -cE '^(idle|mix|alloc)$')" = "$1" ] && return
    sleep 0.5
  done
  echo "the cluster in $dir did not come up; see $dir/slurmctld.log" >&2
  sinfo -N >&2 || true
  exit 1
}

# All that a node's jobs started, and the step daemons above them.
processes_of_node() {
  local place parent
  for place in /proc/[0-9]*; do
    grep -qzx "SLURMD_NODENAME=$1" "$place/environ" 2>/dev/null || continue
    grep -qzx "SLURM_CONF=$SLURM_CONF" "$place/environ" 2>/dev/null || continue
    basename "$place"
    parent=$(awk '/^PPid:/ {print $2}' "$place/status" 2>/dev/null) || continue
    [ "$(cat "/proc/$parent/comm" 2>/dev/null)" != slurmstepd ] || echo "$parent"
  done | sort -u
}

# The daemons of its steps; one outlives its step where it cannot tell the controller of the end.
step_daemons() {
  local pid
  for pid in $(pgrep -x slurmstepd); do
    if [ "$(readlink "/proc/$pid/cwd")" = "$dir" ]; then echo "$pid"; fi
  done
}

end_all() { # kills the processes it reads; one that has ended by itself meanwhile is none
  local pid
  while read -r pid; do
    kill -KILL "$pid" 2>/dev/null || [ ! -d "/proc/$pid" ] || echo "process $pid cannot be killed" >&2
  done
}

case $action in
start)
  mkdir -p "$dir/state" "$dir/spool-n1" "$dir/spool-n2"
  grep -qF "$mark" /etc/hosts || echo "127.0.0.1 n1 n2 $mark" >>/etc/hosts
  write_configuration
  start_munge
  slurmctld -f "$SLURM_CONF"
  start_node n1
  start_node n2
  wait_for 2
  ;;
restart)
  stop_daemon "$dir/slurmctld.pid"
  while pgrep -f "^slurmctld -f $SLURM_CONF\$" >/dev/null; do sleep 0.1; done
  slurmctld -f "$SLURM_CONF"
  ;;
kill)
  stop_daemon "$dir/slurmd-$node.pid" -KILL
  end_all < <(processes_of_node "$node")
  ;;
revive)
  start_node "$node"
  scontrol update NodeName="$node" State=RESUME 2>/dev/null || true # a node that was not yet missed is not down
  wait_for 2
  ;;
stop)
  scancel --quiet --signal=KILL --full --state=RUNNING 2>/dev/null || true
  scancel --quiet --user=root 2>/dev/null || true
  for file in "$dir"/slurmd-*.pid "$dir/slurmctld.pid" "$dir/munge/pid"; do stop_daemon "$file"; done
  # A slurmd that waits for a step that never ends would stay for ever.
  for _ in $(seq 50); do
    pgrep -f "^slurmd .*-f $SLURM_CONF\$" >/dev/null || break
    sleep 0.2
  done
  end_all < <(
    processes_of_node n1
    processes_of_node n2
    step_daemons
    pgrep -f "^slurmd .*-f $SLURM_CONF\$" # last, for without any it fails
  )
  # Copied over, not moved: in a container the file is a mount.
  grep -vF "$mark" /etc/hosts >"$dir/hosts" && cat "$dir/hosts" >/etc/hosts
  ;;
*)
  sed -n '2,10s/^# //p' "$0" >&2
  exit 2
  ;;
esac
