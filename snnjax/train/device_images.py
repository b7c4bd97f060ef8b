"""Training images that are kept on the devices, which assemble the batches.

The host sends a recipe for each batch: indices, crop offsets, flips and mixing weights. For 100
images of CIFAR-10 this is 2 kB instead of 307 kB. The batches are those that the host would make,
bit for bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from snnjax.data import ArraySplit, Split
from snnjax.data.splits import EventSplit
from snnjax.errors import ConfigError
from snnjax.train.sharding import BATCH_AXES, batch_sharded, batches_sharded, replicated

# The largest share of the memory of a device that images may take.
_SHARE_OF_MEMORY = 1 / 8


class DeviceImages:
    """Keeps training images on the devices and makes batches of them.

    Args:
      images: a uint8 array (N, H, W, C), or (N, T, H, W, C) for frames of recordings.
      crop_padding: the padding of `snnjax.data.transforms.augment.crop`, in pixels.
      mesh: the devices.
      divided: if true, each device holds a part of the images; otherwise each holds all.

    Attributes:
      images: the images on the devices, uint8. Divided images are padded with black ones.
      make_one: the compiled function ``(images, recipe) -> batch``.
      make_several: the same for K batches at once, with arrays (K, B, ...).
    """

    def __init__(
        self, images: np.ndarray, crop_padding: int, mesh: Mesh, *, divided: bool = False
    ) -> None:
        if divided:
            missing = -len(images) % mesh.size
            images = np.pad(images, [(0, missing)] + [(0, 0)] * (images.ndim - 1))
        sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES)) if divided else replicated(mesh)
        self.images = jax.make_array_from_callback(
            images.shape, sharding, lambda place: images[place]
        )
        take = functools.partial(_take_divided, mesh=mesh) if divided else jnp.take
        make = functools.partial(_make_batch, take=take, padding=crop_padding)
        self.make_one = jax.jit(make, out_shardings=batch_sharded(mesh))
        self.make_several = jax.jit(
            lambda images, recipes: lax.map(functools.partial(make, images), recipes),
            out_shardings=batches_sharded(mesh),
        )

    def batch(self, recipe: Any) -> Any:
        """Makes a batch, or several at once.

        Args:
          recipe: the arrays of `snnjax.data.pipeline.TrainingBatches.recipe` on the devices, split
            over the images; or those of several steps, (K, B, ...).

        Returns:
          The arrays of a batch as the host makes it, with the same sharding.
        """
        make = self.make_one if recipe['number'].ndim == 1 else self.make_several
        return make(self.images, recipe)


def place_images(
    split: Split, image_shape: Sequence[int], on_device: str, mesh: Mesh
) -> DeviceImages | None:
    """Copies the images of a split to the devices if the options and the memory allow it.

    Args:
      split: the training images.
      image_shape: the shape of one image.
      on_device: the option ``data.on_device``. On CPUs 'auto' means 'false'.
      mesh: the devices.

    Returns:
      The images on the devices, or None if the host has to make the batches. Each device holds all
      images if they fit, and a part of them otherwise.

    Raises:
      ConfigError: if ``on_device`` is 'true' and the images do not fit.
    """
    if on_device == 'false' or not _has_recipes(split):
        return None
    device = _local_device(mesh)
    if on_device == 'auto' and device.platform == 'cpu':
        return None
    size = len(split) * int(np.prod(image_shape))
    room = (device.memory_stats() or {}).get('bytes_limit', math.inf)
    most = room * _SHARE_OF_MEMORY
    if size / mesh.size <= most:
        return DeviceImages(*_all_images(split), mesh, divided=size > most)
    if on_device == 'auto':
        return None
    raise ConfigError(
        f'data.on_device=true: {size / 1e9:.1f} GB of images are too much for {mesh.size} devices '
        f"of {room / 1e9:.1f} GB each, of which an eighth may be images: leave it at 'auto'"
    )


def _local_device(mesh: Mesh) -> jax.Device:
    return mesh.local_devices[0]


def _has_recipes(split: Split) -> TypeGuard[ArraySplit | EventSplit]:
    """Returns whether devices can make the images; Pillow and single events need the host."""
    if isinstance(split, EventSplit):
        return split.augment.keeps_frames
    needs_pillow = isinstance(split, ArraySplit) and split.augment and split.augment.needs_pillow
    return isinstance(split, ArraySplit) and not needs_pillow


def _all_images(split: ArraySplit | EventSplit) -> tuple[np.ndarray, int]:
    """Returns all images of a split, and the padding of their crops."""
    if isinstance(split, ArraySplit):
        return split.images, split.crop_padding
    return np.concatenate([split.examples(np.array([i]))['image'] for i in range(len(split))]), 0


def _take_divided(images: jax.Array, numbers: jax.Array, *, axis: int, mesh: Mesh) -> jax.Array:
    """Computes `jnp.take` along the first axis of an array that is divided over devices.

    Each device picks the images of the whole batch that it holds. The picks are then summed; all
    other devices contribute zeros.
    """
    del axis

    def take(images: jax.Array, numbers: jax.Array) -> jax.Array:
        numbers = lax.all_gather(numbers, BATCH_AXES, tiled=True)
        places = numbers - lax.axis_index(BATCH_AXES) * len(images)
        here = (places >= 0) & (places < len(images))
        found = jnp.take(images, jnp.where(here, places, 0), axis=0)
        found = jnp.where(jnp.expand_dims(here, range(1, found.ndim)), found, 0)
        return lax.psum_scatter(found, BATCH_AXES, tiled=True)

    by_image = PartitionSpec(BATCH_AXES)
    return jax.shard_map(take, mesh=mesh, in_specs=by_image, out_specs=by_image)(images, numbers)


def _make_batch(images: jax.Array, recipe: Any, *, take: Any, padding: int) -> Any:
    """Makes the batch of a recipe."""
    recipe = dict(recipe)
    made = take(images, recipe.pop('number'), axis=0)
    offset, flipped, erased = (recipe.pop(key, None) for key in ('offset', 'flipped', 'erased'))
    if offset is not None:
        made = _crop(made, offset, padding)
    if flipped is not None:
        made = jnp.where(jnp.expand_dims(flipped, range(1, made.ndim)), jnp.flip(made, -2), made)
    if erased is not None:
        made = jnp.where(_inside(erased, made.shape), recipe.pop('noise'), made)
    weight, box = recipe.pop('mix_weight', None), recipe.pop('mix_box', None)
    if weight is not None:
        other, weight = _of_neighbors(made), jnp.expand_dims(weight, range(1, made.ndim))
        # Exact, see `snnjax.data.transforms.mixing`.
        blended = jnp.rint(made * weight + other * (1 - weight)).astype(made.dtype)
        made = jnp.where(_inside(box, made.shape), other, blended)
        recipe['mixed_label'] = _of_neighbors(recipe['label'])
    return {'image': made} | recipe


def _crop(images: jax.Array, offsets: jax.Array, padding: int) -> jax.Array:
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

    def window(image: jax.Array, offset: jax.Array) -> jax.Array:
        return lax.dynamic_slice(image, (*offset, 0), images.shape[1:])

    return jax.vmap(window)(padded, offsets)


def _inside(boxes: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns a mask (B, ..., H, W, 1) of the pixels in the boxes (B, 4) of images."""
    top, bottom, left, right = (
        jnp.expand_dims(side, range(1, len(shape))) for side in jnp.moveaxis(boxes, 1, 0)
    )
    rows = jnp.arange(shape[-3])[:, None, None]
    columns = jnp.arange(shape[-2])[:, None]
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _of_neighbors(x: jax.Array) -> jax.Array:
    """Returns the entry of the neighbor of each image, see `Mixing`."""
    pairs = x.reshape(-1, 2, *x.shape[1:])
    return pairs[:, ::-1].reshape(x.shape)
