"""Functions of images as StableHLO files, which run without this package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

PLATFORMS = ('cpu', 'cuda', 'tpu')

Inference = Callable[[jax.Array], jax.Array]


def write_inference(path: Path, infer: Inference, image_shape: tuple[int, ...]) -> None:
    """Writes a function for all platforms and every batch size with ``jax.export``.

    Args:
      path: the path of the file.
      infer: the function, ``(B, *image_shape)`` uint8 -> logits; arrays that it closes over become
        constants.
      image_shape: the shape (H, W, C) of an image, or (T, H, W, C) for frames.

    Raises:
      ImportError: if the package ``flatbuffers`` is not installed.
    """
    (batch,) = export.symbolic_shape('b')
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8)
    program = export.export(jax.jit(infer), platforms=PLATFORMS)(images)
    path.write_bytes(program.serialize())


def read_inference(path: Path) -> Inference:
    """Returns the function in a file of `write_inference`; only load files that you trust."""
    return export.deserialize(bytearray(path.read_bytes())).call
