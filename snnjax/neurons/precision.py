"""The precision of membrane potentials, sums and means."""

from __future__ import annotations

from typing import Any

import numpy as np


def at_least_float32(dtype: Any) -> np.dtype:
    """Returns the dtype for sums and membrane potentials: float64 for float64, else float32."""
    # `jnp.promote_types` refuses to promote under JAX's strict promotion.
    return np.promote_types(dtype, np.float32)
