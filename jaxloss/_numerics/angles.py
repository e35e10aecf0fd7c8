"""The angle between vectors, whose cosine keeps its digits next to 1."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.norms import largest_magnitude
from jaxloss._numerics.online import add_rows, hypot, triangle
from jaxloss._numerics.xla import by_platform


class Angle(NamedTuple):
    """1 - cos, cos, and what makes vectors units: two factors each, so that no square overflows."""

    apart: Array
    cosine: Array
    scale_x: Array
    scale_y: Array
    per_length_x: Array
    per_length_y: Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def angle(x: Array, y: Array, eps: float) -> Angle:
    """Between the vectors on the last axis, with cos = x . y / sqrt((|x|^2 + eps^2) (|y|^2 + eps^2)).

    Where eps is 0, so is the cosine of a vector of zeros, with gradient 0.
    """
    cpu, elsewhere = (functools.partial(way, eps=eps) for way in (_angle_of_units, _angle_of_triangle))
    return by_platform(x, y, cpu=cpu, elsewhere=elsewhere)


@angle.defjvp
def _angle_jvp(eps: float, primals: Any, tangents: Any) -> tuple[Angle, Angle]:
    """The derivative of 1 - cos to x is (unit_x - unit_y - (1 - cos) unit_x) / |x|. The scales are held constant."""
    result, ((x, y), (x_dot, y_dot)) = angle(*primals, eps), (primals, tangents)
    apart, scale_x, scale_y, per_length_x, per_length_y = (part[..., None] for part in (result.apart, *result[2:]))
    # Factors, not divisors: XLA:CPU sums products without storing them.
    unit_x, unit_y = x * scale_x * per_length_x, y * scale_y * per_length_y
    differ = unit_x - unit_y
    of_x = (differ - apart * unit_x) * per_length_x * scale_x
    of_y = (-differ - apart * unit_y) * per_length_y * scale_y
    tangent = jnp.sum(of_x * x_dot + of_y * y_dot, -1)
    constant = jnp.zeros_like(tangent)
    return result, Angle(
        tangent,
        -tangent,
        constant,
        constant,
        -result.per_length_x * jnp.sum(unit_x * (x_dot * per_length_x * scale_x), -1),
        -result.per_length_y * jnp.sum(unit_y * (y_dot * per_length_y * scale_y), -1),
    )


def _angle_of_units(x: Array, y: Array, eps: float) -> Angle:
    """1 - cos by |unit|^2 + rest = 1: two passes."""
    (unit_x, rest_x, scale_x, per_length_x), (unit_y, rest_y, scale_y, per_length_y) = _unit(x, eps), _unit(y, eps)
    apart = 0.5 * (jnp.square(unit_x - unit_y).sum(-1) + (rest_x + rest_y))
    # Not from 1 - cos: the cosine of orthogonal vectors is 0, where a hinge may close. Nor from the units, which XLA
    # would store. Where lengths are at least 1e-6, what underflows is nothing.
    cosine = (x * y).sum(-1) * (scale_x * per_length_x) * (scale_y * per_length_y)
    cosine = jnp.where(jnp.isfinite(cosine), cosine, 1 - apart)
    return Angle(apart, cosine, scale_x, scale_y, per_length_x, per_length_y)


def _unit(vectors: Array, eps: float) -> tuple[Array, Array, Array, Array]:
    """x / sqrt(|x|^2 + eps^2), what its square lacks to 1, and the two factors that make it."""
    scale = 1 / largest_magnitude(vectors, eps)
    squares = jnp.square(vectors * scale).sum(-1, keepdims=True)
    if eps:
        rest = jnp.square(eps * scale)
    else:
        is_zero = squares == 0
        scale, rest = jnp.where(is_zero, 0.0, scale), is_zero.astype(vectors.dtype)
    total = squares + rest
    per_length = 1 / jnp.sqrt(total)
    rest, scale_of_row, per_length_of_row = (jnp.squeeze(part, -1) for part in (rest / total, scale, per_length))
    return vectors * scale * per_length, rest, scale_of_row, per_length_of_row


def _angle_of_triangle(x: Array, y: Array, eps: float) -> Angle:
    """The angle between (x, eps, 0) and (y, 0, eps), in one pass."""
    scale = 2.0**-8  # So that no length overflows.
    parts = triangle(x * scale, y * scale)
    if eps:
        small, zero = jnp.asarray(eps * scale, x.dtype), jnp.zeros((), x.dtype)
        parts = add_rows(add_rows(parts, (small, zero, zero)), (zero, small, zero))
    length, along, across = parts
    length_y = hypot(along, across)
    if not eps:  # So that a vector of zeros is along none.
        length, length_y = (jnp.where(each < jnp.finfo(x.dtype).tiny, jnp.inf, each) for each in (length, length_y))
        along = jnp.where(length == jnp.inf, 0.0, along)
    scales = 0.0 * jnp.isnan(length).astype(x.dtype) + scale  # One a row, on the devices of the rows.
    cosine = along / length_y
    apart = jnp.where(along > 0, (across / length_y) * (across / (length_y + along)), 1 - cosine)
    return Angle(apart, cosine, scales, scales, 1 / length, 1 / length_y)


@jax.custom_jvp
def sine_by_cosine(cosine: Array, sine: Array) -> Array:
    """A sine that is known to more digits than the cosine tells next to 1, differentiated through the cosine.

    Where it is a few ulps of 1 no direction is known in which it grows: there its derivative is 0.
    """
    del cosine
    return sine


@sine_by_cosine.defjvp
def _sine_by_cosine_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    cosine, sine = primals[0], sine_by_cosine(*primals)
    has_direction = ~(sine < 8 * jnp.finfo(sine.dtype).eps)  # NaN stays NaN.
    slope = jnp.where(has_direction, -cosine / jnp.where(has_direction, sine, 1.0), 0.0)
    return sine, slope * tangents[0]
