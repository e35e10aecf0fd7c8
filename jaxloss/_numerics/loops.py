"""Loops that add up, and the lanes in which they run side by side on an automatic mesh."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.export import is_symbolic_dim
from jax.sharding import AxisType


def finite(log_scale: Array) -> Array:
    return jnp.where(log_scale == -jnp.inf, 0.0, log_scale)


def zeros_like(array: Array, dtype: Any, zero: Array) -> Array:
    """What a loop adds to, on every device that `zero` lies on."""
    return jnp.zeros_like(array, dtype=dtype) + zero.astype(dtype)


def repeat(times: Any, step: Callable[[Array, Any], Any], state: Any) -> Any:
    """A scan where the number of steps is known: in a `while_loop` on an explicit mesh checkify of jax 0.12 fails."""
    times = jnp.asarray(times, jnp.int32) if is_symbolic_dim(times) else np.int32(times)
    return jax.lax.fori_loop(np.int32(0), times, step, state)


def lanes_of(rows: Array) -> int:
    """In how many lanes the rows run side by side on an automatic mesh, whose layout is not known while tracing.

    A lane stays on its device and sums its own gradient of what all share, so that the devices add theirs once and not
    once a block. On one device, and in `shard_map`, there is one.
    """
    mesh = jax.typeof(rows).sharding.mesh
    kinds = zip(mesh.shape.values(), mesh.axis_types, strict=True)
    parts = math.prod(size for size, kind in kinds if kind == AxisType.Auto)
    size = (*rows.shape[:-1], 0)[0]
    return (parts if size % parts == 0 else 1) if is_symbolic_dim(size) else math.gcd(parts, size)
