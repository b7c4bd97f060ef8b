"""A function of images as one file of StableHLO, which nothing of this package is needed for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

PLATFORMS = ('cpu', 'cuda', 'tpu')

Inference = Callable[[jax.Array], jax.Array]


def write_inference(path: Path, infer: Inference, image_shape: tuple[int, ...]) -> None:
    """Writes a function for all platforms and every batch size, as ``jax.export`` does.

    Args:
      path: of the file.
      infer: ``(B, *image_shape)`` uint8 -> logits; arrays that it has in itself become constants.
      image_shape: (H, W, C), or (T, H, W, C) for frames.

    Raises:
      ImportError: without the package ``flatbuffers``.
    """
    (batch,) = export.symbolic_shape('b')
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8)
    program = export.export(jax.jit(infer), platforms=PLATFORMS)(images)
    path.write_bytes(program.serialize())


def read_inference(path: Path) -> Inference:
    """The function in a file of `write_inference`; files from elsewhere need the same trust."""
    return export.deserialize(bytearray(path.read_bytes())).call
