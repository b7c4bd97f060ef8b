#!/usr/bin/env bash
# Trains by several processes on this machine, over its loopback: a pod in small.
#
#   launch/local_processes.sh 2 --config=configs/digits.py --workdir=runs/digits
#
# The devices of CPUs are divided by JAX_NUM_CPU_DEVICES, those of each process. The exit status is
# the first that is not 0: 75 means that the same command continues.
set -euo pipefail

if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: $0 NUMBER_OF_PROCESSES --config=FILE --workdir=DIR" >&2
  exit 2
fi
count=$1
shift
python=${PYTHON:-python}
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')

pids=()
# A signal to this script is one to all of them.
trap 'kill -TERM "${pids[@]}" 2> /dev/null || true' INT TERM
for ((i = 0; i < count; i++)); do
  "$python" -m snnjax.main --coordinator="localhost:$port" --num_processes="$count" \
    --process_id="$i" "$@" &
  pids+=($!)
done

result=0
for pid in "${pids[@]}"; do
  status=0
  # wait returns early when a signal comes.
  while kill -0 "$pid" 2> /dev/null; do
    status=0
    wait "$pid" || status=$?
  done
  if ((result == 0)); then
    result=$status
  fi
done
exit "$result"
