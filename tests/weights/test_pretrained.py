"""The trained weights that come with the package."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

import snnjax
from snnjax.errors import PathError
from snnjax.weights.source import find_weights
from tests.models import numpy_networks
from tests.models.numpy_networks import Node, Parameters

# Of 500 images of the test set of CIFAR-10, at even distances.
CORRECT = {'ms_resnet20_cifar10': 442}
STATEMENTS = {
    'ms_resnet20_cifar10': {
        f'stage{stage}/block{block}': 2 if stage > 1 and block == 1 else 1
        for stage in (1, 2, 3)
        for block in (1, 2, 3)
    },
}


@pytest.mark.parametrize('name', snnjax.list_pretrained())
def test_a_card_says_how_weights_were_trained_and_what_they_reach(name):
    card = json.loads((find_weights(f'pretrained:{name}') / 'model.json').read_text())
    assert card['licence'] == 'Apache-2.0'
    assert card['training'].keys() == {'images', 'recipe', 'device', 'seconds', 'seed'}
    results = card['results']
    assert 0 < results['firing_rate'] < 1
    assert results['joules_by_layer'] > 0
    assert results['accuracy'] > 0.8
    model, variables = snnjax.load_pretrained(name)
    leaves = jax.tree.leaves(variables['params'])
    assert sum(leaf.size for leaf in leaves) == card['parameters']
    assert model.num_steps == results['num_steps']


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('name', snnjax.list_pretrained())
def test_the_logits_are_those_of_the_equations(name):
    folder = find_weights(f'pretrained:{name}')
    card = json.loads((folder / 'model.json').read_text())
    model, variables = snnjax.load_pretrained(name)
    model = model.clone(dtype='float64')
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
    params, stats = (
        traverse_util.flatten_dict(variables[part], sep='/') for part in ('params', 'batch_stats')
    )

    class Inference(Parameters):
        """Parameters of a network that normalizes by the running statistics."""

        def norm(self, x, name, gain=1.0):
            mean, variance = (stats[f'{name}/{key}'].astype(float) for key in ('mean', 'var'))
            scale, bias = self[f'{name}/scale'].value, self[f'{name}/bias'].value
            return Node((x.value - mean) / np.sqrt(variance + 1e-5) * scale + bias)

    nodes = Inference({key: Node(leaf.astype(float)) for key, leaf in params.items()})
    expected = numpy_networks.paper_network(
        nodes, Node(images[:, None]), card['options']['num_steps'], blocks=STATEMENTS[name]
    )
    Node.tape.clear()
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
    logits = jax.jit(model.apply)(variables, jnp.asarray(images))
    np.testing.assert_allclose(logits, expected.value.mean(1), rtol=0, atol=1e-9)


def test_the_classifier_names_the_classes():
    loaded = snnjax.load('pretrained:ms_resnet20_cifar10')
    assert loaded.class_names[:3] == ['airplane', 'automobile', 'bird']
    assert loaded.notes == []
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    (result,) = loaded.classify([photo])
    assert 0 < result.firing_rate < 1


@pytest.mark.parametrize('name', snnjax.list_pretrained())
def test_the_accuracy_is_that_of_the_card(name, real_data_dir, readers):
    images, labels = readers.load_cifar10(real_data_dir / 'cifar10', 'test')
    loaded = snnjax.load(f'pretrained:{name}')
    results = loaded.classify(images[::20], batch_size=100)
    answers = [result.top[0].label for result in results]
    assert abs(int(np.sum(answers == labels[::20])) - CORRECT[name]) <= 1


def test_an_unknown_name_is_refused_with_the_near_ones():
    with pytest.raises(PathError, match='did you mean ms_resnet20_cifar10'):
        snnjax.load_pretrained('ms_resnet20_cifar100')
