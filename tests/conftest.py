"""Settings that all tests share."""

import fcntl
import importlib.util
import os
import tempfile
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / 'tests' / 'golden'
SHARED = Path(os.environ.get('SNNJAX_TEST_DATA', ROOT.parent / 'shared'))

# A third of the time for compiling, and ten times that for computing.
COMPILE_QUICKLY = '--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false'

# Files with tests of a minute or so.
LONGEST = ('test_processes.py', 'test_notebooks.py', 'test_main.py', 'test_launch.py')


def pytest_addoption(parser):
    parser.addoption(
        '--compile-quickly',
        action='store_true',
        help='compile in a third of the time, for tests that compute little; see the Makefile',
    )


def pytest_configure(config):
    # Tests share what they compile, also with the processes they start and with the next session.
    cache = str(config.cache.mkdir('jax'))
    os.environ['JAX_COMPILATION_CACHE_DIR'] = cache
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
    # Tests compile far more than they compute. The passes of XLA are the usual ones; only LLVM
    # spends less time on the machine code, most of all on that of random numbers.
    quickly = config.getoption('compile_quickly')
    ours = COMPILE_QUICKLY if quickly else '--xla_backend_optimization_level=1'
    os.environ['XLA_FLAGS'] = f'{ours} {os.environ.get("XLA_FLAGS", "")}'
    # What a test trains is not to be known to the next session.
    state = tempfile.TemporaryDirectory()
    config.add_cleanup(state.cleanup)
    os.environ['XDG_STATE_HOME'] = state.name
    jax.config.update('jax_compilation_cache_dir', cache)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    jax.config.update('jax_platforms', 'cpu')
    jax.config.update('jax_num_cpu_devices', 8)


def pytest_collection_modifyitems(items):
    # Two processes share the tests. The longest come first, lest one process waits for the other.
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope='session')
def digits_run(tmp_path_factory):
    """The work directory of a short run of MS-ResNet8 on the digits, and its configuration."""
    from snnjax.train.config import default_config
    from snnjax.train.loop import train

    config = default_config()
    config.model.name = 'ms_resnet8'
    config.model.num_steps = 2
    config.data.name = 'digits'
    config.batch_size = 40
    config.eval_batch_size = 360
    config.epochs = 1
    config.log_every = 10
    config.gradient_norms = True
    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        folder = folder.parent  # All processes that share the tests have it.
    path, done = folder / 'digits_run', folder / 'digits_run.done'
    with (folder / 'digits_run.lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not done.exists():
            assert train(config, path).finished
            done.touch()
    return path, config


@pytest.fixture(scope='session')
def real_data_dir():
    """Real data sets."""
    path = SHARED / 'data'
    if not path.exists():
        pytest.skip(f'{path} is not here; SNNJAX_TEST_DATA names the folder that has it')
    return path


@pytest.fixture(scope='session')
def readers(real_data_dir):
    """The readers that come with the real data sets."""
    spec = importlib.util.spec_from_file_location('readers', real_data_dir / 'readers.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
