"""MS-ResNet20 on DVS128 Gesture: eleven gestures, the people of the test unseen in training.

python -m snnjax.tools.prepare dvs_gesture --source=~/Downloads --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/dvs_gesture.py --workdir=runs/dvs_gesture

Nothing is mirrored: left and right are different gestures.
"""

from snnjax.train.config import default_config


def get_config(family='ms_resnet', depth=20, num_steps=16):
    """Arguments: ``family`` of models, ``depth`` (6n + 2) and ``num_steps``, the frames."""
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
