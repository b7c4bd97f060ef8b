r"""Streaming rollouts on event streams (Kugele et al. 2020).

python -m snnjax.tools.prepare nmnist --source=~/Downloads --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/rollout.py:data=nmnist --workdir=runs/rollout
python -m snnjax.tools.early_answers --weights=runs/rollout --figure=early.png

Activations of two levels prepare a rollout for conversion to spiking neurons with the same delays,
because a neuron fires at most once per step and frames change from step to step:

python -m snnjax.main --config=configs/rollout.py:activation=qcfs --workdir=runs/rollout_qcfs
python -m snnjax.tools.convert --weights=runs/rollout_qcfs --method=rueckauer \
    --set initial=0.5 --set lowest=0.0 --out=converted/rollout

Every edge of the network takes one time step. The network is densely connected and has half a
million parameters. It first responds after two steps; after twelve, a frame has passed all layers.
Frames have a fixed duration if ``frame_window`` is not 0. The paper uses 48 frames of CIFAR10-DVS
and 240 of DvsGesture.

Trained for six epochs on 1,000 of the 60,000 recordings of N-MNIST, in four minutes of CPU time, it
recognizes 95 of 100 others (``docs/results``).
"""

from snnjax.train.config import choose, default_config

DATA = {
    'nmnist': {
        'num_steps': 16,
        'epochs': 6,
        'batch_size': 20,
        'data': {'crop_padding': 2, 'frames_by': 'time', 'frame_window': 19_000},
    },
    'dvs128_objects': {
        'num_steps': 16,
        'epochs': 16,
        'batch_size': 18,
        'data': {'crop_padding': 8, 'crop_scale': 0.7, 'flip': True, 'event_drop': 0.2},
    },
    'cifar10_dvs': {
        'num_steps': 48,
        'epochs': 100,
        'batch_size': 32,
        'data': {'crop_padding': 10, 'flip': True, 'split': 'by_order', 'frames_by': 'time'},
    },
    'dvs_gesture': {
        'num_steps': 240,
        'epochs': 100,
        'batch_size': 16,
        'data': {'crop_padding': 10, 'crop_scale': 0.8, 'frames_by': 'time'},
    },
}
"""Time steps, budget and data options by data set."""


def get_config(data='nmnist', activation='relu', num_steps=0, epochs=0, seed=0):
    """Returns the configuration.

    Args:
      data: the data set, a key of `DATA`.
      activation: the activation, relu or qcfs.
      num_steps: the number of time steps T; 0 for that of the data set.
      epochs: the number of epochs; 0 for that of the data set.
      seed: the seed of weights and batches.
    """
    chosen = choose('data', data, DATA)
    config = default_config()
    config.model.name = 'rollout_densenet' if data == 'nmnist' else 'rollout_densenet_dvs'
    config.model.num_steps = num_steps or chosen['num_steps']
    choose('activation', activation, {'relu': {}, 'qcfs': {}})
    if activation == 'qcfs':
        config.model.activation = 'qcfs'
        config.model.activation_options = {'levels': 2, 'bound': 2.0}
        config.model.pooling = 'average'
    config.data.name = data
    config.data.update(chosen['data'])
    config.optimizer.name = 'adam'
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.0
    config.epochs = epochs or chosen['epochs']
    config.eval_every_epochs = max(1, config.epochs // 4)
    config.batch_size = chosen['batch_size']
    config.eval_batch_size = 50
    config.seed = seed
    return config
