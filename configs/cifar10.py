r"""CIFAR-10 with the paper's networks (tables 1 and 2, figure 3).

python -m snnjax.main --config=configs/cifar10.py:depth=20,num_steps=4 --workdir=runs/cifar10

Two time steps cost about five minutes an epoch on two CPU cores and reach 73 % in eight epochs
(``docs/results``). CIFAR-100 is the same with ``--config.data.name=cifar100``.

In two phases, the first at one time step, with a lower rate after it (appendix B.3, table 9):

python -m snnjax.main --config=configs/cifar10.py:depth=8,num_steps=4,pretrain_epochs=10 \
    --config.epochs=3 --config.optimizer.learning_rate=0.05 --workdir=runs/cifar10_two_phases
"""

from snnjax.train.config import choose, default_config

RECIPES = {
    # Appendix B.2 as printed: it names neither momentum nor flips.
    'paper_arxiv': {'momentum': 0.0, 'flip': False},
    # With what its authors add to it.
    'authors': {'momentum': 0.9, 'flip': True},
}


def get_config(family='ms_resnet', depth=20, num_steps=4, recipe='authors', pretrain_epochs=0):
    """Arguments: ``family`` of models, ``depth`` (6n + 2), ``num_steps``, ``recipe``.

    Also ``pretrain_epochs`` at one time step, which come first.
    """
    recipe = choose('recipe', recipe, RECIPES)
    config = default_config()
    config.model.name = f'{family}{depth}'
    config.model.num_steps = num_steps
    config.data.name = 'cifar10'
    config.data.crop_padding = 4
    config.data.flip = recipe['flip']
    config.optimizer.momentum = recipe['momentum']
    if pretrain_epochs:
        config.earlier_phases.pretrain = {
            'model': {'num_steps': 1},
            'epochs': pretrain_epochs,
            'optimizer': {'learning_rate': config.optimizer.learning_rate},
        }
    return config
