"""Bits of time steps, packed into words of two bits per neuron and step and at most 16 steps.

A neuron's loop over time is a ``lax.scan`` over words. The steps of a word are unrolled, so that
XLA fuses them into one pass. Up to 16 time steps need one word and no loop.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

_STEPS_PER_WORD = 16


class Packed(NamedTuple):
    """The values that a forward pass keeps of one word's time steps.

    Attributes:
      word: an unsigned integer per neuron: bit ``t`` is the spike of step ``t``, and bit
        ``num_steps + t`` its residual if that is boolean.
      residuals: the residuals that are not boolean, stacked along the time axis, or None.
    """

    word: jax.Array
    residuals: jax.Array | None

    def spike(self, t: int) -> jax.Array:
        """Returns the spikes of step ``t``, as booleans."""
        return ((self.word >> t) & 1).astype(bool)

    def residual(self, t: int, num_steps: int, axis: int) -> jax.Array:
        """Returns the residual of step ``t``, out of the ``num_steps`` steps of the word."""
        if self.residuals is None:
            return ((self.word >> (num_steps + t)) & 1).astype(bool)
        return at(self.residuals, t, axis)


class Packer:
    """A builder that packs the steps of one word, from the first to the last.

    Args:
      shape: the shape of the neurons.
      num_steps: the number of steps of the word.
      axis: the time axis of ``residuals``.
    """

    def __init__(self, shape: tuple[int, ...], num_steps: int, axis: int) -> None:
        self._word = jnp.zeros(shape, _word_dtype(num_steps))
        self._num_steps, self._axis = num_steps, axis
        self._unpacked: list[jax.Array] = []

    def add(self, t: int, spike: jax.Array, residual: jax.Array) -> None:
        """Adds step ``t``: its spikes, as booleans, and its residuals of any dtype."""
        self._word |= spike.astype(self._word.dtype) << t
        if residual.dtype == bool:
            self._word |= residual.astype(self._word.dtype) << (self._num_steps + t)
        else:
            self._unpacked.append(residual)

    def packed(self) -> Packed:
        """Returns all added steps."""
        return Packed(self._word, jnp.stack(self._unpacked, self._axis) if self._unpacked else None)


def unpack(word: jax.Array, axis: int, like: jax.Array) -> jax.Array:
    """Reads the spikes of words (words, ...) in the shape and dtype of ``like``."""
    total = like.shape[axis]
    _, num_steps = _count_words(total)
    return join_time(bits(word, axis + 1, num_steps).astype(like.dtype), axis, total)


def bits(word: jax.Array, axis: int, num_steps: int) -> jax.Array:
    """Returns the lowest bits of words, 0 or 1, along a new axis.

    Args:
      word: an array of unsigned integers of any shape.
      axis: the new axis, which is that of the steps.
      num_steps: the number of bits.
    """
    steps = jnp.arange(num_steps, dtype=word.dtype)
    steps = jnp.expand_dims(steps, [i for i in range(word.ndim + 1) if i != axis])
    return (jnp.expand_dims(word, axis) >> steps) & 1


def _word_dtype(num_steps: int) -> Any:
    """Returns the smallest unsigned integer dtype that holds two bits per step."""
    return next(
        d for d in (jnp.uint8, jnp.uint16, jnp.uint32) if 2 * num_steps <= jnp.iinfo(d).bits
    )


def at(array: jax.Array, t: int, axis: int) -> jax.Array:
    """Returns step ``t`` of an array with time on ``axis``."""
    return lax.index_in_dim(array, t, axis, keepdims=False)


def _count_words(total: int) -> tuple[int, int]:
    """Returns the number of words that T time steps need, and the number of steps of each."""
    num_words = math.ceil(total / _STEPS_PER_WORD)
    return num_words, math.ceil(total / num_words)


def split_time(array: jax.Array, axis: int) -> jax.Array:
    """Splits (..., T, ...) into (words, ..., steps, ...), with as few and equal words as possible.

    If the words do not divide T, zeros are added after the last step; they do not affect earlier
    steps.
    """
    total = array.shape[axis]
    num_words, num_steps = _count_words(total)
    if num_words == 1:
        return jnp.expand_dims(array, 0)
    padding = [(0, 0)] * array.ndim
    padding[axis] = (0, num_words * num_steps - total)
    array = jnp.pad(array, padding)
    array = array.reshape(*array.shape[:axis], num_words, num_steps, *array.shape[axis + 1 :])
    return jnp.moveaxis(array, axis, 0)


def join_time(chunks: jax.Array, axis: int, total: int) -> jax.Array:
    """Joins (words, ..., steps, ...) to (..., T, ...), the inverse of `split_time`."""
    if len(chunks) == 1:
        return jnp.squeeze(chunks, 0)
    array = jnp.moveaxis(chunks, 0, axis)
    steps = math.prod(array.shape[axis : axis + 2])
    array = array.reshape(*array.shape[:axis], steps, *array.shape[axis + 2 :])
    return lax.slice_in_dim(array, 0, total, axis=axis)
