r"""SEW-ResNet on ImageNet (Fang et al. 2021): 18, 34, 50, 101 and 152 layers.

python -m snnjax.main --config=configs/sew.py:depth=34 --workdir=runs/sew34

As its authors train it: four time steps, 320 epochs of 256 images a step, no weight decay. Table 3
has 67.04 % for 34 layers and 68.76 % for 101. Spikes are combined by ADD; with AND or IAND:

python -m snnjax.main --config=configs/sew.py:depth=34 --config.model.kind=sew_and \
    --workdir=runs/sew34_and
"""

import imagenet


def get_config(depth=34, num_steps=4, batch_size=256):
    """Arguments: ``depth``, ``num_steps`` and ``batch_size``."""
    config = imagenet.get_config(
        family='sew_resnet',
        depth=depth,
        recipe='paper_arxiv',
        num_steps=num_steps,
        batch_size=batch_size,
    )
    config.epochs = 320
    config.optimizer.weight_decay = 0.0
    return config
