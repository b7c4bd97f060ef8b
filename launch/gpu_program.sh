#!/usr/bin/env bash
# Runs on one GPU what docs/howto/gpu.md describes, a step or several, in their order.
#
#   launch/gpu_program.sh peers loop profile variants
#   DATA=~/snnjax_data launch/gpu_program.sh table2 table9
#   launch/gpu_program.sh ann configs/NAME.py configs/NAME.py:ARGUMENTS
#
# OUT is the folder for all that is written (runs/gpu), DATA that of the prepared data sets
# (~/snnjax_data), SECONDS_EACH the time that the benchmarks of a step may take (840). DRY_RUN=1 prints
# the commands. Trainings that were stopped go on when the same step is run again.
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
  # The same networks, by float32, then the times.
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
  # Direct training is the network of table 2. At T = 1, enlarged to T = 4 without training, then
  # fine-tuned at half the rate.
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
