"""How arrays lie on the devices.

The devices are a mesh of two axes. Batches are split over both; parameters and the optimiser's
state are split over ``fsdp``, and the same for all of ``data``. With one device on the axis
``fsdp``, which is the default, each has all parameters.
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
    """The given devices, or all of all processes.

    Args:
      devices: some of one kind.
      fsdp: devices that share the parameters; must divide their number.
    """
    devices = jax.devices() if devices is None else devices
    shape = (len(devices) // fsdp, fsdp)
    if len({getattr(device, 'core_on_chip', 0) for device in devices}) > 1:
        # JAX knows neighbours only where a chip is one device; two of a chip follow each other.
        grid = np.asarray(devices).reshape(shape)
    else:
        # On TPUs, neighbours share parameters; an axis of theirs may be divided for it.
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(grid, BATCH_AXES, axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def batches_sharded(mesh: Mesh) -> NamedSharding:
    """The second axis split over the devices, behind one of parts of a batch, or of steps."""
    return NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))


def parameter_shardings(tree: Any, mesh: Mesh) -> Any:
    """How parameters, or what has their form, lie on the devices.

    Kernels are split over ``fsdp`` along their longest axis that it divides, the last of them if
    several are. All else, which is small and many, is whole everywhere.

    Args:
      tree: of arrays, or of a ``jax.ShapeDtypeStruct`` for each.
      mesh: of the devices.
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
    """(B, ...) -> (parts, B / parts, ...), each device's images staying where they are."""
    sharding = batches_sharded(mesh)

    def split(x: jax.Array) -> jax.Array:
        x = x.reshape(mesh.size, parts, -1, *x.shape[1:]).swapaxes(0, 1)
        return jax.lax.with_sharding_constraint(x.reshape(parts, -1, *x.shape[3:]), sharding)

    return jax.tree.map(split, batch)
