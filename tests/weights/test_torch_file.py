import argparse
import collections
import os
import pathlib
import resource
import warnings
import zipfile

import numpy as np
import pytest

from snnjax import create_model
from snnjax.weights.torch_file import read_state_dict
from snnjax.weights.torch_state import from_state_dict, to_state_dict
from tests.weights.test_torch_state import random_variables

torch = pytest.importorskip('torch', reason="needs PyTorch: pip install 'snnjax[torch]'")

MODEL = create_model('ms_resnet8', widths=(2, 3, 4), num_classes=3)
STATE = to_state_dict(MODEL, random_variables(MODEL))
TENSORS = {name: torch.tensor(array) for name, array in STATE.items()}


class Ours:
    """A class of a training script."""

    def __init__(self):
        self.lr = 0.1


def prefixed(prefix):
    return {prefix + name: tensor for name, tensor in TENSORS.items()}


def cast(dtype):
    return {name: tensor.to(dtype) for name, tensor in TENSORS.items()}


def read(path, content, key='', **how):
    torch.save(content, path / 'file.pth', **how)
    return read_state_dict(path / 'file.pth', key)


EXTRAS = {
    'spike.surrogate_function.alpha': torch.tensor(2.0),
    'blocks.0.spike1.v': torch.zeros(4, 2, 8, 8),
    'blocks.0.spike2.v': 0.0,
    'stem.total_ops': torch.zeros(1, dtype=torch.float64),
    'stem.total_params': torch.zeros(1, dtype=torch.float64),
    'total_ops': torch.zeros(1, dtype=torch.float64),
    'stem.bn.num_batches_tracked': torch.tensor(7),
    'n_averaged': torch.tensor(7),
    'epoch': torch.tensor(7),
    'best': np.float64(0.5),
}

SOUND = {
    'at the top': TENSORS,
    'parameters': {name: torch.nn.Parameter(tensor) for name, tensor in TENSORS.items()},
    'ordered': collections.OrderedDict(TENSORS),
    'defaultdict': collections.defaultdict(list, TENSORS),
    'net': {'net': TENSORS, 'epoch': 3, 'max_test_acc': 0.5},
    'model_state_dict': {'model_state_dict': TENSORS, 'optimizer': {'state': {0: TENSORS}}},
    'model_state': {'model_state': TENSORS},
    'nested': {'checkpoint': {'state_dict': TENSORS, 'lr': 0.1}},
    'another name': {'my_network': TENSORS, 'rng_state': torch.zeros(8, dtype=torch.uint8)},
    'only an average': {'state_dict_ema': TENSORS},
    'beside an average': {'model': TENSORS, 'model_ema': {n: 2 * t for n, t in TENSORS.items()}},
    'the same twice': {'model': TENSORS, 'net': TENSORS},
    'compiled': prefixed('_orig_mod.'),
    'wrapped': prefixed('module.'),
    'compiled and wrapped': prefixed('module._orig_mod.'),
    'lightning': {'state_dict': {**prefixed('model.'), 'loss.class_weights': torch.ones(3)}},
    'lightning, compiled': {'state_dict': prefixed('net._orig_mod.')},
    'extras': TENSORS | EXTRAS,
    'wrapped extras': {f'module.{name}': value for name, value in (TENSORS | EXTRAS).items()},
    'numpy': {'state_dict': TENSORS, 'best': np.float64(0.5), 'step': np.int64(3)},
    'numpy arrays': {'state_dict': TENSORS, 'curve': np.arange(3), 'names': np.array(['a'])},
    'arguments': {'model': TENSORS, 'args': argparse.Namespace(lr=0.1, device='cuda')},
    'path': {'model': TENSORS, 'config': pathlib.Path('configs/x.py')},
    'own class': {'model': TENSORS, 'config': Ours()},
}


@pytest.mark.parametrize('content', SOUND.values(), ids=SOUND)
def test_weights_are_found_wherever_they_lie(content, tmp_path):
    arrays = read(tmp_path, content).arrays
    assert arrays.keys() == STATE.keys()
    for name, array in STATE.items():
        np.testing.assert_array_equal(arrays[name], array)
    from_state_dict(MODEL, arrays)


def test_the_format_before_pytorch_1_6_is_read(tmp_path):
    content = {'net': TENSORS, 'best': np.float64(0.5), 'config': Ours()}
    arrays = read(tmp_path, content, _use_new_zipfile_serialization=False).arrays
    np.testing.assert_array_equal(arrays['fc.weight'], STATE['fc.weight'])


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16', 'float64'])
def test_all_floating_types_become_float32(dtype, tmp_path):
    tensors = cast(getattr(torch, dtype))
    arrays = read(tmp_path, tensors).arrays
    assert {array.dtype for array in arrays.values()} == {np.dtype('float32')}
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, tensors[name].double().numpy().astype(np.float32))


def test_of_several_networks_one_is_chosen(tmp_path):
    content = {'a': TENSORS, 'b': {'c': {name: 2 * t for name, t in TENSORS.items()}}}
    with pytest.raises(ValueError, match=r'several networks: choose with --key=a or --key=b\.c'):
        read(tmp_path, content)
    chosen = read(tmp_path, content, 'b.c').arrays
    np.testing.assert_array_equal(chosen['fc.bias'], 2 * STATE['fc.bias'])
    with pytest.raises(ValueError, match=r"no weights at 'c'; it has a, b\.c"):
        read(tmp_path, content, 'c')


def test_what_is_not_taken_is_said(tmp_path):
    assert read(tmp_path, SOUND['beside an average'])[1:] == ('model', ['model_ema'])


def changed(**changes):
    return TENSORS | {name.replace('_', '.'): value for name, value in changes.items()}


def quantized():
    with warnings.catch_warnings():
        # Of PyTorch: there will be none such some day.
        warnings.simplefilter('ignore')
        return torch.quantize_per_tensor(torch.ones(3, 4), 0.1, 0, torch.qint8)


def cycle():
    content = {}
    content['again'] = content
    return content


FAULTY = {
    'complex': (cast(torch.complex64), 'has complex numbers'),
    'whole numbers': (cast(torch.int8), 'has the dtype torch.int8, expected a floating-point type'),
    'quantized': (
        changed(fc_weight=quantized()),
        'fc.weight is quantized: call dequantize',
    ),
    'sparse': (changed(fc_weight=torch.eye(3, 4).to_sparse()), 'fc.weight is sparse'),
    'meta': (changed(fc_weight=torch.ones(3, 4, device='meta')), 'is on the device meta'),
    'expanded': (changed(fc_weight=torch.ones(1).expand(3, 4)), 'but fewer numbers'),
    'not finite': (changed(fc_weight=torch.full((3, 4), torch.nan)), 'are not finite'),
    'too large': (changed(fc_weight=torch.full((3, 4), 1e300, dtype=torch.double)), 'not finite'),
    'a number as key': (TENSORS | {3: torch.ones(1)}, 'the key 3 next to weights is not a name'),
    'only numbers as keys': ({0: torch.ones(3), 1: torch.ones(2)}, 'the keys 0, 1'),
    'twice': (TENSORS | prefixed('module.'), 'both .* and module.* keep one'),
    'two in one': (prefixed('model.') | prefixed('model_ema.'), 'belong to several networks'),
    'a whole model': (torch.nn.Linear(2, 2), 'holds no weights but a whole Linear'),
    'a list': ([torch.ones(2)], 'holds no weights but a list'),
    'a tensor': (torch.ones(2), 'holds no weights but a Tensor'),
    'nothing': ({}, 'holds no weights but an empty dict'),
    'a cycle': (cycle(), "the keys 'again'"),
    'texts': ({'fc.weight': 'text'}, "the keys 'fc.weight'"),
}


@pytest.mark.parametrize(('content', 'message'), FAULTY.values(), ids=FAULTY)
def test_other_content_is_refused_in_one_sentence(content, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert '\n' not in str(caught.value)


class Payload:
    """Calls a function when it is read."""

    def __init__(self, function, *arguments):
        self._reduced = function, arguments

    def __reduce__(self):
        return self._reduced


@pytest.mark.parametrize(
    'payload', [Payload(os.mkdir, 'made'), Payload(eval, '1'), Payload(print, 'printed')]
)
@pytest.mark.parametrize('zipped', [True, False])
def test_functions_are_neither_called_nor_let_through(
    payload, zipped, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='is not a checkpoint of tensors alone'):
        read(tmp_path, TENSORS | {'x': payload}, _use_new_zipfile_serialization=zipped)
    assert not pathlib.Path('made').exists()
    assert capsys.readouterr().out == ''


def test_objects_are_not_made(tmp_path):
    # A class that writes a file when it is called.
    payload = Payload(zipfile.ZipFile, str(tmp_path / 'made'), 'w')
    assert read(tmp_path, {'model': TENSORS, 'x': payload}).key == 'model'
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize(
    'content', [b'', b'hello world', b'PK\x03\x04', b'\x80\x02', b'\x80\x02}q']
)
def test_what_is_no_checkpoint_is_refused(content, tmp_path):
    (tmp_path / 'x.pth').write_bytes(content)
    with pytest.raises(ValueError, match=r'x\.pth is not a checkpoint of tensors alone') as caught:
        read_state_dict(tmp_path / 'x.pth')
    assert '\n' not in str(caught.value)


def test_a_small_file_does_not_become_large(tmp_path):
    torch.save(TENSORS | {'fc.weight': torch.zeros(2**22)}, tmp_path / 'x.pth')
    with (
        zipfile.ZipFile(tmp_path / 'x.pth') as before,
        zipfile.ZipFile(tmp_path / 'y.pth', 'w', zipfile.ZIP_DEFLATED) as after,
    ):
        for member in before.infolist():
            after.writestr(member.filename, before.read(member))
    with pytest.raises(ValueError, match='is a compressed archive'):
        read_state_dict(tmp_path / 'y.pth')
    # 200 GiB, none of which is there.
    torch.save(TENSORS | {'fc.weight': torch.zeros(1).expand(2**30, 50)}, tmp_path / 'z.pth')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match='but fewer numbers'):
        read_state_dict(tmp_path / 'z.pth')
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # 256 MiB, in KiB
