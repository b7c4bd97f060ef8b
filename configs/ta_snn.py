"""Temporal-wise attention on CIFAR10-DVS (TA-SNN, Yao et al. 2021); the paper reports 72.00 %.

python -m snnjax.main --config=configs/ta_snn.py --workdir=runs/ta_snn

The settings are those of the authors: ten time steps, Adam, the squared error of firing rates, and
batches of 64 recordings. The authors lower the learning rate when the loss stops falling; the
schedule here is a cosine.
"""

from snnjax.train.config import default_config


def get_config(num_steps=10, split='by_order'):
    """Returns the configuration.

    Args:
      num_steps: the number of time steps T, one frame each.
      split: the split, as in ``configs/cifar10_dvs.py``.
    """
    config = default_config()
    config.model.name = 'ta_snn'
    config.model.num_steps = num_steps
    config.data.name = 'cifar10_dvs'
    config.data.split = split
    config.loss = 'mse'
    config.optimizer.name = 'adam'
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.0
    config.epochs = 300
    config.batch_size = 64
    config.eval_batch_size = 100
    return config
