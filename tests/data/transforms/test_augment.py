import numpy as np

from snnjax.data.transforms.augment import crop, draw_flips, draw_offsets, flip


def test_crop_is_a_window_of_the_padded_image():
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (200, 6, 5, 2), dtype=np.uint8)
    cropped = crop(images, draw_offsets(len(images), 2, rng), 2)
    assert cropped.shape == images.shape
    assert cropped.dtype == np.uint8
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    offsets = set()
    for image, original in zip(cropped, padded, strict=True):
        found = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (original[top : top + 6, left : left + 5] == image).all()
        ]
        assert len(found) == 1
        offsets.update(found)
    assert len(offsets) == 25


def test_flip_mirrors_about_half_of_the_images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (400, 3, 4, 1), dtype=np.uint8)
    flipped = flip(images, draw_flips(len(images), rng))
    same = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250
