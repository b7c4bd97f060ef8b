"""How XLA is to compile these networks."""

from __future__ import annotations

import os
from pathlib import Path

from snnjax.paths import expand


def compiler_options(platform: str, *, deterministic: bool = False) -> dict[str, str | bool | int]:
    """What to give to `jax.jit` as ``compiler_options`` with a step of training or inference.

    XLA:CPU has two libraries for convolutions. YNNPACK, its choice, was slower than Eigen for every
    shape that occurs here, and often took twice the time (``docs/performance.md``); for reductions
    it is the faster. Elsewhere there is nothing to choose.

    On GPUs XLA tries several kernels when it compiles, and takes the one that is fastest at that
    moment; some of its kernels add in an order that changes. ``deterministic`` forbids both.

    Args:
      platform: that the program will run on: 'cpu', 'gpu' or 'tpu'.
      deterministic: whether the same program has to give the same bits each time that it is
        compiled and run. On CPUs and TPUs it does so anyway.
    """
    if platform == 'gpu' and deterministic:
        return {'xla_gpu_deterministic_ops': True, 'xla_gpu_autotune_level': 0}
    if platform != 'cpu':
        return {}
    kinds = ('LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT', 'LIBRARY_FUSION_TYPE_REDUCE')
    return {'xla_cpu_experimental_ynn_fusion_type': ','.join(kinds)}


def compilation_cache() -> Path:
    """The folder of programs that were compiled before."""
    given = os.environ.get('JAX_COMPILATION_CACHE_DIR')
    home = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return expand(given or f'{home}/snnjax')
