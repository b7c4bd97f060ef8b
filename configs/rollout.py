r"""Streaming rollouts on event streams, and MS-ResNet beside them (Kugele et al. 2020; table 4).

python -m snnjax.tools.prepare nmnist --source=~/Downloads --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/rollout.py:data=nmnist --workdir=runs/rollout
python -m snnjax.tools.early_answers --weights=runs/rollout --figure=early.png
python -m snnjax.tools.convert --weights=runs/rollout --method=rueckauer --set initial=0.5 \
    --out=converted/rollout

In a rollout every edge takes one time step. The network is densely connected, with half a million
parameters, so that it first answers after two steps and sees each frame through all of its layers
after twelve. ``network=ms`` trains MS-ResNet20 on the same data instead.

The epochs are ten minutes of CPU time each for N-MNIST of 1,000 recordings and for DVS128 objects
(``docs/results``); the paper's data sets are much larger, and so is what they need.
"""

from snnjax.train.config import choose, default_config

# Frames, how events are put into them, and epochs of the rollout and of MS-ResNet20.
DATA = {
    'nmnist': {
        'rollout': ('rollout_densenet', 20, 20),
        'ms': ('ms_resnet20', 8, 6),
        'crop_padding': 2,
        'frame_window': 15_000,
    },
    'dvs128_objects': {
        'rollout': ('rollout_densenet_dvs', 16, 20),
        'ms': ('ms_resnet20_dvs', 4, 20),
        'crop_padding': 8,
        'crop_scale': 0.7,
        'flip': True,
        'event_drop': 0.2,
    },
    # In the paper, 48 and 240 steps.
    'cifar10_dvs': {
        'rollout': ('rollout_densenet_dvs', 48, 100),
        'ms': ('ms_resnet20_dvs', 20, 100),
        'split': 'by_order',
        'crop_padding': 10,
        'flip': True,
    },
    'dvs_gesture': {
        'rollout': ('rollout_densenet_dvs', 240, 100),
        'ms': ('ms_resnet20_dvs', 16, 100),
        'crop_padding': 10,
        'crop_scale': 0.8,
    },
}
NETWORKS = ('rollout', 'ms')


def get_config(data='nmnist', network='rollout', epochs=0, num_steps=0, seed=0):
    """Arguments: ``data``, one of `DATA`; ``network`` (rollout, ms); and 0 for the data's own."""
    options = dict(choose('data', data, DATA))
    forms = {name: options.pop(name) for name in NETWORKS}
    name, steps, of_data = choose('network', network, forms)
    config = default_config()
    config.model.name = name
    config.model.num_steps = num_steps or steps
    config.data.name = data
    config.seed = seed
    window = options.pop('frame_window', 0)
    config.data.update(options)
    config.epochs = epochs or of_data
    config.batch_size = 18 if data == 'dvs128_objects' else 20
    config.eval_batch_size = 50
    if network == 'rollout':
        config.optimizer.update({'name': 'adam', 'learning_rate': 2e-3, 'weight_decay': 0.0})
        if window:
            config.data.frames_by, config.data.frame_window = 'time', window
    else:
        config.optimizer.learning_rate = 0.05
    return config


def get_runs(data='nmnist', networks='rollout+ms', seeds='0'):
    """Arguments: ``data``, and ``networks`` and ``seeds``, each with a + between."""
    return {
        f'{network}_{data}_seed{seed}': f'data={data},network={network},seed={seed}'
        for seed in seeds.split('+')
        for network in networks.split('+')
    }
