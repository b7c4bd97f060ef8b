"""Published rates of accelerator chips."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """Holds the published limits of a chip.

    Attributes:
      flops: peak rate of dense bfloat16 operations, per second.
      bandwidth: peak memory bandwidth, in bytes per second.
      memory: size of the memory, in bytes.
    """

    flops: float
    bandwidth: float
    memory: float


TPUS = {
    # https://cloud.google.com/tpu/docs/v4, v5e, v5p and v6e, in November 2026.
    'v4': Chip(275e12, 1200e9, 32e9),
    'v5e': Chip(197e12, 819e9, 16e9),
    'v5p': Chip(459e12, 2765e9, 95e9),
    'v6e': Chip(918e12, 1638e9, 32e9),
}
"""TPUs by the name of their topologies."""

# Prefixes of `jax.Device.device_kind`; the first that matches counts. The rates of GPUs are those
# for dense matrices in NVIDIA's data sheets.
_KINDS = {
    'TPU v4': TPUS['v4'],
    'TPU v5 lite': TPUS['v5e'],
    'TPU v5e': TPUS['v5e'],
    'TPU v5': TPUS['v5p'],
    'TPU v6': TPUS['v6e'],
    'NVIDIA A100-SXM4-80GB': Chip(312e12, 2039e9, 80e9),
    'NVIDIA A100-SXM4-40GB': Chip(312e12, 1555e9, 40e9),
    'NVIDIA H100 80GB HBM3': Chip(989e12, 3350e9, 80e9),
    'NVIDIA H200': Chip(989e12, 4800e9, 141e9),
}


def chip_of(device_kind: str) -> Chip | None:
    """Returns the chip of a device, or None if it is not known.

    Args:
      device_kind: the attribute of that name of a `jax.Device`, for example 'NVIDIA H200'.
    """
    return next((chip for name, chip in _KINDS.items() if device_kind.startswith(name)), None)
