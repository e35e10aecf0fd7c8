"""Eager calls at the price of one dispatch."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax import Array
from jax.core import Tracer

from jaxloss._contracts import asserting
from jaxloss.reductions import NAMED

P = ParamSpec("P")
R = TypeVar("R")


def compiled_when_eager(loss: Callable[P, R]) -> Callable[P, R]:
    """A call on concrete arrays, under `jax.grad` too, is compiled as a whole; in `jit` and `vmap` it is left as it is.

    The arrays are arguments of the program; Python numbers and the names of reductions are part of it. What may be new
    at each call, such as a lambda, would be compiled at each call: these calls run operation by operation.
    """

    @functools.lru_cache(maxsize=1024, typed=True)
    def program(asserting: bool, **static: Any) -> Callable[..., R]:
        # What was compiled while chex did not assert must not answer when it does.
        return jax.jit(functools.partial(loss, **static))

    @functools.wraps(loss)
    def call(*args: P.args, **options: P.kwargs) -> R:
        arrays = {name: value for name, value in options.items() if isinstance(value, Array | np.ndarray)}
        static = {name: value for name, value in options.items() if name not in arrays}
        if all(map(_is_concrete, (*args, *arrays.values()))) and all(map(_is_static, static.values())):
            return program(asserting(), **static)(*args, **arrays)
        return loss(*args, **options)

    return call


def _is_concrete(value: Any) -> bool:
    if isinstance(value, Tracer):
        # Under `grad` and `jvp` alone there is a value. Should JAX drop the method, calls under these are not compiled.
        return getattr(value, "to_concrete_value", lambda: None)() is not None
    return isinstance(value, Array) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf")


def _is_static(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_static, value))
    return value is None or isinstance(value, bool | int | float | str) or value in NAMED.values()
