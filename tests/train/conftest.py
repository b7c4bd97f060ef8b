import pytest

from snnjax.train.config import default_config
from tests.runs import TINY


@pytest.fixture
def config():
    """A small run on the digits, for eight devices."""
    config = default_config()
    config.update_from_flattened_dict(TINY | {'model.num_steps': 2})
    config.data.name = 'digits'
    config.batch_size = 16
    config.eval_batch_size = 360
    config.epochs = 2
    return config
