"""Norms over the last axis, at any scale."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxloss._numerics.online import euclidean_distances
from jaxloss._numerics.safe import nan_unless, safe_divide, safe_power
from jaxloss._numerics.xla import by_platform


def largest_magnitude(vectors: Array, least: float = 0.0) -> Array:
    """The largest |x_i|, to scale by so that no power overflows or underflows; bounded so that it has a reciprocal."""
    smallest = 4 * float(jnp.finfo(vectors.dtype).tiny)
    largest = jax.lax.stop_gradient(jnp.abs(vectors).max(-1, keepdims=True, initial=max(least, smallest)))
    return jnp.minimum(largest, 1 / smallest)


def distances(p: ArrayLike, eps: ArrayLike, *pairs: tuple[Array, Array]) -> tuple[Array, ...]:
    """The p-norms of x - y + eps for each pair x, y; the gradient at zero is 0."""

    def each(eps: Array, *points: Array) -> tuple[Array, ...]:
        return tuple(norm(x - y + eps, p) for x, y in zip(points[::2], points[1::2], strict=True))

    points = [jnp.asarray(eps, pairs[0][0].dtype), *(point for pair in pairs for point in pair)]
    if isinstance(p, int | float) and p == 2:
        return by_platform(*points, cpu=each, elsewhere=euclidean_distances)
    return each(*points)


def norm(vectors: Array, p: ArrayLike) -> Array:
    """The p-norm; its gradient at zero is 0."""
    if not isinstance(p, int | float) or p not in (1, 2, float("inf")):
        return _scaled_norm(vectors, p)
    if p == 2:
        return _euclidean_norm(vectors)
    # NaN is neither larger nor smaller than other numbers: without the factor it would have no derivative.
    sizes = jnp.abs(vectors * nan_unless(~jnp.isnan(vectors)))
    return sizes.sum(-1) if p == 1 else sizes.max(-1, initial=0.0)


@jax.custom_jvp
def _euclidean_norm(vectors: Array) -> Array:
    scale = largest_magnitude(vectors)
    return scale[..., 0] * jnp.sqrt(jnp.square(vectors * (1 / scale)).sum(-1))


@_euclidean_norm.defjvp
def _euclidean_norm_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    length = _euclidean_norm(*primals)
    return length, jnp.sum(safe_divide(primals[0], length[..., None]) * tangents[0], -1)


@jax.custom_jvp
def _scaled_norm(vectors: Array, p: ArrayLike) -> Array:
    scale = largest_magnitude(vectors)
    return scale[..., 0] * safe_power(jnp.abs(vectors * (1 / scale)), p).sum(-1) ** (1 / p)


def _scaled_norm_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """With r = |v| / ||v||, the derivatives are sign(v) r^(p - 1) and ||v|| / p sum_i r_i^p log r_i."""
    vectors, p = primals
    result = _scaled_norm(vectors, p)
    ratio = jnp.abs(safe_divide(vectors, result[..., None]))
    tangent = jnp.zeros_like(result)
    if not isinstance(tangents[0], SymbolicZero):
        tangent += jnp.sum(jnp.sign(vectors) * safe_power(ratio, p - 1) * tangents[0], -1)
    if not isinstance(tangents[1], SymbolicZero):
        log_ratio = jnp.log(jnp.where(ratio == 0, 1.0, ratio))
        tangent += result / p * jnp.sum(safe_power(ratio, p) * log_ratio, -1) * tangents[1]
    return result, tangent


_scaled_norm.defjvp(_scaled_norm_jvp, symbolic_zeros=True)


def row_lengths(rows: Array) -> Array:
    """Euclidean, and 0 for less than the smallest normal number, of which a machine may make 0."""
    lengths = norm(rows, 2)
    return jnp.where(lengths < jnp.finfo(rows.dtype).tiny, 0.0, lengths)


def unit_rows(rows: Array) -> Array:
    """Rows of length 1, at any scale; a row of zeros stays one, with gradient 0."""
    return safe_divide(rows, row_lengths(rows)[..., None])
