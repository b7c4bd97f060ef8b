"""MS-ResNet on Imagenette, ten classes of ImageNet, or on your own photos.

python -m snnjax.tools.prepare folder --name=imagenette --source=FOLDER --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/imagenette.py --workdir=runs/imagenette

Use ``name=`` for a data set that was prepared under another name. At half the width and 64 pixels,
300 photos of each class give 61.8 % (``docs/results``), in about an hour on two CPU cores.
"""

from snnjax.train.config import default_config


def get_config(name='imagenette', split='official', depth=18, num_steps=2, image_size=128):
    """Returns the configuration.

    Args:
      name: the name of the prepared data set.
      split: the split; needed if the photos have no folders for train and test.
      depth: the number of layers.
      num_steps: the number of time steps T.
      image_size: the height and width of the images in pixels.
    """
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
