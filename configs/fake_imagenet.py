"""ImageNet's settings with synthetic photos, for speed tests and machines without data.

python -m snnjax.main --config=configs/fake_imagenet.py:depth=34 --workdir=runs/fake

JPEG files of 500x375 pixels are decoded and augmented like those of ImageNet. The photos repeat,
and their labels do not depend on their content: only the speed is meaningful.
"""

import functools

import imagenet


@functools.wraps(imagenet.get_config)
def get_config(**arguments):
    """Returns the configuration; the arguments are those of ``imagenet.py``."""
    config = imagenet.get_config(**arguments)
    config.data.name = 'fake_imagenet'
    config.epochs = 1
    return config
