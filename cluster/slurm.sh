#!/usr/bin/env bash
# One run on nodes that Slurm gives: sbatch cluster/slurm.sh configs/rtp-lx.yaml storage=/scratch/$USER/runs
# `ray symmetric-run` starts Ray on all nodes, the run on the first one, and ends Ray at the end.
# The storage is a folder that all nodes share, or a bucket. A job that is requeued goes on from what is committed.
#SBATCH --job-name=detox-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=detox-ray-%j.log
set -euo pipefail

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address)
address=${address%% *}:6379
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')  # of this job; Slurm passes the environment to the nodes
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_ADDRESS=$address
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0 RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
export DETOX_RAY_JOB=slurm-$SLURM_JOB_ID  # the run's folder keeps a record of each attempt
export DETOX_RAY_CACHE=${SLURM_TMPDIR:-/tmp}/detox_ray

srun --kill-on-bad-exit=1 ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-gpus="${SLURM_GPUS_ON_NODE:-8}" --num-cpus="$SLURM_CPUS_PER_TASK" \
  --object-spilling-directory="$DETOX_RAY_CACHE/spill" --disable-usage-stats -- detox-ray run "$@"
