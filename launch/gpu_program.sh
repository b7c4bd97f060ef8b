#!/usr/bin/env bash
# Runs one or several of the steps in docs/howto/gpu.md on one GPU, in the order given.
#
#   launch/gpu_program.sh peers loop profile variants
#   DATA=~/snnjax_data launch/gpu_program.sh table2 table9
#   launch/gpu_program.sh ann configs/NAME.py configs/NAME.py:ARGUMENTS
#
# OUT is the output folder (runs/gpu), DATA the folder of the prepared data sets (~/snnjax_data),
# and SECONDS_EACH the time limit of a step's benchmarks in seconds (840). DRY_RUN=1 only prints the
# commands. Trainings that were stopped resume when the same step is run again.
set -euo pipefail

out=${OUT:-runs/gpu}
data=${DATA:-$HOME/snnjax_data}
seconds=${SECONDS_EACH:-840}
python=${PYTHON:-python}
dtype=--config.model.dtype=bfloat16

run() {
  echo "+ $*"
  [[ -n ${DRY_RUN:-} ]] || "$@"
}

train() { # WORKDIR CONFIG CHANGE...
  local workdir=$1 config=$2
  shift 2
  run "$python" -m snnjax.main "--config=$config" "$dtype" "--config.data.dir=$data" \
    "--workdir=$out/$workdir" "$@"
}

sweep() { # DEPTHS
  run "$python" -m snnjax.tools.sweep "--config=configs/depth_analysis.py:depths=$1" "$dtype" \
    "--config.data.dir=$data" "--workdir=$out/depth_analysis"
}

peers() {
  # First a check in float32 that the networks are the same, then the times.
  run "$python" benchmarks/gpu_peers.py --only cifar20 --dtype=float32 --rounds=1 \
    --peers spikingjelly_triton pytorch "--json=$out/peers_float32.json"
  run "$python" benchmarks/gpu_peers.py "--budget_seconds=$seconds" "--json=$out/peers.json"
}

loop() {
  run "$python" benchmarks/loop.py --config=configs/cifar10.py "$dtype" \
    "--config.data.dir=$data" --steps=2000 "--json=$out/loop.json"
}

profile() {
  for case in imagenet34 cifar20; do
    run "$python" benchmarks/gpu_variants.py "--case=$case" --variants \
      "--profile=$out/profile_$case" "--json=$out/profile_$case.json"
  done
}

variants() {
  for case in imagenet34 cifar20; do
    run "$python" benchmarks/gpu_variants.py "--case=$case" "--budget_seconds=$seconds" \
      "--json=$out/variants_$case.json"
  done
}

table2() {
  for depths in 20+44+56 8+14+32 110; do
    sweep "$depths"
  done
}

table9() {
  # Table 2 has the network that is trained directly. This one is trained at T = 1, evaluated at
  # T = 4 without training, then fine-tuned at half the learning rate.
  train table9 configs/cifar10.py:depth=20,num_steps=4,pretrain_epochs=100 \
    --config.epochs=50 --config.optimizer.learning_rate=0.05
}

ann() { # CONFIG...
  for config in "$@"; do
    name=$(basename "${config%%:*}" .py)
    name+=$(tr -c '[:alnum:]\n' _ <<< "${config#"${config%%:*}"}")
    train "$name" "$config" --config.epochs=100
  done
}

if [[ $# -eq 0 ]]; then
  echo "usage: $0 peers|loop|profile|variants|table2|table9... or $0 ann CONFIG..." >&2
  exit 2
fi
[[ -n ${DRY_RUN:-} ]] || mkdir -p "$out"
if [[ $1 == ann ]]; then
  shift
  ann "$@"
  exit
fi
for step in "$@"; do
  case $step in
    peers | loop | profile | variants | table2 | table9) "$step" ;;
    *)
      echo "unknown step $step" >&2
      exit 2
      ;;
  esac
done
