"""ImageNet's settings with photos that nobody took: for speed tests, and machines without data.

python -m snnjax.main --config=configs/fake_imagenet.py:depth=34 --workdir=runs/fake

JPEG files of 500x375 pixels are decoded and changed as those of ImageNet are, with the same labels
again and again, so that nothing can be learnt from them but how fast it goes.
"""

import pathlib
import runpy

_IMAGENET = pathlib.Path(__file__).with_name('imagenet.py')


def get_config(arguments: str = ''):
    """Arguments: those of ``imagenet.py``."""
    config = runpy.run_path(str(_IMAGENET))['get_config'](arguments)
    config.data.name = 'fake_imagenet'
    config.epochs = 1
    return config
