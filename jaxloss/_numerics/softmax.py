"""The softmax over an axis and its cross-entropies, relative to the largest logit.

Where classes lie on `axis_name` of a mesh the devices add up a few numbers a row.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.labels import is_class, one_hot, take_label_unchecked, zero_label
from jaxloss._numerics.logistic import softplus
from jaxloss._numerics.online import MarginSums, likelihood_sums, margin_sums, softmax_sums
from jaxloss._numerics.safe import nan_unless, safe_multiply, stable_divide
from jaxloss._numerics.shards import Shard
from jaxloss._numerics.xla import between_divisions, by_platform, fuse_whole, in_order
from jaxloss._typing import AxisName


def softcapped(logits: Array, cap: ArrayLike) -> Array:
    """c tanh(x / c). From a cap of this power of two on it is x, to the last digit."""
    cap = jnp.minimum(cap, 2.0 ** (jnp.finfo(logits.dtype).maxexp // 2))
    return cap * jnp.tanh(logits / cap)


def tempered(logits: Array, temperature: ArrayLike) -> Array:
    """x / T"""
    is_one = isinstance(temperature, int | float) and temperature == 1
    return logits if is_one else _tempered(logits, jnp.asarray(temperature, logits.dtype))


def _slope_of_temperature(logits: Array, temperature: Array) -> Array:
    """-x / T^2, and 0 for an infinite logit, whose likelihood is 0 at every temperature."""
    finite = jnp.where(jnp.isinf(logits), 0.0, logits)
    return -stable_divide(between_divisions(stable_divide(finite, temperature)), temperature)


@with_derivatives(lambda logits, temperature: 1 / temperature, _slope_of_temperature)
def _tempered(logits: Array, temperature: Array) -> Array:
    return jnp.where(jnp.isinf(logits), logits, logits / temperature)


def negative_log_likelihood(logits: Array, index: Array, axis: int, axis_name: AxisName | None = None) -> Array:
    """-log softmax(x)_y as log(1 + exp(-z)), z the margin of class y; NaN for an index out of range."""
    return fuse_whole(softplus(-logit_margin(logits, index, axis, axis_name)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def logit_margin(logits: Array, index: Array, axis: int, axis_name: AxisName | None = None) -> Array:
    """z = x_y - log sum_{j != y} exp(x_j): the logit of class y against all others, log p_y = log sigmoid(z).

    Neither p_y nor 1 - p_y is formed by a subtraction, so both keep their digits. An index out of range is NaN.
    """
    return _margin_and_derivative(logits, index, axis, axis_name)[0]


@logit_margin.defjvp
def _logit_margin_jvp(axis, axis_name, primals, tangents):
    logits, index = primals
    margin, derivative = _margin_and_derivative(logits, index, axis, axis_name)
    return margin, Shard(logits.shape[axis], axis_name).sum(jnp.sum(derivative * tangents[0], axis))


def _margin_and_derivative(logits: Array, index: Array, axis: int, axis_name: AxisName | None) -> tuple[Array, Array]:
    """With one exponential an element on a CPU, whose buffer the gradient takes; elsewhere with nothing stored."""
    shard = Shard(logits.shape[axis], axis_name)
    local = shard.local(index)
    margin, others, total = by_platform(
        logits,
        local,
        cpu=functools.partial(_margin_and_exponentials, axis=axis, shard=shard),
        elsewhere=functools.partial(_online_margin_and_exponentials, axis=axis, shard=shard),
    )
    derivative = jnp.where(one_hot(local, shard.size, axis), 1.0, -stable_divide(others, total))
    return margin * nan_unless(is_class(index, shard.total)), derivative


def _margin_and_exponentials(logits: Array, index: Array, axis: int, shard: Shard) -> tuple[Array, Array, Array]:
    """z; and exp(x_j) for the other classes and their sum, up to a factor."""
    largest = shard.largest(logits.max(axis, keepdims=True))
    others = zero_label(jnp.exp(logits - largest), index, axis)
    own = shard.own(take_label_unchecked(logits, index, axis), index)
    own, total = shard.sums(jnp.expand_dims(own, axis), others.sum(axis, keepdims=True))
    own = jnp.where(own == jnp.inf, 0.0, own - largest)
    return _margin_of_sums(own, total, others, axis)


def _online_margin_and_exponentials(logits: Array, index: Array, axis: int, shard: Shard) -> tuple[Array, Array, Array]:
    """The same, but for the exponential of the label, which nobody reads."""
    sums = MarginSums(*(jnp.expand_dims(part, axis) for part in margin_sums(logits, index, axis, shard)))
    return _margin_of_sums(sums.own - sums.largest, sums.others, jnp.exp(logits - sums.largest), axis)


def _margin_of_sums(own: Array, total: Array, exponentials: Array, axis: int) -> tuple[Array, Array, Array]:
    alone = total == 0
    total = jnp.where(alone, 1.0, total)
    return jnp.squeeze(own - jnp.where(alone, -jnp.inf, jnp.log(total)), axis), exponentials, total


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def soft_cross_entropy(logits: Array, target: Array, axis: int, axis_name: AxisName | None = None) -> Array:
    """-sum_i y_i log softmax(x)_i: sum_i y_i log sum_j exp(x_j - x_k) - sum_i y_i (x_i - x_k), with x_k the largest."""
    return _soft_cross_entropy_and_exponentials(logits, target, axis, Shard(logits.shape[axis], axis_name))[0]


def _soft_cross_entropy_and_exponentials(
    logits: Array, target: Array, axis: int, shard: Shard
) -> tuple[Array, tuple[Array, ...]]:
    value, *exponentials = by_platform(
        logits,
        target,
        cpu=functools.partial(_stored_soft_cross_entropy, axis=axis, shard=shard),
        elsewhere=functools.partial(_online_soft_cross_entropy, axis=axis, shard=shard),
    )
    return value, tuple(exponentials)


def _stored_soft_cross_entropy(logits: Array, target: Array, axis: int, shard: Shard) -> tuple[Array, ...]:
    """Sums the likelihood first, so that its buffer can be reused for the exponentials."""
    largest = shard.largest(logits.max(axis, keepdims=True))
    likelihood = jnp.sum(fuse_whole(safe_multiply(target, jnp.minimum(logits - largest, 0.0))), axis)
    likelihood, largest = in_order(likelihood, largest)
    exponentials = _stored_exponentials(logits, axis, shard, largest)
    value = jnp.sum(target, axis) * jnp.log1p(jnp.squeeze(exponentials[-1], axis)) - likelihood
    return shard.sum(value), *exponentials


def _online_soft_cross_entropy(logits: Array, target: Array, axis: int, shard: Shard) -> tuple[Array, ...]:
    sums = likelihood_sums(logits, target, axis, shard)
    exponentials = _exponentials_of_sums(logits, sums.largest, sums.excess, axis)
    return sums.labels * jnp.log1p(sums.excess) + sums.below, *exponentials


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _with_value(value: Array, logits: Array, target: Array, axis: int, axis_name: AxisName | None) -> Array:
    """The soft cross-entropy, whose value is known already, to be differentiated as it is."""
    del logits, target, axis, axis_name
    return value


@_with_value.defjvp
def _with_value_jvp(axis, axis_name, primals, tangents):
    loss = functools.partial(soft_cross_entropy, axis=axis, axis_name=axis_name)
    return primals[0], jax.jvp(loss, primals[1:], tangents[1:])[1]


def _soft_cross_entropy_jvp(axis: int, axis_name: AxisName | None, primals: Any, tangents: Any) -> tuple[Array, Array]:
    logits, target = primals
    shard = Shard(logits.shape[axis], axis_name)
    value, (shifted, relative, total, excess) = _soft_cross_entropy_and_exponentials(logits, target, axis, shard)
    value = _with_value(value, logits, target, axis, axis_name)
    labels = shard.sum(jnp.sum(target, axis, keepdims=True))
    tangent = jnp.zeros_like(value)
    if not isinstance(tangents[0], SymbolicZero):
        # p - y; next to 1 from 1 - p, where 1 - exp(0) is for the second derivative.
        likeliest = (labels - target) - labels * ((excess + (1 - relative)) / total)
        derivative = jnp.where(relative == 1, likeliest, labels * (relative / total) - target)
        tangent += jnp.sum(derivative * tangents[0], axis)
    if not isinstance(tangents[1], SymbolicZero):
        surprisal = jnp.log1p(excess) - shifted
        silent = (target == 0) & ~jnp.isfinite(surprisal)
        tangent += jnp.sum(jnp.where(silent, 0.0, surprisal) * tangents[1], axis)
    return value, shard.sum(tangent)


soft_cross_entropy.defjvp(_soft_cross_entropy_jvp, symbolic_zeros=True)


def shifted_exponentials(logits: Array, axis: int) -> tuple[Array, Array, Array, Array]:
    """x_i - x_k, with x_k the largest; exp of that; the sum of these; and the sum less 1, with digits of its own."""
    return by_platform(
        logits,
        cpu=functools.partial(_stored_exponentials, axis=axis, shard=Shard(logits.shape[axis])),
        elsewhere=functools.partial(_online_exponentials, axis=axis),
    )


def _stored_exponentials(
    logits: Array, axis: int, shard: Shard, largest: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    if largest is None:
        largest = jax.lax.stop_gradient(logits.max(axis, keepdims=True))
    shifted = logits - fuse_whole(largest)
    shifted = jnp.where(shifted > 0, 0.0, shifted)  # XLA may compute a logit twice, and round it in two ways.
    relative = jnp.exp(shifted)
    total = relative.sum(axis, keepdims=True)
    others = jnp.sum(relative - jnp.floor(relative), axis, keepdims=True)
    total, others = shard.sums(total, others)
    return shifted, relative, total, jnp.maximum(others + (jnp.round(total - others) - 1), 0.0)


def _online_exponentials(logits: Array, axis: int) -> tuple[Array, Array, Array, Array]:
    largest, excess = softmax_sums(logits, axis)
    return _exponentials_of_sums(logits, largest, excess, axis)


def _exponentials_of_sums(logits: Array, largest: Array, excess: Array, axis: int) -> tuple[Array, Array, Array, Array]:
    largest, excess = jnp.expand_dims(largest, axis), jnp.expand_dims(excess, axis)
    shifted = logits - largest
    shifted = jnp.where(shifted > 0, 0.0, shifted)
    return shifted, jnp.exp(shifted), 1 + excess, excess


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def entropy(logits: Array, axis: int, axis_name: AxisName | None = None) -> Array:
    """log sum_j exp(x_j - x_k) + sum_j p_j (x_k - x_j), with x_k the largest: no term is negative, and none cancels."""
    return _entropy_and_derivative(logits, axis, Shard(logits.shape[axis], axis_name))[0]


@entropy.defjvp
def _entropy_jvp(axis, axis_name, primals, tangents):
    shard = Shard(primals[0].shape[axis], axis_name)
    value, derivative = _entropy_and_derivative(primals[0], axis, shard)
    return value, shard.sum(jnp.sum(derivative * tangents[0], axis))


def _entropy_and_derivative(logits: Array, axis: int, shard: Shard) -> tuple[Array, Array]:
    largest = shard.largest(logits.max(axis, keepdims=True))
    shifted, relative, total, excess = _stored_exponentials(logits, axis, shard, largest)
    shifted, p = jnp.where(relative == 0, 0.0, shifted), relative / total
    below = shard.sum(jnp.sum(p * -shifted, axis, keepdims=True))
    return jnp.squeeze(jnp.log1p(excess) + below, axis), -p * (shifted + below)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def log_softmax(logits: Array, axis: int) -> Array:
    """x_i - x_k - log(1 + sum_{j != k} exp(x_j - x_k)), with x_k the largest: next to 0 it keeps its digits."""
    shifted, _, _, excess = shifted_exponentials(logits, axis)
    return shifted - jnp.log1p(excess)


@log_softmax.defjvp
def _log_softmax_jvp(axis, primals, tangents):
    """Relative to a logit with p > 1/2, whose derivative is then the sum of the others' and no difference next to 1."""
    (logits,), (tangent,) = primals, tangents
    log_p = log_softmax(logits, axis)
    p = jnp.exp(log_p)
    moved = tangent - jnp.sum(jnp.where(p > 0.5, tangent, 0.0), axis, keepdims=True)
    return log_p, moved - jnp.sum(p * moved, axis, keepdims=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def softmax_and_rest(logits: Array, axis: int) -> tuple[Array, Array]:
    """p and 1 - p, neither of which is lost next to the other."""
    _, relative, total, excess = shifted_exponentials(logits, axis)
    # The largest has 1 - p as the sum of the others; what is less has p of at most 1/2.
    return relative / total, jnp.where(relative == 1, excess, total - relative) / total


@softmax_and_rest.defjvp
def _softmax_and_rest_jvp(axis, primals, tangents):
    """Relative to a logit with p > 1/2, as above."""
    (logits,), (tangent,) = primals, tangents
    p, rest = softmax_and_rest(logits, axis)
    moved = tangent - jnp.sum(jnp.where(p > 0.5, tangent, 0.0), axis, keepdims=True)
    tangent = p * (moved - jnp.sum(p * moved, axis, keepdims=True))
    return (p, rest), (tangent, -tangent)
