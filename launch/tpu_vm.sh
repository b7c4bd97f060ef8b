#!/usr/bin/env bash
# Trains on a Cloud TPU, and resumes after a preemption.
#
#   launch/tpu_vm.sh run --config=configs/imagenet.py:depth=34 --workdir=/mnt/runs/imagenet34
#   launch/tpu_vm.sh create | install | status | delete
#
# run does all missing steps: it requests the TPU, waits for it, installs this checkout on all of
# its hosts, and starts the command on each. If the TPU is gone, or the command ends with status 75,
# run starts again and resumes from the last checkpoint. --workdir must therefore outlive the TPU
# and be the same on every host: gs://BUCKET/NAME, or a Filestore share that SETUP mounts.
# DRY_RUN=1 prints every command instead.
#
#   NAME     name of the TPU (snnjax)        TYPE     v5litepod-16, v6e-8, v4-32, ... (v5litepod-8)
#   ZONE     zone (us-west4-a)               RUNTIME  software version (v2-alpha-tpuv5-lite)
#   SPOT     1 for a preemptible TPU (1)
#   SETUP    command on each host after the installation, such as a mount (none)
#   POLL     seconds between two checks of the TPU's state (30)
set -euo pipefail
cd "$(dirname "$0")/.."

NAME=${NAME:-snnjax}
TYPE=${TYPE:-v5litepod-8}
ZONE=${ZONE:-us-west4-a}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}
SPOT=${SPOT:-1}
SETUP=${SETUP:-}
POLL=${POLL:-30}

say_or_do() {
  if [[ ${DRY_RUN:-} ]]; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}

gcloud_tpus() { say_or_do gcloud compute tpus "$@" --zone="$ZONE"; }

on_all_hosts() { gcloud_tpus tpu-vm ssh "$NAME" --worker=all --command="$1"; }

state() {
  gcloud compute tpus queued-resources describe "$NAME" --zone="$ZONE" \
    --format='value(state.state)' 2> /dev/null || echo NONE
}

create() {
  local options=(--node-id="$NAME" --accelerator-type="$TYPE" --runtime-version="$RUNTIME")
  if [[ $SPOT == 1 ]]; then
    options+=(--spot)
  fi
  gcloud_tpus queued-resources create "$NAME" "${options[@]}"
}

wait_until_there() {
  if [[ ${DRY_RUN:-} ]]; then
    echo "# until $NAME is ACTIVE"
    return
  fi
  local now
  while true; do
    now=$(state)
    case $now in
      ACTIVE) return ;;
      FAILED | SUSPENDED | NONE) return 1 ;;
    esac
    sleep "$POLL"
  done
}

install() {
  say_or_do tar --create --gzip --file=/tmp/snnjax.tar.gz setup.cfg pyproject.toml README.md LICENSE \
    constraints configs snnjax
  gcloud_tpus tpu-vm scp /tmp/snnjax.tar.gz "$NAME":snnjax.tar.gz --worker=all
  # The Python of the hosts is too old.
  on_all_hosts "mkdir -p snnjax && tar -xzf snnjax.tar.gz -C snnjax && cd snnjax && \
python3 -m pip install --quiet --user uv && python3 -m uv venv --quiet --python 3.12 .venv && \
python3 -m uv pip install --quiet --python .venv/bin/python --constraint constraints/py312.txt \
--editable '.[tpu,gcs]'"
  if [[ $SETUP ]]; then
    on_all_hosts "$SETUP"
  fi
}

delete() { gcloud_tpus queued-resources delete "$NAME" --force --quiet; }

run() {
  local command
  command="cd snnjax && .venv/bin/python -m snnjax.main --distributed $(printf '%q ' "$@")"
  if [[ ${DRY_RUN:-} ]]; then
    create
    wait_until_there
    install
    on_all_hosts "$command"
    return
  fi
  local status failures=0
  while ((failures < 3)); do
    if [[ $(state) != ACTIVE ]]; then
      delete || true
      create
      if ! wait_until_there; then
        sleep "$POLL"
        continue
      fi
      install
    fi
    status=0
    on_all_hosts "$command" || status=$?
    if ((status == 0 || status == 2)); then
      return "$status"
    fi
    sleep "$POLL"
    # A failure while the TPU is active would be repeated, so it is counted.
    if ((status != 75)) && [[ $(state) == ACTIVE ]]; then
      failures=$((failures + 1))
    else
      failures=0
    fi
  done
  echo "the command failed three times in a row with status $status" >&2
  return "$status"
}

case ${1:-} in
  create | install | delete) "$1" ;;
  status) if [[ ${DRY_RUN:-} ]]; then gcloud_tpus queued-resources describe "$NAME"; else state; fi ;;
  run)
    shift
    run "$@"
    ;;
  *)
    sed -n '2,19s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
