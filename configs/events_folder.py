"""MS-ResNet on your own recordings from a DVS128, in one folder for each class.

python -m snnjax.tools.prepare events_folder --name=dvs128_objects --clip=400000 \
    --source=FOLDER --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/events_folder.py:name=dvs128_objects --workdir=runs/objects

The recordings are cut into clips of 0.4 s, each with 4 frames of equally many events. A network
trained on 234 clips of five objects on a turntable recognizes 72 % of 507 clips of another session
(``docs/results``), after a quarter of an hour on two CPU cores.
"""

from snnjax.train.config import default_config


def get_config(name='dvs128_objects', split='official', depth=8, num_steps=4):
    """Returns the configuration.

    Args:
      name: the name of the prepared data set.
      split: the split; needed if the recordings have no folders for train and test.
      depth: the number of layers, 6n + 2.
      num_steps: the number of time steps T, one frame each.
    """
    config = default_config()
    config.model.name = f'ms_resnet{depth}_dvs'
    config.model.num_steps = num_steps
    config.data.name = name
    config.data.split = split
    config.data.crop_padding = 8
    config.data.crop_scale = 0.7
    config.data.flip = True
    config.data.event_drop = 0.2
    config.epochs = 80
    config.batch_size = 18
    config.eval_batch_size = 100
    config.eval_every_epochs = 10
    config.log_every = 20
    config.optimizer.learning_rate = 0.05
    config.optimizer.weight_decay = 5e-4
    return config
