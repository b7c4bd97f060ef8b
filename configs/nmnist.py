"""MS-ResNet on N-MNIST, digits in front of a moving event camera.

python -m snnjax.tools.prepare nmnist --source=~/Downloads --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/nmnist.py --workdir=runs/nmnist

Trained on 1,000 of the 60,000 recordings, it recognizes 94 of 100 others, after twelve minutes on
two CPU cores (``docs/results``).
"""

from snnjax.train.config import default_config


def get_config(family='ms_resnet', depth=8, num_steps=8):
    """Returns the configuration.

    Args:
      family: the family of models.
      depth: the number of layers, 6n + 2.
      num_steps: the number of time steps T, one frame each.
    """
    config = default_config()
    config.model.name = f'{family}{depth}'
    config.model.num_steps = num_steps
    config.data.name = 'nmnist'
    config.data.crop_padding = 2
    config.epochs = 20
    config.batch_size = 20
    config.eval_batch_size = 100
    return config
