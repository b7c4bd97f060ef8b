import pytest

from snnjax.train.config import default_config


@pytest.fixture
def config():
    """A small run on the digits, for eight devices."""
    config = default_config()
    config.model.name = 'ms_resnet8'
    config.model.num_steps = 2
    config.data.name = 'digits'
    config.batch_size = 16
    config.eval_batch_size = 360
    config.epochs = 2
    return config
