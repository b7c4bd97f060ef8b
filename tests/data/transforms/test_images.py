"""Photos as people have them: odd ones, real ones where they are to be had, and broken ones."""

import io
import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from snnjax.data.sources.fake_photos import fake_photo
from snnjax.data.transforms import images
from snnjax.data.transforms.images import DecodeError, center_crop, decode, random_resized_crop
from tests.data.files import damaged
from tests.data.transforms import odd_photos


def encode(pixels, kind='PNG', **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope='module')
def gradient():
    """Columns differ in red, rows in green."""
    rows, columns = np.mgrid[:60, :80]
    return np.stack([columns * 3, rows * 4, np.full_like(rows, 7)], -1).astype(np.uint8)


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'WEBP'])
def test_whatever_the_format_pixels_are_rgb(gradient, kind):
    options = {'lossless': True} if kind == 'WEBP' else {}
    np.testing.assert_array_equal(decode(encode(gradient, kind, **options)), gradient)


def test_gray_palettes_and_transparency_become_rgb(gradient):
    gray = gradient[..., 0]
    np.testing.assert_array_equal(decode(encode(gray)), np.repeat(gray[..., None], 3, -1))
    deep = gray.astype(np.uint16) << 8 | 0x35
    np.testing.assert_array_equal(decode(encode(deep)), np.repeat(gray[..., None], 3, -1))
    alpha = np.concatenate([gradient, np.full((60, 80, 1), 99, np.uint8)], -1)
    np.testing.assert_array_equal(decode(encode(alpha)), gradient)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_images_are_turned_upright(gradient, orientation):
    turned = {
        1: gradient,
        2: gradient[:, ::-1],
        3: gradient[::-1, ::-1],
        4: gradient[::-1],
        5: gradient.transpose(1, 0, 2),
        6: gradient.transpose(1, 0, 2)[::-1],
        7: gradient.transpose(1, 0, 2)[::-1, ::-1],
        8: gradient.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(turned, 'PNG', exif=exif)
    np.testing.assert_array_equal(decode(data), gradient)
    upright = encode(gradient)
    crops = [random_resized_crop(d, 16, np.random.default_rng(3)) for d in (data, upright)]
    np.testing.assert_array_equal(*crops)
    np.testing.assert_array_equal(center_crop(data, 40, 32), center_crop(upright, 40, 32))


def test_a_random_crop_shows_parts_of_all_sizes_from_everywhere(gradient):
    rng = np.random.default_rng(0)
    data = encode(gradient)
    areas, centers = [], []
    for _ in range(400):
        crop = random_resized_crop(data, 32, rng, min_scale=0.1).astype(float)
        # From the first to the last of 32 pixels 31 of 32 parts of the width and height are seen.
        width = np.ptp(crop[..., 0].mean(0)) / 3 * 32 / 31
        height = np.ptp(crop[..., 1].mean(1)) / 4 * 32 / 31
        areas.append(width * height / (60 * 80))
        assert 0.7 < width / height < 1.45
        centers.append(crop[..., :2].mean((0, 1)) / (240, 240))
    assert 0.08 < min(areas) < 0.15
    assert max(areas) > 0.85
    np.testing.assert_allclose(np.mean(centers, 0), 0.5, atol=0.03)
    assert np.std(centers, axis=0).min() > 0.05


def test_a_part_that_cannot_be_is_taken_from_the_center():
    long = np.zeros((10, 200, 3), np.uint8)
    long[:, 93:107] = 255
    crop = np.asarray(random_resized_crop(encode(long), 8, np.random.default_rng(0), 1.0))
    assert crop.min() > 200


@pytest.mark.parametrize(('resize', 'size'), [(256, 224), (320, 288), (64, 64)])
def test_the_center_of_any_size(resize, size):
    rows, columns = np.mgrid[:400, :600]
    pixels = np.stack([columns * 255 / 599, rows * 255 / 399, rows * 0], -1).astype(np.uint8)
    crop = np.asarray(center_crop(encode(pixels), resize, size), float)
    assert crop.shape == (size, size, 3)
    seen = np.ptp(crop[..., 1]) / 255
    np.testing.assert_allclose(seen, size / resize, atol=0.02)
    np.testing.assert_allclose(crop[..., :2].mean((0, 1)), 127, atol=1.5)


def draft_differences(photos, size):
    """Of each photo that it changes, in the mean over its pixels, of 255."""
    differences = []
    for data in photos:
        for seed in range(4):
            drafted, whole = (
                random_resized_crop(data, size, np.random.default_rng(seed), 0.25, draft)
                for draft in (True, False)
            )
            differences.append(np.abs(drafted.astype(float) - whole).mean())
    return np.array([difference for difference in differences if difference])


@pytest.mark.parametrize('size', [32, 64])
def test_decoding_at_a_smaller_scale_changes_little(size):
    """The bound that `random_resized_crop` states."""
    differences = draft_differences([fake_photo(number) for number in range(4)], size)
    assert len(differences) > 3
    assert differences.mean() < 2
    assert differences.max() < 5


@pytest.mark.parametrize('size', [32, 64, 128])
def test_decoding_real_photos_at_a_smaller_scale_changes_little(imagenet_photos, size):
    differences = draft_differences(imagenet_photos[::4], size)
    print('differences of 255: mean', differences.mean(), 'largest', differences.max())
    assert len(differences) > 20
    assert differences.mean() < 2
    assert differences.max() < 8


@pytest.fixture(scope='module')
def enlarged_scenes():
    """Nine JPEG files of 480x600 pixels, blurred as photos are at that size, with some noise."""
    rng = np.random.default_rng(0)
    photos = []
    for seed in range(9):
        large = Image.fromarray(odd_photos.scene(seed)).resize((600, 480), Image.Resampling.BICUBIC)
        pixels = np.asarray(large, float) + rng.normal(0, 3, (480, 600, 3))
        photos.append(encode(pixels.clip(0, 255).astype(np.uint8), 'JPEG'))
    return photos


@pytest.mark.parametrize('size', [32, 64, 128, 224])
@pytest.mark.parametrize('photos', ['enlarged_scenes', 'imagenet_photos'])
def test_resizing_is_as_pillow_does_it(request, photos, size):
    rng = np.random.default_rng(0)
    differences, sharpness = [], []
    for data in request.getfixturevalue(photos)[:: 4 if photos == 'imagenet_photos' else 1]:
        pixels = decode(data)
        height, width = (int(rng.integers(side // 4, side)) for side in pixels.shape[:2])
        part = pixels[:height, :width]
        pillow = np.asarray(Image.fromarray(part).resize((size, size), Image.Resampling.BILINEAR))
        ours = images._resize(part, size)
        differences.append(np.abs(ours.astype(float) - pillow).mean())
        sharpness.append([np.abs(np.diff(x.astype(float), axis=0)).mean() for x in (ours, pillow)])
    print('differences of 255: mean', np.mean(differences), 'largest', np.max(differences))
    assert np.mean(differences) < 2
    assert max(differences) < 6
    # No sharper, and no more blurred, than what is tested on.
    ours, pillow = np.mean(sharpness, 0)
    np.testing.assert_allclose(ours, pillow, rtol=0.05)


@pytest.mark.parametrize('shape', [(60, 90), (97, 41), (301, 500), (40, 40)])
def test_the_center_is_that_of_the_whole_image_resized(shape):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    for resize, size in ((73, 64), (36, 32)):
        short = min(shape)
        sides = [max(resize, int(side * resize / short)) for side in reversed(shape)]
        whole = Image.fromarray(pixels).resize(sides, Image.Resampling.BILINEAR)
        left, top = (round((side - size) / 2) for side in sides)
        expected = np.asarray(whole.crop((left, top, left + size, top + size)), int)
        # Each of Pillow's two passes rounds.
        assert np.abs(center_crop(encode(pixels), resize, size) - expected).max() <= 2


def test_a_thin_image_takes_no_more_memory_than_others():
    data = encode(np.zeros((20_000, 1, 3), np.uint8))
    tracemalloc.start()
    try:
        assert center_crop(data, 256, 224).shape == (224, 224, 3)
        assert random_resized_crop(data, 224, np.random.default_rng(0)).shape == (224, 224, 3)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def pillow(data):
    """Returns RGB pixels as Pillow has them, not turned."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert('RGB'))


def test_jpegs_are_decoded_to_the_pixels_that_pillow_has():
    for data in odd_photos.plain_jpegs():
        np.testing.assert_array_equal(decode(data), pillow(data))


def test_photos_of_imagenet_are_decoded_to_the_pixels_that_pillow_has(imagenet_photos):
    for data in imagenet_photos[::4]:
        np.testing.assert_array_equal(decode(data), pillow(data))


@pytest.fixture(scope='module')
def imagenet_photos(real_data_dir):
    """256 JPEG files of ImageNet."""
    with np.load(real_data_dir / 'imagenet_samples' / 'imagenet_samples_256.npz') as file:
        data, offsets = file['data'].tobytes(), file['offsets']
    return [data[start:stop] for start, stop in itertools.pairwise(offsets)]


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP', 'GIF', 'BMP'])
def test_what_is_too_large_is_refused_before_it_is_decoded(kind, monkeypatch):
    data = encode(np.zeros((100, 100, 3), np.uint8), kind)
    monkeypatch.setattr(images, 'MAX_PIXELS', 9999)
    monkeypatch.setattr(images, '_pixels', None)  # Not called.
    with pytest.raises(DecodeError, match='100x100 are more than 9,999 pixels'):
        decode(data)


@given(data=st.data())
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_damage_is_an_error_of_its_own_or_an_image(data):
    content = data.draw(damaged(data.draw(st.sampled_from(_SEEDS))))
    try:
        pixels = decode(content)
    except DecodeError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.size <= 3 * images.MAX_PIXELS


_NOISE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
_SEEDS = [
    encode(_NOISE, 'JPEG'),
    encode(_NOISE, 'JPEG', progressive=True),
    encode(_NOISE),
    encode(_NOISE, 'WEBP'),
    encode(_NOISE, 'GIF'),
    encode(_NOISE, 'BMP'),
]


PLAIN_JPEG, ODD_JPEGS = odd_photos.odd_jpegs()


@pytest.mark.parametrize('name', ODD_JPEGS)
def test_an_oddity_of_a_jpeg_does_not_change_its_pixels(name):
    data = ODD_JPEGS[name]
    assert data != PLAIN_JPEG
    np.testing.assert_array_equal(decode(data), pillow(PLAIN_JPEG))
    np.testing.assert_array_equal(center_crop(data, 40, 32), center_crop(PLAIN_JPEG, 40, 32))
    parts = [
        random_resized_crop(content, 32, np.random.default_rng(0)) for content in (data, PLAIN_JPEG)
    ]
    np.testing.assert_array_equal(*parts)


def test_jpegs_are_turned_as_their_exif_data_say():
    upright = pillow(PLAIN_JPEG).astype(int)
    shapes = {number: decode(data).shape[:2] for number, data in odd_photos.turned_jpegs().items()}
    assert [number for number in shapes if shapes[number] == (80, 60)] == [5, 6, 7, 8]
    corners = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)}
    corners |= {5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    for number, data in odd_photos.turned_jpegs().items():
        # Where the first row and column of what is stored are to be seen.
        np.testing.assert_array_equal(decode(data)[corners[number]], upright[0, 0])


def test_an_odd_png_is_read():
    scene = odd_photos.scene()
    np.testing.assert_array_equal(decode(odd_photos.png_with_data_after_its_end()), scene)
    alpha = np.concatenate([scene, np.full_like(scene[..., :1], 99)], -1)
    np.testing.assert_array_equal(decode(encode(alpha)), scene)


def test_cmyk_is_read_as_pillow_reads_it():
    scene = Image.fromarray(odd_photos.scene()).convert('CMYK')
    data = odd_photos.encoded(scene, 'JPEG', quality=95)
    np.testing.assert_array_equal(decode(data), pillow(data))
    assert np.abs(decode(data).astype(float) - odd_photos.scene()).mean() < 5


@pytest.mark.parametrize('cut', [0.5, 0.9])
def test_a_truncated_jpeg_is_refused(cut):
    data = PLAIN_JPEG[: int(cut * len(PLAIN_JPEG))]
    for read in (decode, lambda d: center_crop(d, 40, 32)):
        with pytest.raises(DecodeError, match='truncated'):
            read(data)


def test_a_gray_jpeg_is_gray():
    pixels = decode(encode(odd_photos.scene()[..., 0], 'JPEG'))
    assert (pixels == pixels[..., :1]).all()


# Height and width of what is to come out.
ODD_IMAGES = {
    'broken_exif_dpi.jpg': (100, 100),
    'flower.jpg': (360, 480),
    'hopper.jpg': (128, 128),
    'hopper.png': (128, 128),
    'hopper.webp': (128, 128),
    'hopper_16bit_qtables.jpg': (128, 128),
    'hopper_bad_exif.jpg': (500, 500),
    'hopper_gray.jpg': (128, 128),
    'hopper_idat_after_image_end.png': (128, 128),
    'hopper_orientation_2.jpg': (128, 128),
    'hopper_orientation_3.jpg': (128, 128),
    'hopper_orientation_6.jpg': (128, 128),
    'hopper_orientation_8.jpg': (128, 128),
    'icc-after-SOF.jpg': (10, 10),
    'invalid-exif.jpg': (200, 200),
    'jpeg_ff00_header.jpg': (225, 300),
    'junk_jpeg_header.jpg': (768, 1024),
    'pil_sample_cmyk.jpg': (100, 100),
    'pil_sample_rgb.jpg': (100, 100),
    'png_named.JPEG': (128, 128),
    'sugarshack_bad_mpo_header.jpg': (480, 640),
    'transparent.png': (150, 200),
    'truncated_app14.jpg': (100, 100),
    'truncated_jpeg.jpg': None,
}
LIKE = {
    'hopper_orientation_2.jpg': 'hopper.jpg',
    'hopper_orientation_3.jpg': 'hopper.jpg',
    'hopper_orientation_6.jpg': 'hopper.jpg',
    'hopper_orientation_8.jpg': 'hopper.jpg',
    'hopper.jpg': 'hopper.png',
    'hopper.webp': 'hopper.png',
    'png_named.JPEG': 'hopper.png',
    'truncated_app14.jpg': 'pil_sample_rgb.jpg',
}


def test_no_odd_image_is_forgotten(real_data_dir):
    assert ODD_IMAGES.keys() == {path.name for path in (real_data_dir / 'odd_images').iterdir()}


@pytest.mark.parametrize('name', ODD_IMAGES)
def test_odd_images_are_read_or_refused(real_data_dir, name):
    data = (real_data_dir / 'odd_images' / name).read_bytes()
    if ODD_IMAGES[name] is None:
        for read in (decode, lambda d: center_crop(d, 40, 32)):
            with pytest.raises(DecodeError, match='truncated'):
                read(data)
        return
    pixels = decode(data)
    assert pixels.shape == (*ODD_IMAGES[name], 3)
    assert np.asarray(center_crop(data, 40, 32)).shape == (32, 32, 3)
    rng = np.random.default_rng(0)
    assert np.asarray(random_resized_crop(data, 32, rng)).shape == (32, 32, 3)
    if name in LIKE:
        other = decode((real_data_dir / 'odd_images' / LIKE[name]).read_bytes())
        assert np.abs(pixels.astype(float) - other).mean() < 5


def test_gray_photos_are_gray(real_data_dir):
    pixels = decode((real_data_dir / 'odd_images' / 'hopper_gray.jpg').read_bytes())
    assert (pixels == pixels[..., :1]).all()
