"""MS-ResNet on Imagenette, ten classes of ImageNet, or on photos of your own.

python -m snnjax.tools.prepare folder --name=imagenette --source=FOLDER --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/imagenette.py --workdir=runs/imagenette

The same for a data set that was prepared under another name, with ``name=``. At half the width and
64 pixels, 300 photos of each class are enough for 61.8 % (``docs/results``), in about an hour on
two CPU cores.
"""

from snnjax.train.config import default_config


def get_config(name='imagenette', split='official', depth=18, num_steps=2, image_size=128):
    """Arguments: as below; ``split`` for photos in no folders of train and test."""
    config = default_config()
    config.model.name = f'ms_resnet{depth}'
    config.model.num_steps = num_steps
    config.data.name = name
    config.data.split = split
    config.data.image_size = image_size
    config.data.crop_scale = 0.25
    config.data.flip = True
    config.data.auto_augment = 'imagenet'
    config.label_smoothing = 0.1
    config.epochs = 40
    config.batch_size = 50
    config.eval_batch_size = 100
    config.optimizer.learning_rate = 0.05
    config.optimizer.warmup_epochs = 1.0
    config.optimizer.weight_decay = 5e-4
    return config
