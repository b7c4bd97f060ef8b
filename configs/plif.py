"""Networks of neurons with a learnable decay (PLIF, Fang et al. 2020).

python -m snnjax.main --config=configs/plif.py:data=cifar10 --workdir=runs/plif
python -m snnjax.main --config=configs/plif.py:data=cifar10_dvs --workdir=runs/plif_dvs

The settings are those of the authors: Adam, the squared error of firing rates, batches of 16, and
the time steps in `NUM_STEPS`. Training stops after the first 64 epochs of their learning-rate
schedule, before the rate rises again. Table 4 reports 74.80 % on CIFAR10-DVS.
"""

from snnjax.train.config import choose, default_config

NUM_STEPS = {'cifar10': 8, 'nmnist': 10, 'cifar10_dvs': 20, 'dvs_gesture': 20}


def get_config(data='cifar10', num_steps=0):
    """Returns the configuration.

    Args:
      data: the data set, a key of `NUM_STEPS`.
      num_steps: the number of time steps T; 0 for that of the data set.
    """
    num_steps = num_steps or choose('data', data, NUM_STEPS)
    config = default_config()
    config.model.name = f'plif_{data}'
    config.model.num_steps = num_steps
    config.data.name = data
    if data == 'cifar10':
        config.data.crop_padding = 4
        config.data.flip = True
    if data == 'cifar10_dvs':
        config.data.split = 'by_order'
    config.loss = 'mse'
    config.optimizer.name = 'adam'
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.0
    config.epochs = 64
    config.batch_size = 16
    config.eval_batch_size = 16
    return config
