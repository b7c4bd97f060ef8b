"""CIFAR-10 with the paper's networks (tables 1 and 2, figure 3).

python -m snnjax.main --config=configs/cifar10.py:depth=20,num_steps=4 --workdir=runs/cifar10

Two time steps cost about nine minutes an epoch on two CPU cores and reach 73 % in eight epochs
(``docs/results``). CIFAR-100 is the same with ``--config.data.name=cifar100``.
"""

from snnjax.train.config import choose, default_config, parse_arguments

RECIPES = {
    # Appendix B.2 as printed: it names neither momentum nor flips.
    'paper_arxiv': {'momentum': 0.0, 'flip': False},
    # With what its authors add to it.
    'authors': {'momentum': 0.9, 'flip': True},
}


def get_config(arguments: str = ''):
    """Arguments: ``family`` of models, ``depth`` (6n + 2), ``num_steps`` and ``recipe``."""
    args = parse_arguments(arguments, family='ms_resnet', depth=20, num_steps=4, recipe='authors')
    recipe = choose('recipe', args.recipe, RECIPES)
    config = default_config()
    config.model.name = f'{args.family}{args.depth}'
    config.model.num_steps = args.num_steps
    config.data.name = 'cifar10'
    config.data.crop_padding = 4
    config.data.flip = recipe['flip']
    config.optimizer.momentum = recipe['momentum']
    return config
