import numpy as np
import pytest

from snnjax import create_model
from snnjax.models import torch_weights


@pytest.fixture(scope='module')
def state_dict():
    model = create_model('ms_resnet8')
    rng = np.random.default_rng(0)
    return {
        torch_weights._torch_name(path, model.blocks): rng.normal(
            size=torch_weights._to_torch_shape(shape)
        ).astype(np.float32)
        for path, shape in torch_weights._variable_shapes(model).items()
    }


def test_layouts_are_those_of_pytorch(state_dict):
    variables = torch_weights.from_state_dict(create_model('ms_resnet8'), state_dict)
    params = variables['params']
    kernel = params['stage2']['block1']['shortcut']['conv']['kernel']
    np.testing.assert_array_equal(
        kernel, state_dict['blocks.1.sc.conv.weight'].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(params['classifier']['kernel'], state_dict['fc.weight'].T)
    np.testing.assert_array_equal(
        variables['batch_stats']['stage3']['block1']['conv2']['norm']['var'],
        state_dict['blocks.2.c2.bn.running_var'],
    )


def test_names_everything_that_does_not_fit(state_dict):
    wrong = dict(state_dict)
    del wrong['stem.bn.bias']
    wrong['head.weight'] = wrong['fc.weight']
    wrong['fc.weight'] = wrong['fc.weight'][:7]
    with pytest.raises(ValueError, match='do not fit') as raised:
        torch_weights.from_state_dict(create_model('ms_resnet8'), wrong)
    assert str(raised.value).splitlines()[1:] == [
        '  missing: stem.bn.bias',
        '  unexpected: head.weight',
        '  fc.weight: shape (7, 64), expected (10, 64)',
    ]
