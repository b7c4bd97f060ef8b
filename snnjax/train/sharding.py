"""Sharding of arrays over the devices.

The devices form a mesh with two axes. Batches are split over both. Parameters and the optimizer
state are split over the axis ``fsdp``, and replicated over ``data``. By default the axis ``fsdp``
has one device, so that each device has all parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from snnjax.models.params import is_kernel, place

BATCH_AXES = ('data', 'fsdp')


def make_mesh(devices: Sequence[jax.Device] | None = None, fsdp: int = 1) -> Mesh:
    """Builds a mesh of the given devices, or of all devices of all processes.

    Args:
      devices: the devices, all of one kind; None for all.
      fsdp: the number of devices that share the parameters, a divisor of the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    shape = (len(devices) // fsdp, fsdp)
    if len({getattr(device, 'core_on_chip', 0) for device in devices}) > 1:
        # JAX knows neighbors only if a chip is one device. The two cores of a chip are adjacent.
        grid = np.asarray(devices).reshape(shape)
    else:
        # On TPUs, neighbors share parameters; this may split an axis of the topology.
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(grid, BATCH_AXES, axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array that every device holds as a whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that splits the first axis over the devices."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def batches_sharded(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that splits the second axis; the first is of parts or steps."""
    return NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))


def parameter_shardings(tree: Any, mesh: Mesh) -> Any:
    """Returns the shardings of parameters, or of a tree with parameters in it.

    Kernels are split over ``fsdp`` along their longest divisible axis, and along the last one of
    equal length. All other arrays are small, and are replicated.

    Args:
      tree: a tree of arrays or of ``jax.ShapeDtypeStruct``.
      mesh: the devices.
    """
    parts = mesh.shape['fsdp']

    def choose(path: tuple, leaf: Any) -> NamedSharding:
        divisible = [(side, axis) for axis, side in enumerate(leaf.shape) if side % parts == 0]
        if parts == 1 or not is_kernel(place(path)) or not divisible:
            return replicated(mesh)
        _, chosen = max(divisible)
        return NamedSharding(mesh, PartitionSpec(*[None] * chosen, 'fsdp'))

    return jax.tree.map_with_path(choose, tree)


def put_batch(batch: dict[str, np.ndarray], sharding: NamedSharding) -> Any:
    """Makes global device arrays of each process's share of a batch."""
    return {
        key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()
    }


Arrays = TypeVar('Arrays')


def split_batch(batch: Arrays, parts: int, mesh: Mesh) -> Arrays:
    """Reshapes (B, ...) to (parts, B / parts, ...); no image moves to another device."""
    sharding = batches_sharded(mesh)

    def split(x: jax.Array) -> jax.Array:
        x = x.reshape(mesh.size, parts, -1, *x.shape[1:]).swapaxes(0, 1)
        return jax.lax.with_sharding_constraint(x.reshape(parts, -1, *x.shape[3:]), sharding)

    return jax.tree.map(split, batch)
