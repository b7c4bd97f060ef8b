r"""ANNs for CIFAR-10 that are to be converted to spiking networks.

python -m snnjax.main --config=configs/relu_cifar10.py --workdir=runs/relu_cifar10
python -m snnjax.main --config=configs/relu_cifar10.py:activation=qcfs,levels=4 --workdir=runs/qcfs
python -m snnjax.main --config=configs/relu_cifar10.py:model=vgg16_cifar,activation=qcfs \
    --workdir=runs/qcfs_vgg16

The recipe is that of Bu et al. 2022 (QCFS): SGD at 0.1 with a cosine, 300 epochs of batches of 300
images, an L2 penalty of 5e-4 on all parameters, bounds of the activations among them, crops and
flips. They also use AutoAugment and Cutout, the first of which
``--config.data.auto_augment=cifar10`` adds. CIFAR-100 is the same with ``--config.data.name=cifar100`` and half
the learning rate.
"""

from snnjax.train.config import default_config


def get_config(model='relu_resnet20', activation='relu', levels=4, bound=8.0):
    """Arguments: ``model``, an ANN for CIFAR, its ``activation``; ``levels`` and first ``bound``.

    The last two are those of QCFS; ``bound`` is that of 'clip', too.
    """
    config = default_config()
    config.model.name = model
    config.model.num_steps = 1
    config.model.activation = activation
    options = {'qcfs': {'levels': levels, 'bound': bound}, 'clip': {'bound': bound}}
    config.model.activation_options = options.get(activation, {})
    if model.startswith('vgg'):
        config.model.pooling = 'average'
    config.data.name = 'cifar10'
    config.data.crop_padding = 4
    config.data.flip = True
    config.optimizer.learning_rate = 0.1
    config.optimizer.weight_decay = 5e-4
    config.epochs = 300
    config.batch_size = 300
    return config
