"""MS-ResNet on recordings of your own from a DVS128, in folders of classes.

python -m snnjax.tools.prepare events_folder --name=dvs128_objects --clip=400000 \
    --source=FOLDER --data_dir=~/snnjax_data
python -m snnjax.main --config=configs/events_folder.py:name=dvs128_objects --workdir=runs/objects

The recordings are cut into clips of 0.4 s here, which are shown as 8 frames of 50 ms.
"""

from snnjax.train.config import default_config, parse_arguments


def get_config(arguments: str = ''):
    """Arguments: as below; ``window`` of a time step in µs, ``split`` if in no folders of it."""
    args = parse_arguments(
        arguments, name='dvs128_objects', split='official', depth=8, num_steps=8, window=50_000
    )
    config = default_config()
    config.model.name = f'ms_resnet{args.depth}_dvs'
    config.model.num_steps = args.num_steps
    config.data.name = args.name
    config.data.split = args.split
    config.data.frames_by = 'time'
    config.data.frame_window = args.window
    config.data.crop_padding = 16
    config.data.crop_scale = 0.5
    config.data.flip = True
    config.data.event_drop = 0.5
    config.epochs = 20
    config.batch_size = 25
    config.eval_batch_size = 100
    return config
