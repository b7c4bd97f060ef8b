"""ImageNet's settings with photos that nobody took: for speed tests, and machines without data.

python -m snnjax.main --config=configs/fake_imagenet.py:depth=34 --workdir=runs/fake

JPEG files of 500x375 pixels are decoded and changed as those of ImageNet are, with the same labels
again and again, so that nothing can be learnt from them but how fast it goes.
"""

import functools

import imagenet


@functools.wraps(imagenet.get_config)
def get_config(**arguments):
    """Arguments: those of ``imagenet.py``."""
    config = imagenet.get_config(**arguments)
    config.data.name = 'fake_imagenet'
    config.epochs = 1
    return config
