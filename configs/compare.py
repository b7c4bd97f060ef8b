r"""Networks of the papers that MS-ResNet is compared with, under one budget (tables 3 and 4).

python -m snnjax.tools.sweep --config=configs/compare.py:seeds=0+1 --workdir=runs/compare
python -m snnjax.tools.compare runs/compare --figure=compare.png

trains each for a hundred epochs of CIFAR-10 at the size of the largest published one, some ten
million parameters. Within reach of two CPU cores, at a hundredth of that (``docs/results`` has what
came out):

python -m snnjax.tools.sweep --config=configs/compare.py:setting=cpu,seeds=0+1 \
    --workdir=runs/compare_cpu
python -m snnjax.tools.sweep --config=configs/compare.py:setting=cpu,data=nmnist,seeds=0+1 \
    --workdir=runs/compare_nmnist

One of them alone:

python -m snnjax.main --config=configs/compare.py:network=sew,setting=cpu --workdir=runs/x
"""

from snnjax.train.config import choose, default_config

SGD = {'name': 'sgd', 'learning_rate': 0.05}
# Both papers train with the squared distance of rates, and with Adam.
RATES = {'name': 'adam', 'learning_rate': 1e-3, 'weight_decay': 0.0}

NETWORKS = {
    'paper': {
        'ms': ('ms_resnet20x7', {}),
        'tdbn': ('tdbn_resnet19', {}),
        'sew': ('sew_resnet20x7', {}),
        'plif': ('plif_cifar10', {}),
        'ta': ('ta_snn', {'channels': (64, 128, 256, 512, 1024), 'pools': (2,) * 5}),
    },
    # The same structures with as many parameters as MS-ResNet8, or nearly.
    'cpu': {
        'ms': ('ms_resnet8', {}),
        'tdbn': ('tdbn_resnet19', {'widths': (10, 20, 40), 'hidden': (20,)}),
        'sew': ('sew_resnet8', {}),
        'plif': ('plif_cifar10', {'channels': (24,) * 6, 'hidden': (32,)}),
        'ta': ('ta_snn', {'channels': (16, 24, 32, 48, 64), 'pools': (2,) * 5, 'hidden': (128,)}),
    },
}
"""Models, with their options, by the setting and what stands for them in the names of runs."""

BUDGETS = {
    'paper': {
        'cifar10': {'num_steps': 4, 'epochs': 100, 'batch_size': 100},
        'nmnist': {'num_steps': 10, 'epochs': 100, 'batch_size': 100},
    },
    'cpu': {
        'cifar10': {'num_steps': 4, 'epochs': 1, 'batch_size': 50},
        'nmnist': {'num_steps': 8, 'epochs': 10, 'batch_size': 20},
    },
}
"""Time steps, epochs and batches by the setting and the data."""


def get_config(network='ms', data='cifar10', seed=0, setting='paper'):
    """Arguments: ``network``, ``data`` (cifar10, nmnist), ``seed``, ``setting`` (paper, cpu)."""
    budget = choose('data', data, choose('setting', setting, BUDGETS))
    name, options = choose('network', network, NETWORKS[setting])
    config = default_config()
    config.model.update({'name': name, 'num_steps': budget['num_steps'], **options})
    config.data.name = data
    config.data.crop_padding = 4 if data == 'cifar10' else 2
    config.data.flip = data == 'cifar10'
    rates = network in ('plif', 'ta')
    config.loss = 'mse' if rates else 'cross_entropy'
    config.optimizer.update(RATES if rates else SGD)
    config.epochs = budget['epochs']
    config.batch_size = budget['batch_size']
    config.eval_batch_size = 100
    config.seed = seed
    return config


def get_runs(networks='', seeds='0', data='cifar10', setting='paper'):
    """Arguments: ``networks`` and ``seeds``, each with a + between, ``data`` and ``setting``.

    All networks are compared where none is named.

    Returns the arguments of ``get_config`` by the name of the run.
    """
    return {
        f'{network}_{data}_seed{seed}': (
            f'network={network},data={data},seed={seed},setting={setting}'
        )
        for seed in seeds.split('+')
        for network in (networks.split('+') if networks else NETWORKS['paper'])
    }
