"""How arrays lie on the devices: one mesh axis, ``data``, over which batches are split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The given devices, or all of all processes, on the axis ``data``."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ('data',), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec('data'))


def put_batch(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict[str, Any]:
    """Makes global device arrays of each process's share of a batch."""
    return {
        key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()
    }


def split_batch(batch: dict[str, jax.Array], parts: int, mesh: Mesh) -> dict[str, jax.Array]:
    """(B, ...) -> (parts, B / parts, ...), each device's images staying where they are."""
    sharding = NamedSharding(mesh, PartitionSpec(None, 'data'))

    def split(x: jax.Array) -> jax.Array:
        x = x.reshape(mesh.size, parts, -1, *x.shape[1:]).swapaxes(0, 1)
        return jax.lax.with_sharding_constraint(x.reshape(parts, -1, *x.shape[3:]), sharding)

    return {key: split(value) for key, value in batch.items()}
