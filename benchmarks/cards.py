"""Descriptions of the device that a benchmark runs on, with its two measured speeds.

Times are hard to compare without these speeds: operations per second of a bfloat16 matrix product,
and bytes per second of a copy. Both are measured in the same process and with the same software as
the benchmark.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'torch', 'triton', 'spikingjelly', 'snntorch')
# Side length of the matrices, and size in bytes of the copied array.
_SIZES = {'gpu': (8192, 2**30), 'tpu': (8192, 2**30), 'cpu': (512, 2**24)}


def describe_card() -> dict[str, Any]:
    """Returns the names, count and driver of the devices, and the versions of the software."""
    import jax

    device = jax.devices()[0]
    return {
        'platform': device.platform,
        'device': device.device_kind,
        'devices': jax.device_count(),
        'gpu': query_nvidia(),
        'python': platform.python_version(),
        'packages': versions(PACKAGES),
    }


def query_nvidia() -> list[str]:
    """Returns name, driver and memory of each GPU from ``nvidia-smi``; [] if it is missing."""
    if not shutil.which('nvidia-smi'):
        return []
    query = ['nvidia-smi', '--query-gpu=name,driver_version,memory.total', '--format=csv,noheader']
    result = subprocess.run(query, capture_output=True, text=True, check=False)
    return result.stdout.splitlines() if result.returncode == 0 else []


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Returns the versions of the packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def measure_speeds(dtype: str = 'bfloat16') -> dict[str, float]:
    """Measures the peak compute and memory speeds of the device.

    Args:
      dtype: the dtype of the matrices.

    Returns:
      The dict of ``flops``, operations per second of a square matrix product, and ``bandwidth``,
      bytes per second that a copy reads and writes.
    """
    import jax
    import jax.numpy as jnp

    side, size = _SIZES.get(jax.default_backend(), _SIZES['cpu'])
    matrix = jnp.ones((side, side), dtype)
    array = jnp.zeros(size // 4, jnp.float32)
    product = jax.jit(lambda a: a @ a)
    # A plain copy might be optimized away, so this adds 1.
    copy = jax.jit(lambda a: a + 1)
    return {
        'flops': 2 * side**3 / seconds_of_calls(lambda: product(matrix)),
        'bandwidth': 2 * size / seconds_of_calls(lambda: copy(array)),
    }


def seconds_of_calls(call: Callable[[], Any], calls: int = 10, rounds: int = 5) -> float:
    """Returns the median seconds per call over rounds; each round waits for its last call only."""
    import jax

    jax.block_until_ready(call())
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        results = [call() for _ in range(calls)][-1]
        jax.block_until_ready(results)
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times)


def account(compiled: Any) -> dict[str, float]:
    """Returns XLA's cost estimate of a compiled program.

    Returns:
      The dict of ``flops``, ``bytes`` moved, and ``array_bytes``, the size of arguments, results
      and temporaries. Values that the platform does not report are 0.
    """
    cost = compiled.cost_analysis() or {}
    cost = cost[0] if isinstance(cost, list) else cost
    usage = compiled.memory_analysis()
    names = ('argument_size_in_bytes', 'output_size_in_bytes', 'temp_size_in_bytes')
    # Results that reuse the memory of arguments are counted once.
    arrays = sum(getattr(usage, name, 0) for name in names)
    arrays -= getattr(usage, 'alias_size_in_bytes', 0)
    return {
        'flops': float(cost.get('flops', 0)),
        'bytes': float(cost.get('bytes accessed', 0)),
        'array_bytes': float(arrays),
    }


def floor_seconds(cost: dict[str, float], speeds: dict[str, float]) -> dict[str, float]:
    """Returns the least seconds for the operations and for the bytes at the measured speeds."""
    return {
        'compute': cost['flops'] / speeds['flops'],
        'memory': cost['bytes'] / speeds['bandwidth'],
    }


def peak_bytes() -> int:
    """Returns the peak bytes that JAX held on the device, or those of the process on a CPU."""
    import resource

    import jax

    stats = jax.devices()[0].memory_stats() or {}
    return stats.get('peak_bytes_in_use') or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1024
    )
