"""XLA compiler options, and the folder of the compilation cache."""

from __future__ import annotations

import os
from pathlib import Path

from snnjax.paths import expand


def compiler_options(platform: str, *, deterministic: bool = False) -> dict[str, str | bool | int]:
    """Returns the ``compiler_options`` of `jax.jit` for a training or an inference step.

    XLA:CPU has two libraries for convolutions. YNNPACK, the default, was slower than Eigen for
    every shape in these networks and often took twice the time (``docs/performance.md``). It stays
    enabled for reductions, which it computes faster, and for dot products. Other platforms offer no
    such choice.

    XLA for GPUs times several kernels during compilation and takes the fastest, and some of its
    kernels add in an order that changes between runs. ``deterministic`` forbids both.

    Args:
      platform: the platform that runs the program: 'cpu', 'gpu' or 'tpu'.
      deterministic: True if each compilation and each run of a program must give the same bits.
        Programs for CPUs and TPUs always do.
    """
    if platform == 'gpu' and deterministic:
        return {'xla_gpu_deterministic_ops': True, 'xla_gpu_autotune_level': 0}
    if platform != 'cpu':
        return {}
    kinds = ('LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT', 'LIBRARY_FUSION_TYPE_REDUCE')
    return {'xla_cpu_experimental_ynn_fusion_type': ','.join(kinds)}


def drawing_options(platform: str) -> dict[str, str | bool | int]:
    """Returns the ``compiler_options`` of `jax.jit` for a function that draws many random numbers.

    On CPUs, LLVM takes about ten seconds to optimize the code of JAX's random numbers, and one
    second at a lower level. The numbers are the same bits.

    Args:
      platform: the platform that runs the function: 'cpu', 'gpu' or 'tpu'.
    """
    return {'xla_backend_optimization_level': 1} if platform == 'cpu' else {}


def compilation_cache() -> Path:
    """Returns the folder of the persistent compilation cache."""
    given = os.environ.get('JAX_COMPILATION_CACHE_DIR')
    home = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return expand(given or f'{home}/snnjax')
