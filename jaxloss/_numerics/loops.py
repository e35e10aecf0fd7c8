"""Loops that add up."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.export import is_symbolic_dim


def finite(log_scale: Array) -> Array:
    return jnp.where(log_scale == -jnp.inf, 0.0, log_scale)


def zeros_like(array: Array, dtype: Any, zero: Array) -> Array:
    """What a loop adds to, on every device that `zero` lies on."""
    return jnp.zeros_like(array, dtype=dtype) + zero.astype(dtype)


def repeat(times: Any, step: Callable[[Array, Any], Any], state: Any) -> Any:
    """A scan where the number of steps is known: in a `while_loop` on an explicit mesh checkify of jax 0.12 fails."""
    times = jnp.asarray(times, jnp.int32) if is_symbolic_dim(times) else np.int32(times)
    return jax.lax.fori_loop(np.int32(0), times, step, state)
