#!/usr/bin/env bash
# A search on several nodes of a SLURM cluster: sbatch examples/slurm.sh
# SHARED is on a file system that all nodes see: the project with its .venv, the data, the model and the results.
#SBATCH --job-name=tune_sa2va
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=tune_sa2va-%j.out
set -euo pipefail

SHARED=/shared/tuner
GPUS=8 # nodes x GPUs a node
NAME=vessels
PORT=6379

cd "$SHARED/tune_sa2va"
source .venv/bin/activate
export RAY_health_check_failure_threshold=3    # a node that falls silent is given up after 40 s and not 65
export RAY_AUTH_MODE=token                     # ray get-auth-token --generate once, in the home folder of all nodes
export TUNE_SA2VA_CACHE="${TMPDIR:-/tmp}/tune_sa2va" # features: each node's own disk

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
head_ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')

# Ray ends with its job step, so no other job's Ray on these nodes is touched (ray stop would end it, too).
srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    ray start --head --node-ip-address="$head_ip" --port="$PORT" --dashboard-host=127.0.0.1 --block &
sleep 20
if [ "$SLURM_NNODES" -gt 1 ]; then
    srun --nodes="$((SLURM_NNODES - 1))" --ntasks="$((SLURM_NNODES - 1))" --exclude="$head" --overlap \
        ray start --address="$head_ip:$PORT" --block &
    sleep 20
fi

if [ -d "$SHARED/results/$NAME" ]; then
    python -m tune_sa2va.search --resume "$SHARED/results/$NAME" --address "$head_ip:$PORT" &
else
    python -m tune_sa2va.search --data "$SHARED/data" --model "$SHARED/Sa2VA-InternVL3-8B" --trials 100 \
        --gpus "$GPUS" --address "$head_ip:$PORT" --out "$SHARED/results" --name "$NAME" &
fi
search=$!

# Five minutes before the time is over, or before a job that goes first, SLURM sends SIGTERM to this script (B:), and we
# hand it on. Not SIGINT: a shell that is no terminal's has its background processes ignore that one.
trap 'signalled=yes; kill -TERM "$search"' TERM
signalled=yes
while [ "$signalled" = yes ]; do # a wait that the signal ended says nothing of the search: wait again
    signalled=no
    code=0
    wait "$search" || code=$?
done
# 143: stopped in order by SIGTERM. Back into the queue, and this script goes on with what is there.
if [ "$code" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
