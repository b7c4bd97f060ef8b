"""MS-ResNet on N-MNIST, the digits before a moving event camera.

python -m snnjax.tools.prepare nmnist --source=~/Downloads --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/nmnist.py --workdir=runs/nmnist

From 1,000 of the 60,000 recordings it learns to recognise 94 of 100 others, in twelve minutes on
two CPU cores (``docs/results``).
"""

from snnjax.train.config import default_config


def get_config(family='ms_resnet', depth=8, num_steps=8):
    """Arguments: ``family`` of models, ``depth`` (6n + 2) and ``num_steps``, the frames."""
    config = default_config()
    config.model.name = f'{family}{depth}'
    config.model.num_steps = num_steps
    config.data.name = 'nmnist'
    config.data.crop_padding = 2
    config.epochs = 20
    config.batch_size = 20
    config.eval_batch_size = 100
    return config
