"""Products, quotients, powers and masks that hold at the edges of their domains."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.xla import between_divisions


def fill_masked(where: Array | None, value: ArrayLike, *arrays: Array) -> tuple[Array, ...]:
    """What the mask hides becomes `value` before the formula sees it: garbage reaches no value and no gradient."""
    if where is None:
        return arrays
    return tuple(jnp.where(where, array, jnp.asarray(value, array.dtype)) for array in arrays)


def expand_mask(axis: int, where: Array | None) -> Array | None:
    """A mask of rows as a mask of their elements."""
    return None if where is None else jnp.expand_dims(where, axis)


def nan_unless(holds: Array) -> Array:
    """A factor of 1 or NaN: it spreads to the value and, unlike a NaN put in its place, to the gradient."""
    return jnp.where(holds, 1.0, jnp.nan)


def safe_multiply(weight: ArrayLike, value: Array) -> Array:
    """weight * value, where 0 times infinity is 0. NaN stays NaN: a weight rescales, only a mask hides."""
    return jnp.where((weight == 0) & jnp.isinf(value), 0.0, value) * weight


@with_derivatives(lambda numerator, denominator: 1 / denominator, lambda *both: _derivative_of_denominator(*both))
def stable_divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator. JAX's derivative squares the denominator, which overflows long before the derivative."""
    return numerator / denominator


def _derivative_of_denominator(numerator: Array, denominator: Array) -> Array:
    # Otherwise XLA would turn two divisions in a row into one division by the square.
    return -stable_divide(between_divisions(stable_divide(numerator, denominator)), denominator)


def safe_divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, where a denominator of zero gives 0 and gradient 0."""
    empty = denominator == 0
    return jnp.where(empty, 0.0, stable_divide(numerator, jnp.where(empty, 1.0, denominator)))


def safe_power(base: Array, exponent: ArrayLike) -> Array:
    """base ** exponent for base >= 0, and 0 with gradient 0 where base is 0."""
    if isinstance(exponent, int | float) and exponent in (1, 2):
        return base ** int(exponent)  # Of a power of 1.0 the second derivative at 0 is NaN.
    zero = base == 0
    return jnp.where(zero, 0.0, jnp.where(zero, 1.0, base) ** exponent)


@jax.custom_jvp
def power_with_log(base: Array, log_base: Array, exponent: ArrayLike) -> Array:
    """base ** exponent for base >= 0, differentiated through log_base: smooth to every order where base underflows."""
    del log_base
    return base**exponent


@power_with_log.defjvp
def _power_with_log_jvp(primals, tangents):
    base, log_base, exponent = primals
    _, log_base_dot, exponent_dot = tangents
    result = power_with_log(base, log_base, exponent)
    finite_log = jnp.maximum(log_base, jnp.finfo(base.dtype).min)
    return result, result * (exponent * log_base_dot + finite_log * exponent_dot)
