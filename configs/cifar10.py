r"""CIFAR-10 with the paper's networks (tables 1 and 2, figure 3).

python -m snnjax.main --config=configs/cifar10.py:depth=20,num_steps=4 --workdir=runs/cifar10

Two time steps take about five minutes per epoch on two CPU cores and reach 73 % in eight epochs
(``docs/results``). Use ``--config.data.name=cifar100`` for CIFAR-100.

Two-phase training, first with one time step, then with a lower learning rate (appendix B.3, table
9):

python -m snnjax.main --config=configs/cifar10.py:depth=8,num_steps=4,pretrain_epochs=10 \
    --config.epochs=3 --config.optimizer.learning_rate=0.05 --workdir=runs/cifar10_two_phases
"""

from snnjax.train.config import choose, default_config

RECIPES = {
    # As printed in appendix B.2, which mentions neither momentum nor flips.
    'paper_arxiv': {'momentum': 0.0, 'flip': False},
    # With the settings that the authors' code adds.
    'authors': {'momentum': 0.9, 'flip': True},
}


def get_config(family='ms_resnet', depth=20, num_steps=4, recipe='authors', pretrain_epochs=0):
    """Returns the configuration.

    Args:
      family: the family of models.
      depth: the number of layers, 6n + 2.
      num_steps: the number of time steps T.
      recipe: the recipe, one of `RECIPES`.
      pretrain_epochs: the number of epochs at one time step before the others; 0 for one phase.
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
