#!/usr/bin/env bash
# A job file on Slurm, from the project's folder on a file system that all nodes share:
#     sbatch --nodes=4 jobs/slurm.sh jobs/imagenet_rank50.yaml [flags of pipeline.build, which win over the file]
# If --time is too short, or the job is cancelled, nothing is lost: the same sbatch command continues where it stopped.
# A job that loses a node, or is preempted, is queued again by Slurm and continues as well.
#SBATCH --job-name=rank-shards
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=1500M
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
set -euo pipefail

fail() {
    echo "error: $1" >&2
    exit "${2:-1}"
}

[[ $# -ge 1 ]] || fail "name a job file: sbatch jobs/slurm.sh jobs/imagenet_rank50.yaml" 2
config=$1
shift
bin=${VENV:-$PWD/.venv}/bin
[[ -x $bin/ray ]] || fail "$bin has no ray; set VENV to this project's environment, in a folder that all nodes share" 2

# Slurm's own names: `hostname` may be longer than the name of the node, and `hostname --ip-address` may be 127.0.1.1.
head=$SLURMD_NODENAME    # the batch script runs on the allocation's first node
ip=127.0.0.1
if (( SLURM_JOB_NUM_NODES > 1 )); then    # the address from which the other nodes get their orders
    ip=$(srun --nodes=1 --ntasks=1 --exclude="$head" --overlap printenv SLURM_LAUNCH_NODE_IPADDR) \
        || fail "srun could not start on the other nodes of the allocation"
fi
address=$ip:$((20000 + SLURM_JOB_ID % 20000))

# Without a token anybody who reaches Ray can run commands as you. srun passes both variables to every node.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9    # or else Ray would report that statistics are off
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN
shared=(--num-cpus="$SLURM_CPUS_PER_TASK" --memory=$((SLURM_CPUS_PER_TASK * 1000 * 1024 * 1024))
        --object-store-memory=100000000 --block)
declare -A logs    # of the steps that run Ray, by process id
build=
stopped=
trap 'stopped=yes; [[ -z $build ]] || kill -TERM "$build" 2>/dev/null || true' TERM
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

start_ray() {    # LOG SRUN_OPTION... ray start OPTION...: in the background, until the job ends
    srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --overlap --kill-on-bad-exit=1 "${@:2}" "${shared[@]}" >>"$1" 2>&1 &
    logs[$!]=$1
}

check_ray() {    # ends the job if a step has ended
    local step
    for step in "${!logs[@]}"; do
        kill -0 "$step" 2>/dev/null || [[ $stopped ]] \
            || fail "Ray ended on a node; ${logs[$step]} ends with: $(grep -v '^ *$' "${logs[$step]}" | tail -n 1)"
    done
}

start_ray "ray-$SLURM_JOB_ID-head.log" --nodes=1 --ntasks=1 --nodelist="$head" \
    "$bin/ray" start --head --node-ip-address="$ip" --port="${address##*:}" --include-dashboard=false
for (( tries = 60; ; tries-- )); do
    check_ray
    "$bin/ray" health-check --address "$address" >/dev/null 2>&1 && break
    [[ -z $stopped ]] || exit 1
    (( tries )) || fail "Ray on $head does not answer at $address; see ray-$SLURM_JOB_ID-head.log"
    sleep 1
done
if (( SLURM_JOB_NUM_NODES > 1 )); then
    others=$((SLURM_JOB_NUM_NODES - 1))
    start_ray "ray-$SLURM_JOB_ID-workers.log" --nodes="$others" --ntasks="$others" --exclude="$head" \
        "$bin/ray" start --address="$address"
fi

"$bin/python" -m pipeline.build --config "$config" --address "$address" "$@" &    # nodes that join later are used
build=$!
while kill -0 "$build" 2>/dev/null; do
    check_ray
    sleep 1 &
    wait $! || true    # a signal ends this wait at once
done
wait "$build"
