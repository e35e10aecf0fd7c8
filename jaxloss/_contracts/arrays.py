"""Arrays as they are given: their dtypes, and an assertion that speaks in our words."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def describe(array: Array) -> str:
    """The dtype and the shape of what was given."""
    return f"{array.dtype} of shape {array.shape}"


def single_precision(array: Array) -> Array:
    """Half precision and less become float32, so that losses are not quantised and do not overflow."""
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


def as_signed(indices: Array) -> Array:
    """Small and unsigned integers become signed ones that hold every class, so that no index wraps."""
    return indices.astype(jnp.int64 if indices.dtype.itemsize == 8 else jnp.int32)


def saturated(value: Any) -> Any:
    """Integers of NumPy and Python, clipped to JAX's range, usually 32 bits, so that no label wraps into a class."""
    if isinstance(value, int) and not isinstance(value, bool):
        dtype = np.dtype(np.int64)
    elif isinstance(value, np.ndarray | np.generic) and value.dtype in (np.int64, np.uint64):
        dtype = value.dtype
    else:
        return value
    limits = np.iinfo(jax.dtypes.canonicalize_dtype(dtype))
    return np.clip(value, limits.min, limits.max)


def python_number(value: Any) -> Any:
    """Turns a NumPy number into Python's; anything else stays as it is."""
    return value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value


def nan_outside(inside: Array, array: Array, dtype: Any) -> Array:
    """What lies outside its domain becomes NaN, so that no plausible number comes of it."""
    return jnp.where(inside, array.astype(dtype), jnp.nan)


def require(problem: str, assertion: Callable[..., None], *args: Any) -> None:
    """A chex assertion that speaks in our words."""
    try:
        assertion(*args)
    except AssertionError:
        raise AssertionError(problem) from None


def asserting() -> bool:
    """Whether chex asserts; `chex.disable_asserts` stops it."""
    try:
        chex.assert_scalar(None)
    except AssertionError:
        return True
    return False
