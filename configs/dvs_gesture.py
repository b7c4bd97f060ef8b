"""MS-ResNet20 on DVS128 Gesture: eleven gestures, with different people in training and test.

python -m snnjax.tools.prepare dvs_gesture --source=~/Downloads --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/dvs_gesture.py --workdir=runs/dvs_gesture

There are no flips: gestures of the left and the right hand are different classes.
"""

from snnjax.train.config import default_config


def get_config(family='ms_resnet', depth=20, num_steps=16):
    """Returns the configuration.

    Args:
      family: the family of models.
      depth: the number of layers, 6n + 2.
      num_steps: the number of time steps T, one frame each.
    """
    config = default_config()
    config.model.name = f'{family}{depth}_dvs'
    config.model.num_steps = num_steps
    config.data.name = 'dvs_gesture'
    config.data.crop_padding = 10
    config.data.crop_scale = 0.8
    config.epochs = 100
    config.batch_size = 16
    config.eval_batch_size = 16
    return config
