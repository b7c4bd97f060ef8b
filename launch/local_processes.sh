#!/usr/bin/env bash
# Trains with several processes on this machine that communicate over its loopback interface.
#
#   launch/local_processes.sh 2 --config=configs/digits.py --workdir=runs/digits
#
# JAX_NUM_CPU_DEVICES is the number of CPU devices of each process. The exit status is the first
# that is not 0; 75 means that the same command resumes the run.
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
# Signals to this script are passed on to all processes.
trap 'kill -TERM "${pids[@]}" 2> /dev/null || true' INT TERM
for ((i = 0; i < count; i++)); do
  "$python" -m snnjax.main --coordinator="localhost:$port" --num_processes="$count" \
    --process_id="$i" "$@" &
  pids+=($!)
done

result=0
for pid in "${pids[@]}"; do
  status=0
  # A signal makes wait return early.
  while kill -0 "$pid" 2> /dev/null; do
    status=0
    wait "$pid" || status=$?
  done
  if ((result == 0)); then
    result=$status
  fi
done
exit "$result"
