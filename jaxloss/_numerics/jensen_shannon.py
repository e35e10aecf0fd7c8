"""Divergences between two softmaxes: of each from a mixture of both, and of one from the other.

A row takes three passes over both arrays of logits: the normalisers; the divergences, which are sums of a logarithm of
both normalisers; and the gradient, which is relative to a mean over the row. Nothing of the logits' size is kept from
one to the next: each makes again from the logits what it needs of them.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from jaxloss._numerics.online import PairSums, pair_sums, sum_with_common_terms
from jaxloss._numerics.xla import by_platform, prevent_cse, third_copy


def generalized_jensen_shannon(x: Array, y: Array, beta: Array | float, axis: int) -> Array:
    """beta KL(q || m) + (1 - beta) KL(p || m), with p of logits x, q of logits y, and m = beta q + (1 - beta) p.

    At a Python 0 it is KL(q || p), and at a Python 1 KL(p || q).
    """
    mixed, (p_logits, q_logits) = in_order_of(beta, x, y)
    return _divergence(mixed, axis, p_logits, q_logits, jnp.asarray(beta, x.dtype))


def in_order_of(beta: Array | float, *pair: Any) -> tuple[bool, tuple[Any, ...]]:
    """Whether there is a mixture; and what belongs to p and to q, the other way round for KL(q || p)."""
    is_end = isinstance(beta, float) and beta in (0, 1)
    return not is_end, pair[::-1] if is_end and beta == 0 else pair


class Elements(NamedTuple):
    """Of p, of q, and of what they are compared with: m, or q itself."""

    p: Array
    q: Array
    # log m - log p, and log m - log q; and how far each is below what it is where p, or q, is largest.
    p_below: Array
    q_below: Array
    p_moved: Array
    q_moved: Array
    # What is summed: no term is negative, so none cancels.
    terms: Array


def elements_of(mixed: bool, axis: int, x: Array, y: Array, beta: Array, tops: PairSums) -> Elements:
    tops = PairSums(*(jnp.expand_dims(top, axis) for top in tops))
    log_p, log_q, p_below, q_below = _distances(mixed, x, y, beta, tops)
    p_top, q_top = _where_largest(mixed, beta, tops)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    if mixed:
        mixture = _mixture(p, q, beta)
        terms = beta * surplus(q, q_below, mixture) + (1 - beta) * surplus(p, p_below, mixture)
    else:
        terms = surplus(p, p_below, q)
    return Elements(p, q, p_below, q_below, _moved(p, p_top, p_below), _moved(q, q_top, q_below), terms)


def _distances(mixed: bool, x: Array, y: Array, beta: Array, tops: PairSums) -> tuple[Array, Array, Array, Array]:
    """log p and log q, and how far they are below what they are compared with."""
    log_p = _log_probabilities(x, tops.largest_x, tops.excess_x)
    log_q = _log_probabilities(y, tops.largest_y, tops.excess_y)
    if mixed:
        return log_p, log_q, *log_mixed(log_p, log_q, beta)
    impossible = jnp.where(x == -jnp.inf, 0.0, -jnp.inf)
    distance = jnp.where(y == -jnp.inf, impossible, log_q - log_p)
    return log_p, log_q, distance, jnp.zeros_like(distance)


def _where_largest(mixed: bool, beta: Array, tops: PairSums) -> tuple[Array, Array]:
    """The distances where p and q are largest. Held constant: in a slope they cancel."""
    p_top = _distances(mixed, tops.largest_x, tops.y_there, beta, tops)[2]
    q_top = _distances(mixed, tops.x_there, tops.largest_y, beta, tops)[3]
    return jax.lax.stop_gradient(p_top), jax.lax.stop_gradient(q_top)


def _log_probabilities(logits: Array, largest: Array, excess: Array) -> Array:
    """Finite ones. Next to 0 they have digits of their own."""
    return jnp.maximum(logits - largest - jnp.log1p(excess), jnp.finfo(logits.dtype).min / 4)


def _moved(p: Array, top: Array, below: Array) -> Array:
    return jnp.where((p == 0) & jnp.isinf(below), 0.0, top - below)


def _mixture(p: Array, q: Array, beta: Array) -> Array:
    return beta * q + (1 - beta) * p


@jax.custom_jvp
def log_mixed(log_p: Array, log_q: Array, beta: Array) -> tuple[Array, Array]:
    """log m - log p and log m - log q, each with digits of its own where p and q nearly agree."""
    distance = log_q - log_p
    near, q_is_larger = jnp.abs(distance) < 1, distance > 0
    small = jnp.log1p(beta * jnp.expm1(jnp.where(near, distance, 0.0)))
    larger, smaller = jnp.where(q_is_larger, beta, 1 - beta), jnp.where(q_is_larger, 1 - beta, beta)
    below_larger = jnp.log(larger + smaller * jnp.exp(-jnp.abs(distance)))
    below_p = jnp.where(near, small, below_larger + jnp.maximum(distance, 0.0))
    return below_p, jnp.where(near, small - distance, below_larger - jnp.minimum(distance, 0.0))


@log_mixed.defjvp
def _log_mixed_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """With w = beta q / m: w and w - 1 to log q - log p, and (q - p) / m to beta."""
    log_p, log_q, beta = primals
    log_odds = log_q - log_p + jnp.log(beta) - jnp.log1p(-beta)
    of_q, of_p = jax.nn.sigmoid(log_odds), jax.nn.sigmoid(-log_odds)
    moved = tangents[1] - tangents[0]
    of_beta = (of_q / beta - of_p / (1 - beta)) * tangents[2]
    return log_mixed(*primals), (of_q * moved + of_beta, of_beta - of_p * moved)


def surplus(p: Array, below: Array, mixture: Array) -> Array:
    """m - p - p log(m / p), at least 0: over a row the sum of m is that of p, and what is left is the divergence."""
    small = jnp.clip(below, -0.5, 0.5)
    series = jnp.ones_like(small)
    for order in range(9 if p.dtype.itemsize < 8 else 17, 2, -1):  # e^u - 1 - u = u^2 / 2 (1 + u / 3 (1 + ...))
        series = 1 + small * series / order
    impossible = (p == 0) & jnp.isinf(below)
    apart = mixture - p - p * jnp.where(impossible, 0.0, below)
    return jnp.where(jnp.abs(below) < 0.5, p * small * small / 2 * series, apart)


def slope_of_beta(beta: Array, of: Elements) -> Array:
    """KL(q || m) - KL(p || m), class by class."""
    mixture = _mixture(of.p, of.q, beta)
    return surplus(of.q, of.q_below, mixture) - surplus(of.p, of.p_below, mixture)


def slopes_of(mixed: bool, beta: Array, of: Elements, p_mean: Array | float, q_mean: Array | float) -> Any:
    """To the logits of p and of q."""
    if mixed:
        return (1 - beta) * of.p * (of.p_moved - p_mean), beta * of.q * (of.q_moved - q_mean)
    near = jnp.abs(of.p_below) < 1
    difference = of.p * jnp.expm1(jnp.where(near, of.p_below, 0.0))
    return of.p * (of.p_moved - p_mean), jnp.where(near, difference, of.q - of.p)


class _Sums(NamedTuple):
    """Over a row, each None if nobody asks for it: the divergence, and the means under p and q of what is moved."""

    value: Array
    p_mean: Any
    q_mean: Any


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _sums(mixed: bool, axis: int, wanted: tuple[bool, bool], *arrays: Any) -> _Sums:
    def sums(x: Array, y: Array, beta: Array, *tops: Array, function: Any) -> tuple[Array, ...]:
        elements = functools.partial(elements_of, mixed, axis, beta=beta, tops=PairSums(*tops))
        of, alone = elements(x, y), elements(third_copy(x), third_copy(y))
        if all(wanted):
            return function((of.terms, of.p * of.p_moved), (alone.q * alone.q_moved,), axis)
        means = of.p * of.p_moved, of.q * of.q_moved
        return function((of.terms, *itertools.compress(means, wanted)), (), axis)

    each, together = (functools.partial(sums, function=function) for function in (_sum_each, sum_with_common_terms))
    found = iter(by_platform(*arrays, cpu=each, elsewhere=together))
    return _Sums(next(found), *(next(found) if want else None for want in wanted))


def _sum_each(some: Sequence[Array], others: Sequence[Array], axis: int) -> tuple[Array, ...]:
    return tuple(jnp.sum(part, axis) for part in (*some, *others))


@_sums.defjvp
def _sums_jvp(mixed: bool, axis: int, wanted: tuple[bool, bool], primals: Any, tangents: Any) -> tuple[_Sums, _Sums]:
    """Of the means: the value is differentiated as a whole."""

    def means(x: Array, y: Array, beta: Array, *tops: Array) -> Any:
        of = elements_of(mixed, axis, x, y, beta, PairSums(*tops))
        both = jnp.sum(of.p * of.p_moved, axis), jnp.sum(of.q * of.q_moved, axis)
        return tuple(mean if want else None for mean, want in zip(both, wanted, strict=True))

    found = _sums(mixed, axis, wanted, *primals)
    return found, _Sums(jnp.zeros_like(found.value), *jax.jvp(means, primals, tangents)[1])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _with_value(mixed: bool, axis: int, value: Array, *arrays: Array) -> Array:
    """The divergence, whose value is known already, to be differentiated as it is."""
    del mixed, axis, arrays
    return value


@_with_value.defjvp
def _with_value_jvp(mixed: bool, axis: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    return primals[0], jax.jvp(functools.partial(_divergence, mixed, axis), primals[1:], tangents[1:])[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _divergence(mixed: bool, axis: int, x: Array, y: Array, beta: Array) -> Array:
    return _sums(mixed, axis, (False, False), x, y, beta, *pair_sums(x, y, axis)).value


def _divergence_jvp(mixed: bool, axis: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, y, beta = primals
    to_x, to_y, to_beta = (not isinstance(tangent, SymbolicZero) for tangent in tangents)
    to_beta &= mixed
    tops = pair_sums(x, y, axis)
    sums = _sums(mixed, axis, (to_x or to_beta, (to_y or to_beta) and mixed), x, y, beta, *tops)
    value = _with_value(mixed, axis, sums.value, x, y, beta)
    p_mean, q_mean = (0.0 if mean is None else jnp.expand_dims(mean, axis) for mean in (sums.p_mean, sums.q_mean))
    slopes = slopes_of(
        mixed, beta, elements_of(mixed, axis, prevent_cse(x), prevent_cse(y), beta, tops), p_mean, q_mean
    )
    tangent = jnp.zeros_like(value)
    for moves, slope, dot in zip((to_x, to_y), slopes, tangents[:2], strict=True):
        if moves:
            tangent += jnp.sum(slope * dot, axis)
    if to_beta:
        p_top, q_top = _where_largest(mixed, beta, tops)
        tangent += ((sums.q_mean - q_top) - (sums.p_mean - p_top)) * tangents[2]
    return value, tangent


_divergence.defjvp(_divergence_jvp, symbolic_zeros=True)
