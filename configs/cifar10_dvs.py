"""MS-ResNet20 on CIFAR10-DVS (section 5.2); the paper reports 75.56 %.

python -m snnjax.tools.prepare cifar10_dvs --source=~/Downloads --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/cifar10_dvs.py --workdir=runs/cifar10_dvs

The data set has no official split, and the paper does not state its own. The default split
'by_order' trains on the first nine tenths of each class in the order of the files. Report the split
with every accuracy: a random split is easier.
"""

from snnjax.train.config import default_config


def get_config(family='ms_resnet', depth=20, num_steps=20, split='by_order'):
    """Returns the configuration.

    Args:
      family: the family of models.
      depth: the number of layers, 6n + 2.
      num_steps: the number of time steps T, one frame each.
      split: the split, a value of ``config.data.split``.
    """
    config = default_config()
    config.model.name = f'{family}{depth}_dvs'
    config.model.num_steps = num_steps
    config.data.name = 'cifar10_dvs'
    config.data.split = split
    config.data.crop_padding = 10
    config.data.flip = True
    config.epochs = 100
    config.batch_size = 50
    config.eval_batch_size = 100
    return config
