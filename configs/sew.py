r"""SEW-ResNet on ImageNet (Fang et al. 2021): 18, 34, 50, 101 and 152 layers.

python -m snnjax.main --config=configs/sew.py:depth=34 --workdir=runs/sew34

The settings are those of the authors: four time steps, 320 epochs, batches of 256 images, no weight
decay. Table 3 reports 67.04 % for 34 layers and 68.76 % for 101. Spikes are combined by ADD. With
AND or IAND:

python -m snnjax.main --config=configs/sew.py:depth=34 --config.model.kind=sew_and \
    --workdir=runs/sew34_and
"""

import imagenet


def get_config(depth=34, num_steps=4, batch_size=256):
    """Returns the configuration.

    Args:
      depth: the number of layers.
      num_steps: the number of time steps T.
      batch_size: the number of images in a batch.
    """
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
