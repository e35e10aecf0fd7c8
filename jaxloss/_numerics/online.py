"""Sums relative to the largest entry, in the one pass over memory that finds it: the online softmax and its like.

Each is a reduction of several numbers at once. Of two parts the one with the smaller largest entry is rescaled, so that
nothing overflows (M. Milakov and N. Gimelshein, arXiv:1805.02867).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.labels import one_hot, take_label_unchecked
from jaxloss._numerics.safe import safe_divide
from jaxloss._numerics.shards import Shard
from jaxloss._numerics.xla import KEEPS_DERIVATIVES_IN_LOOPS, by_platform, prevent_cse


def sum_together(parts: Sequence[Array], axis: int) -> Any:
    """The sums of several arrays in one pass: in several, XLA would store what the arrays have in common."""
    return _reduce(lambda one, other: tuple(map(jnp.add, one, other)), tuple(parts), (0.0,) * len(parts), axis)


def sum_with_common_terms(some: Sequence[Array], others: Sequence[Array], axis: int) -> tuple[Array, ...]:
    """The sums of one or two arrays that have much in common, and of others, in one pass.

    Two are the parts of complex numbers: XLA:GPU (jax 0.12) takes the operands of a reduction for strangers, and what
    they have in common for too dear to compute for each, so that it stores it. Held by
    `tests/properties/test_accelerators.py`.
    """
    pair = jax.lax.complex(*some) if len(some) == 2 else some[0]
    parts = pair, *others
    zeros = tuple(jnp.zeros((), part.dtype) for part in parts)
    found, *more = jax.lax.reduce(parts, zeros, lambda a, b: tuple(map(jnp.add, a, b)), (axis % pair.ndim,))
    return *((found.real, found.imag) if len(some) == 2 else (found,)), *more


class MarginSums(NamedTuple):
    """The largest logit of the classes but the label's, sum_{j != y} exp(x_j - largest), and the label's logit."""

    largest: Array
    others: Array
    own: Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def margin_sums(logits: Array, index: Array, axis: int, shard: Shard) -> MarginSums:
    """The largest and the sum are 0 where there are no others, or where all of them are -inf.

    The index is the one among the classes of this device.
    """
    is_label = one_hot(index, logits.shape[axis], axis)
    others = jnp.where(is_label, -jnp.inf, logits)
    own = jnp.where(is_label, logits, 0.0)
    largest, others, own = _reduce(_add_margin_sums, (others, _count(others), own), (-jnp.inf, 0.0, 0.0), axis)
    if shard.axis_name is not None:
        here, largest = largest, shard.largest(largest)
        others, own = shard.sums(others * _compare(here, largest)[1], own)
    return MarginSums(jnp.where(others == 0, 0.0, largest), jnp.where(largest < jnp.inf, others, jnp.nan), own)


def _add_margin_sums(one: Any, other: Any) -> Any:
    largest, ratio, first_is_larger = _compare(one[0], other[0])
    others = jnp.where(first_is_larger, one[1] + other[1] * ratio, one[1] * ratio + other[1])
    return largest, others, one[2] + other[2]


@margin_sums.defjvp
def _margin_sums_jvp(axis: int, shard: Shard, primals: Any, tangents: Any) -> tuple[MarginSums, MarginSums]:
    """With the largest held constant: in what is made of the sums its derivative cancels."""
    logits, index = primals
    sums = margin_sums(logits, index, axis, shard)
    is_label = one_hot(index, logits.shape[axis], axis)
    exponentials = jnp.exp(jnp.where(is_label, -jnp.inf, logits) - jnp.expand_dims(sums.largest, axis))
    others = jnp.sum(exponentials * tangents[0], axis)
    own = jnp.sum(jnp.where(is_label, tangents[0], 0.0), axis)
    return sums, MarginSums(jnp.zeros_like(sums.largest), *shard.sums(others, own))


class LargestOthers(NamedTuple):
    """The largest score of the classes but the label's, how many attain it, and the label's score."""

    largest: Array
    ties: Array
    own: Array


def largest_others(scores: Array, index: Array, axis: int) -> LargestOthers:
    """-inf and no ties where there are no others. On a CPU in passes of their own."""
    stored, online = (functools.partial(way, axis=axis) for way in (_stored_largest_others, _online_largest_others))
    return LargestOthers(*by_platform(scores, index, cpu=stored, elsewhere=online))


def _stored_largest_others(scores: Array, index: Array, axis: int) -> LargestOthers:
    own = take_label_unchecked(scores, index, axis)
    others = jnp.where(one_hot(index, scores.shape[axis], axis), -jnp.inf, scores)
    largest = others.max(axis, keepdims=True)
    ties = jnp.sum((others == largest) & (others > -jnp.inf), axis, dtype=own.dtype)
    return LargestOthers(jnp.squeeze(largest, axis), ties, own)


def _online_largest_others(scores: Array, index: Array, axis: int) -> LargestOthers:
    is_label = one_hot(index, scores.shape[axis], axis)
    others = jnp.where(is_label, -jnp.inf, scores)
    parts = others, (others > -jnp.inf).astype(scores.dtype), jnp.where(is_label, scores, 0.0)
    return LargestOthers(*_reduce(_add_largest_others, parts, (-jnp.inf, 0.0, 0.0), axis))


def _add_largest_others(one: Any, other: Any) -> Any:
    largest = jnp.maximum(one[0], other[0])
    ties = jnp.where(one[0] == largest, one[1], 0.0) + jnp.where(other[0] == largest, other[1], 0.0)
    return largest, ties, one[2] + other[2]


class SoftmaxSums(NamedTuple):
    """The largest logit x_k; sum_{j != k} exp(x_j - x_k), with digits of its own."""

    largest: Array
    excess: Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def softmax_sums(logits: Array, axis: int) -> SoftmaxSums:
    """NaN where there is no logit but -inf, or an infinite one."""
    largest, excess = _reduce(_add_softmax_sums, (logits, _count(logits) - 1), (-jnp.inf, -1.0), axis)
    return SoftmaxSums(largest, jnp.where(jnp.isfinite(largest), excess, jnp.nan))


def _add_softmax_sums(one: Any, other: Any) -> Any:
    largest, ratio, first_is_larger = _compare(one[0], other[0])
    excess = jnp.where(first_is_larger, one[1] + (1 + other[1]) * ratio, other[1] + (1 + one[1]) * ratio)
    return largest, excess


@softmax_sums.defjvp
def _softmax_sums_jvp(axis: int, primals: Any, tangents: Any) -> tuple[SoftmaxSums, SoftmaxSums]:
    """With the largest held constant, as above."""
    (logits,), (tangent,) = primals, tangents
    sums = softmax_sums(logits, axis)
    return sums, SoftmaxSums(jnp.zeros_like(sums.largest), _excess_tangent(sums.largest, logits, tangent, axis))


def _excess_tangent(largest: Array, logits: Array, tangent: Array, axis: int) -> Array:
    return jnp.sum(jnp.exp(logits - jnp.expand_dims(largest, axis)) * tangent, axis)


class LikelihoodSums(NamedTuple):
    """Those of the softmax; sum_i y_i, and sum_i y_i (x_k - x_i)."""

    largest: Array
    excess: Array
    labels: Array
    below: Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def likelihood_sums(logits: Array, target: Array, axis: int, shard: Shard) -> LikelihoodSums:
    """The derivative of the cross-entropy needs that of the excess alone: the others are held constant."""
    parts = (logits, _count(logits) - 1, target, jnp.zeros_like(logits))
    largest, excess, labels, below = _reduce(_add_likelihood_sums, parts, (-jnp.inf, -1.0, 0.0, 0.0), axis)
    if shard.axis_name is not None:
        here, largest = largest, shard.largest(largest)
        # How many devices have one that is the largest is a sum of its own: less 1 it takes no digits from the rest.
        is_largest = here == largest
        excess = jnp.where(is_largest, excess, (1 + excess) * _compare(here, largest)[1])
        below = _lowered(here, labels, below, largest)
        excess, tied, labels, below = shard.sums(excess, is_largest.astype(excess.dtype), labels, below)
        excess += tied - 1
    return LikelihoodSums(largest, jnp.where(jnp.isfinite(largest), excess, jnp.nan), labels, below)


@likelihood_sums.defjvp
def _likelihood_sums_jvp(axis: int, shard: Shard, primals: Any, tangents: Any) -> tuple[LikelihoodSums, LikelihoodSums]:
    sums = likelihood_sums(*primals, axis, shard)
    excess = shard.sum(_excess_tangent(sums.largest, primals[0], tangents[0], axis))
    constant = jnp.zeros_like(sums.largest)
    return sums, LikelihoodSums(constant, excess, constant, constant)


def _add_likelihood_sums(one: Any, other: Any) -> Any:
    largest, excess = _add_softmax_sums(one[:2], other[:2])
    lowered = [_lowered(part[0], part[2], part[3], largest) for part in (one, other)]
    return largest, excess, one[2] + other[2], lowered[0] + lowered[1]


def _lowered(largest_here: Array, labels: Array, below: Array, largest: Array) -> Array:
    """sum_i y_i (x_k - x_i) of a part, with x_k the largest of all."""
    distance = jnp.where(largest_here == largest, 0.0, largest - largest_here)
    return below + jnp.where(labels == 0, 0.0, distance) * labels


class PairSums(NamedTuple):
    """Of two arrays of logits the sums of the softmax of each, and the other's logit where each has its largest."""

    largest_x: Array
    excess_x: Array
    y_there: Array
    largest_y: Array
    excess_y: Array
    x_there: Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def pair_sums(x: Array, y: Array, axis: int) -> PairSums:
    """NaN as in `softmax_sums`. On a CPU in passes of their own."""
    return valid_pair_sums(part_of_pair_sums(x, y, axis))


def valid_pair_sums(sums: PairSums) -> PairSums:
    """NaN where there is no logit but -inf, or an infinite one."""
    excess_x = jnp.where(jnp.isfinite(sums.largest_x), sums.excess_x, jnp.nan)
    return sums._replace(excess_x=excess_x, excess_y=jnp.where(jnp.isfinite(sums.largest_y), sums.excess_y, jnp.nan))


def part_of_pair_sums(x: Array, y: Array, axis: int) -> PairSums:
    """Of some of the classes, to be added to others: they need not be possible."""
    stored, online = (functools.partial(way, axis=axis) for way in (_stored_pair_sums, _online_pair_sums))
    return PairSums(*by_platform(x, y, cpu=stored, elsewhere=online))


def _online_pair_sums(x: Array, y: Array, axis: int) -> PairSums:
    parts = (x, _count(x) - 1, y, y, _count(y) - 1, x)
    return PairSums(*_reduce(add_pair_sums, parts, NO_PAIR_SUMS, axis))


# Of no class.
NO_PAIR_SUMS = (-jnp.inf, -1.0, 0.0) * 2


def add_pair_sums(one: Any, other: Any) -> Any:
    sums: list[Any] = []
    for a, b in ((one[:3], other[:3]), (one[3:], other[3:])):
        sums += [*_add_softmax_sums(a[:2], b[:2]), jnp.where(a[0] >= b[0], a[2], b[2])]
    return tuple(sums)


def pair_sums_over(shard: Shard, sums: PairSums) -> PairSums:
    """Of the classes of all devices, in two collectives."""
    if shard.axis_name is None:
        return sums
    here = jnp.stack([sums.largest_x, sums.largest_y])
    largest = shard.largest(here)
    is_largest = here == largest
    excess, there = jnp.stack([sums.excess_x, sums.excess_y]), jnp.stack([sums.y_there, sums.x_there])
    excess = jnp.where(is_largest, excess, (1 + excess) * _compare(here, largest)[1])
    # As in `likelihood_sums`. Where several devices have the largest, one is as good as another.
    excess, tied = shard.sums(excess, is_largest.astype(excess.dtype))
    excess += tied - 1
    there = shard.largest(jnp.where(is_largest, there, -jnp.inf))
    return PairSums(largest[0], excess[0], there[0], largest[1], excess[1], there[1])


def _stored_pair_sums(x: Array, y: Array, axis: int) -> PairSums:
    sums: list[Array] = []
    for logits, others in ((x, y), (y, x)):
        place = jnp.argmax(logits, axis, keepdims=True)
        largest = jnp.take_along_axis(logits, place, axis)
        is_place = one_hot(jnp.squeeze(place, axis), logits.shape[axis], axis)
        excess = jnp.sum(jnp.where(is_place, 0.0, jnp.exp(logits - largest)), axis)
        there = jnp.squeeze(jnp.take_along_axis(others, place, axis), axis)
        largest = jnp.squeeze(largest, axis)
        sums += [largest, jnp.where(largest == -jnp.inf, -1.0, excess), there]
    return PairSums(*sums)


@pair_sums.defjvp
def _pair_sums_jvp(axis: int, primals: Any, tangents: Any) -> tuple[PairSums, PairSums]:
    """With the largest held constant, as above, and with the other's logit beside it, whose derivative cancels too."""
    sums = pair_sums(*primals, axis)
    excess_x = _excess_tangent(sums.largest_x, primals[0], tangents[0], axis)
    excess_y = _excess_tangent(sums.largest_y, primals[1], tangents[1], axis)
    constant = jnp.zeros_like(sums.largest_x)
    return sums, PairSums(constant, excess_x, constant, constant, excess_y, constant)


@jax.custom_jvp
def euclidean_distances(eps: Array, *points: Array) -> tuple[Array, ...]:
    """|x - y + eps| over the last axis, for several pairs x, y in one pass; the gradient at zero is 0."""
    parts = []
    for difference in _differences(eps, *points):
        parts += [jnp.abs(difference), (difference != 0).astype(difference.dtype)]
    sums = _reduce(_add_squares, tuple(parts), (0.0,) * len(parts), -1)
    return tuple(largest * jnp.sqrt(squares) for largest, squares in zip(sums[::2], sums[1::2], strict=True))


def _differences(eps: Array, *points: Array) -> list[Array]:
    return [x - y + eps for x, y in zip(points[::2], points[1::2], strict=True)]


def _add_squares(one: Any, other: Any) -> Any:
    """Pairs of the largest |x_i|, and of the sum of the squares by its square."""
    added = []
    for x, squares_x, y, squares_y in zip(one[::2], one[1::2], other[::2], other[1::2], strict=True):
        largest, smallest = jnp.maximum(x, y), jnp.minimum(x, y)
        ratio = jnp.square(jnp.where(largest == smallest, 1.0, smallest / _normal(largest)))
        added += [largest, jnp.where(x >= y, squares_x + squares_y * ratio, squares_x * ratio + squares_y)]
    return tuple(added)


@euclidean_distances.defjvp
def _euclidean_distances_jvp(primals: Any, tangents: Any) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """From the points again: a difference that value and gradient had in common would be stored."""
    distances = euclidean_distances(*primals)
    units = [
        safe_divide(difference, distance[..., None])
        for difference, distance in zip(_differences(*map(prevent_cse, primals)), distances, strict=True)
    ]
    return distances, tuple(jnp.sum(unit * dot, -1) for unit, dot in zip(units, _differences(*tangents), strict=True))


class Triangle(NamedTuple):
    """R of the QR decomposition of a matrix of two columns x, y: |x|, x . y / |x|, and the length of y across x."""

    length: Array
    along: Array
    across: Array


def triangle(x: Array, y: Array) -> Triangle:
    """Of vectors on the last axis. The angle keeps its digits where the vectors nearly agree (arXiv:0806.2159)."""
    return Triangle(*_reduce(add_rows, (x, y, jnp.zeros_like(x)), (0.0, 0.0, 0.0), -1))


def add_rows(one: Any, other: Any) -> Any:
    """The triangle of the rows of two: a rotation that leaves x no part in the second."""
    length = hypot(one[0], other[0])
    is_zero = length < jnp.finfo(length.dtype).tiny
    divisor = jnp.where(is_zero, 1.0, length)
    cosine, sine = jnp.where(is_zero, 1.0, one[0] / divisor), jnp.where(is_zero, 0.0, other[0] / divisor)
    across = hypot(hypot(one[2], other[2]), cosine * other[1] - sine * one[1])
    return length, cosine * one[1] + sine * other[1], across


def hypot(x: Array, y: Array) -> Array:
    """sqrt(x^2 + y^2), neither of which overflows or underflows."""
    x, y = jnp.abs(x), jnp.abs(y)
    largest, smallest = jnp.maximum(x, y), jnp.minimum(x, y)
    ratio = smallest / _normal(largest)
    return largest * jnp.sqrt(1 + ratio * ratio)


def _normal(divisor: Array) -> Array:
    """At least the smallest normal number: what is less, a machine may take for 0 where it divides, but not before."""
    return jnp.maximum(divisor, jnp.finfo(divisor.dtype).tiny)


def _count(logits: Array) -> Array:
    """exp(x - x) where that is a number: -inf adds nothing.

    Made of the logits, so that it lies where they lie on an explicit mesh: else a reduction refuses it.
    """
    return jnp.isfinite(logits).astype(logits.dtype)


def _compare(one: Array, other: Array) -> tuple[Array, Array, Array]:
    """The larger, exp of the smaller less the larger, and which it is. Of two infinities alike the ratio is 1."""
    distance = jnp.where(one == other, 0.0, jnp.abs(one - other))
    return jnp.maximum(one, other), jnp.exp(-distance), one >= other


def _reduce(combine: Callable[..., Any], parts: tuple[Array, ...], empty: tuple[float, ...], axis: int) -> Any:
    dtype = parts[0].dtype
    if not KEEPS_DERIVATIVES_IN_LOOPS:
        # The reduction is differentiated after all, and fails where a part has no tangent.
        zero = 0 * jnp.where(jnp.isfinite(parts[0]), parts[0], 0.0)
        parts = (parts[0], *(part + zero for part in parts[1:]))
    return jax.lax.reduce(parts, tuple(jnp.asarray(each, dtype) for each in empty), combine, (axis % parts[0].ndim,))
