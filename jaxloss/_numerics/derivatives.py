"""Elementwise functions with hand-written derivatives."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxloss._numerics.xla import prevent_cse


def with_derivatives(
    *derivatives: Callable[..., ArrayLike] | None,
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """An elementwise function with a partial derivative for each argument, None where no gradient flows.

    The value and each derivative is one expression of the inputs: one pass over memory, and nothing kept between them.
    """

    def wrap(value: Callable[..., Array]) -> Callable[..., Array]:
        function = jax.custom_jvp(value)

        def jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
            # Otherwise what the value and the derivative have in common would be stored.
            separate = [prevent_cse(x) if isinstance(x, Array) else x for x in primals]
            result = function(*primals)
            terms = [
                derivative(*separate) * tangent.astype(result.dtype)
                for derivative, tangent in zip(derivatives, tangents, strict=True)
                if derivative and not isinstance(tangent, SymbolicZero)
            ]
            return result, functools.reduce(operator.add, terms, jnp.zeros_like(result))

        function.defjvp(jvp, symbolic_zeros=True)
        return functools.wraps(value)(function)

    return wrap
