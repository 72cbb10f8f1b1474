#!/usr/bin/env bash
# A job file on Slurm, from the project's folder on a file system that all nodes share:
#     sbatch --nodes=4 jobs/slurm.sh jobs/imagenet_rank50.yaml [flags of pipeline.build, which win over the file]
# If --time is too short, nothing is lost: the same sbatch command continues where the last one stopped.
#SBATCH --job-name=rank-shards
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=1500M
#SBATCH --time=12:00:00
set -euo pipefail

[[ $# -ge 1 ]] || { echo "error: name a job file: sbatch jobs/slurm.sh jobs/imagenet_rank50.yaml" >&2; exit 2; }
bin=${VENV:-$PWD/.venv}/bin
head=$(hostname)    # the batch script runs on the allocation's first node
address=$(hostname --ip-address | awk '{print $1}'):$((20000 + SLURM_JOB_ID % 20000))

# Without a token anybody who reaches Ray can run commands as you. srun passes both variables to every node.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9    # or else Ray would report that statistics are off
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN
shared=(--num-cpus="$SLURM_CPUS_PER_TASK" --memory=$((SLURM_CPUS_PER_TASK * 1000 * 1024 * 1024))
        --object-store-memory=100000000 --block)
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap "$bin/ray" start --head --port="${address##*:}" \
    --include-dashboard=false "${shared[@]}" >"ray-$SLURM_JOB_ID-head.log" 2>&1 &
for _ in $(seq 60); do
    "$bin/ray" health-check --address "$address" >/dev/null 2>&1 && break
    sleep 1
done
if (( SLURM_JOB_NUM_NODES > 1 )); then
    others=$((SLURM_JOB_NUM_NODES - 1))
    srun --nodes="$others" --ntasks="$others" --exclude="$head" --overlap "$bin/ray" start --address="$address" \
        "${shared[@]}" >"ray-$SLURM_JOB_ID-workers.log" 2>&1 &
fi

config=$1
shift
"$bin/python" -m pipeline.build --config "$config" --address "$address" "$@"    # nodes that join later are used
