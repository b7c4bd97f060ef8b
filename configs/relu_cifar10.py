r"""ANNs on CIFAR-10 for conversion to spiking networks.

python -m snnjax.main --config=configs/relu_cifar10.py --workdir=runs/relu_cifar10
python -m snnjax.main --config=configs/relu_cifar10.py:activation=qcfs,levels=4 --workdir=runs/qcfs
python -m snnjax.main --config=configs/relu_cifar10.py:model=vgg16_cifar,activation=qcfs \
    --workdir=runs/qcfs_vgg16

The recipe is that of Bu et al. 2022 (QCFS): SGD with a cosine schedule from 0.1, 300 epochs with
batches of 300 images, an L2 penalty of 5e-4 on all parameters including the activations' bounds,
crops and flips. The authors also use AutoAugment and Cutout with squares of 16 pixels; add them
with ``--config.data.auto_augment=cifar10 --config.data.cutout=16``. Use
``--config.data.name=cifar100``, half the learning rate and squares of 8 pixels for CIFAR-100.

``model=sengupta_vgg16`` and ``model=sengupta_resnet20``, which have no normalization, get the
recipe of the code from their authors' laboratory: batches of 64 images and SGD at 0.01, divided by
10 after 60, 80 and 90 % of the epochs.
"""

from snnjax.train.config import default_config


def get_config(model='relu_resnet20', activation='relu', levels=4, bound=8.0):
    """Returns the configuration.

    Args:
      model: the name of an ANN for CIFAR.
      activation: the activation.
      levels: the number of levels of the activation 'qcfs'.
      bound: the initial upper bound of the activations 'qcfs' and 'clip'.
    """
    config = default_config()
    config.model.name = model
    config.model.num_steps = 1
    config.model.activation = activation
    options = {'qcfs': {'levels': levels, 'bound': bound}, 'clip': {'bound': bound}}
    config.model.activation_options = options.get(activation, {})
    if 'vgg' in model:
        config.model.pooling = 'average'
    config.data.name = 'cifar10'
    config.data.crop_padding = 4
    config.data.flip = True
    config.optimizer.learning_rate = 0.1
    config.optimizer.weight_decay = 5e-4
    config.epochs = 300
    config.batch_size = 300
    if model.startswith('sengupta'):
        config.batch_size = 64
        config.optimizer.learning_rate = 0.01
        config.optimizer.schedule = 'step'
        config.optimizer.schedule_options = {'epochs': (180, 240, 270), 'factor': 0.1}
    return config
