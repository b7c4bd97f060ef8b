r"""SEW-ResNet on ImageNet (Fang et al. 2021): 18, 34, 50, 101 and 152 layers.

python -m snnjax.main --config=configs/sew.py:depth=34 --workdir=runs/sew34

As its authors train it: four time steps, 320 epochs of 256 images a step, no weight decay. Table 3
has 67.04 % for 34 layers and 68.76 % for 101. Spikes are combined by ADD; with AND or IAND:

python -m snnjax.main --config=configs/sew.py:depth=34 --config.model.kind=sew_and \
    --workdir=runs/sew34_and
"""

import runpy
from pathlib import Path

from snnjax.train.config import parse_arguments

imagenet = runpy.run_path(str(Path(__file__).with_name('imagenet.py')))


def get_config(arguments: str = ''):
    """Arguments: ``depth``, ``num_steps`` and ``batch_size``."""
    args = parse_arguments(arguments, depth=34, num_steps=4, batch_size=256)
    config = imagenet['get_config'](
        f'family=sew_resnet,depth={args.depth},recipe=paper_arxiv,num_steps={args.num_steps},'
        f'batch_size={args.batch_size}'
    )
    config.epochs = 320
    config.optimizer.weight_decay = 0.0
    return config
