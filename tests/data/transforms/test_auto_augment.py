import collections
import importlib.util

import numpy as np
import pytest
from PIL import Image

from snnjax.data.sources.fake_photos import fake_photo
from snnjax.data.transforms import auto_augment as auto_augment_module
from snnjax.data.transforms.auto_augment import (
    SIGNED,
    UNSIGNED,
    apply,
    auto_augment,
    policy,
    rand_augment,
)
from snnjax.data.transforms.images import decode


@pytest.fixture(scope='module')
def photo():
    return Image.fromarray(decode(fake_photo(0))[:64, :96])


@pytest.mark.parametrize('name', ['imagenet', 'cifar10'])
def test_a_policy_has_25_pairs_of_known_changes(name):
    sub_policies = policy(name)
    assert len(sub_policies) == 25
    for pair in sub_policies:
        for change, probability, level in pair:
            assert change in SIGNED or change in UNSIGNED
            assert 0 <= probability <= 1
            assert 0 <= level <= 9


@pytest.mark.parametrize('change', [*SIGNED, *UNSIGNED])
def test_changes_keep_size_and_mode(photo, change):
    for strength in (1.0, 0.4, -0.7 if change in SIGNED else 0.7):
        changed = apply(photo, change, strength)
        assert (changed.size, changed.mode) == (photo.size, 'RGB')
        if change != 'Identity':
            assert np.any(np.asarray(changed) != np.asarray(photo))


@pytest.mark.parametrize('change', [*SIGNED, 'Posterize', 'Solarize', 'Identity'])
def test_no_strength_is_no_change(photo, change):
    # Solarising turns the pixels at its threshold over: those of 255, which become 0.
    pixels = np.minimum(np.asarray(photo), 254)
    np.testing.assert_array_equal(apply(Image.fromarray(pixels), change, 0.0), pixels)


def test_geometry_is_that_of_the_paper():
    line = np.zeros((331, 331, 3), np.uint8)
    line[:, 200] = line[200, :] = 255
    image = Image.fromarray(line)
    assert (np.asarray(apply(image, 'TranslateX', 1.0))[:, 50] == 255).all()
    assert (np.asarray(apply(image, 'TranslateY', 1.0))[50] == 255).all()
    sheared = np.asarray(apply(image, 'ShearX', 1.0))[..., 0]
    # Column 200 is seen at 200 - 0.3 * row.
    np.testing.assert_allclose([sheared[row].argmax() for row in (50, 100)], [185, 170], atol=1)
    assert np.abs(np.asarray(apply(image, 'Rotate', 0.0), int) - line).max() == 0


def test_tones_are_those_of_the_paper():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, -1))
    values = {
        (change, strength): np.asarray(apply(ramp, change, strength))[..., 0].ravel()
        for change, strength in (('Posterize', 1.0), ('Solarize', 0.6), ('Invert', 1.0))
    }
    x = np.arange(256)
    np.testing.assert_array_equal(values['Posterize', 1.0], x & 0xF0)
    np.testing.assert_array_equal(values['Solarize', 0.6], np.where(x < 102, x, 255 - x))
    np.testing.assert_array_equal(values['Invert', 1.0], 255 - x)


@pytest.mark.parametrize('name', ['imagenet', 'cifar10'])
def test_sub_policies_are_drawn_alike_and_changes_with_their_probability(name, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        auto_augment_module, 'apply', lambda image, change, strength: drawn.append(change) or image
    )
    rng, number = np.random.default_rng(0), 20_000
    for _ in range(number):
        auto_augment(None, name, rng)
    expected = collections.Counter()
    for pair in policy(name):
        for change, probability, _ in pair:
            expected[change] += number * probability / 25
    counted = collections.Counter(drawn)
    for change, mean in expected.items():
        assert abs(counted[change] - mean) < 5 * np.sqrt(mean), change


def test_both_directions_are_drawn(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        auto_augment_module,
        'apply',
        lambda image, change, strength: drawn.append((change, round(strength * 9))) or image,
    )
    rng = np.random.default_rng(0)
    for _ in range(3000):
        auto_augment(None, 'imagenet', rng)
    assert {('Rotate', 8), ('Rotate', -8), ('Color', 8), ('Color', -8)} <= set(drawn)
    assert all(level >= 0 for change, level in drawn if change in UNSIGNED)


def test_rand_augment_grows_with_its_magnitude(photo):
    def difference(number, magnitude):
        rng = np.random.default_rng(0)
        return np.mean(
            [
                np.abs(
                    np.asarray(rand_augment(photo, number, magnitude, rng), float) - photo
                ).mean()
                for _ in range(60)
            ]
        )

    assert difference(0, 30) == 0
    assert difference(2, 5) < difference(2, 15) < difference(2, 30)
    assert difference(1, 15) < difference(3, 15)


@pytest.mark.skipif(not importlib.util.find_spec('torchvision'), reason='torchvision is not here')
@pytest.mark.parametrize('name', ['imagenet', 'cifar10'])
def test_policies_are_those_of_torchvision(name):
    from torchvision.transforms import autoaugment

    theirs = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy(name))
    for ours, other in zip(policy(name), theirs.policies, strict=True):
        for (change, p, level), (change_2, p_2, level_2) in zip(ours, other, strict=True):
            assert (change, p) == (change_2, p_2)
            # They leave out the level where it has no effect.
            assert level_2 is None or level == level_2
