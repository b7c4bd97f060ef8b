"""MS-ResNet on ImageNet (section 5.1, appendix B.3): 18, 34 and 104 layers.

python -m snnjax.tools.prepare imagenet --source=~/Downloads --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/imagenet.py:depth=34 --workdir=runs/imagenet34

The paper reports 63.10 %, 69.42 % and 74.21 % for 18, 34 and 104 layers. Two-phase training, of
which the phase at one time step is several times as fast (B.3, table 9):

python -m snnjax.main --config=configs/imagenet.py:depth=104,phase=both --workdir=runs/imagenet104

The same in two commands:

python -m snnjax.main --config=configs/imagenet.py:depth=104,phase=pretrain --workdir=runs/pre
python -m snnjax.main --config=configs/imagenet.py:depth=104,phase=finetune \
    --config.init_from=runs/pre --workdir=runs/imagenet104

Evaluation at 288 pixels, as in the paper's enlarged test:

python -m snnjax.tools.evaluate --weights=runs/imagenet104 \
    --data.eval_size=288 --data.eval_resize=320
"""

from snnjax.train.config import choose, default_config

STRONGER = {'weight_decay': 1e-5, 'smoothing': 0.1, 'auto_augment': 'imagenet'}
RECIPES = {
    # As printed in appendix B.3: 104 layers have stronger regularization.
    'paper_arxiv': {'weight_decay': 1e-4, 'smoothing': 0.0, 'auto_augment': '', 'flip': True},
    'paper_arxiv_104': STRONGER | {'flip': True},
    # As in the code that the authors have published since, for all depths.
    'authors': STRONGER | {'flip': False},
}
PHASES = {
    'single': {'num_steps': 6, 'epochs': 125, 'learning_rate': 0.1},
    'pretrain': {'num_steps': 1, 'epochs': 200, 'learning_rate': 0.1},
    'finetune': {'num_steps': 6, 'epochs': 100, 'learning_rate': 0.05},
}


def get_config(
    family='ms_resnet', depth=34, recipe='authors', phase='single', num_steps=0, batch_size=256
):
    """Returns the configuration.

    Args:
      family: the family of models.
      depth: the number of layers.
      recipe: the recipe, one of `RECIPES`.
      phase: the phase, one of `PHASES`, or 'both' for pretrain, then finetune.
      num_steps: the number of time steps T; 0 for that of the phase.
      batch_size: the number of images in a batch; the learning rate is proportional to it.
    """
    name = f'{recipe}_{depth}'
    recipe = choose('recipe', name if name in RECIPES else recipe, RECIPES)
    chosen = choose('phase', phase, PHASES | {'both': PHASES['finetune']})
    config = default_config()
    config.model.name = f'{family}{depth}'
    config.model.num_steps = num_steps or chosen['num_steps']
    config.data.name = 'imagenet'
    config.data.image_size = 224
    config.data.crop_scale = 0.08
    config.data.flip = recipe['flip']
    config.data.auto_augment = recipe['auto_augment']
    config.data.workers = 8
    config.label_smoothing = recipe['smoothing']
    config.epochs = chosen['epochs']
    config.batch_size = batch_size
    config.eval_batch_size = batch_size
    # The learning rates are for batches of 256 images.
    rate_factor = batch_size / 256
    config.optimizer.learning_rate = chosen['learning_rate'] * rate_factor
    config.optimizer.weight_decay = recipe['weight_decay']
    config.checkpoint.every_steps = 1000
    if phase == 'both':
        first = PHASES['pretrain']
        config.earlier_phases.pretrain = {
            'model': {'num_steps': first['num_steps']},
            'epochs': first['epochs'],
            'optimizer': {'learning_rate': first['learning_rate'] * rate_factor},
        }
    return config
