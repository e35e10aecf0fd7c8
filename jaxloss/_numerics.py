"""Stable pieces that more than one loss uses."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike


def with_slopes(*slopes: Callable[..., ArrayLike] | None) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """An elementwise function with a hand-written derivative for each argument, None where no gradient flows.

    The value and each slope is one expression of the inputs: one pass over memory, and nothing kept between them.
    """

    def wrap(value: Callable[..., Array]) -> Callable[..., Array]:
        function = jax.custom_jvp(value)

        def jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
            # What value and slope had in common would be stored.
            apart = [_apart(x) if isinstance(x, Array) else x for x in primals]
            result = function(*primals)
            terms = [
                slope(*apart) * tangent.astype(result.dtype)
                for slope, tangent in zip(slopes, tangents, strict=True)
                if slope and not isinstance(tangent, SymbolicZero)
            ]
            return result, functools.reduce(operator.add, terms, jnp.zeros_like(result))

        function.defjvp(jvp, symbolic_zeros=True)
        return functools.wraps(value)(function)

    return wrap


def _apart(x: Array) -> Array:
    """For XLA another number: by a select, as behind a barrier an array would be stored itself.

    A scalar stays behind one: else the gradient, which it scales, comes before the values and leaves them no room.
    """
    return in_one_piece(x) if x.ndim else jax.lax.optimization_barrier(x)


@jax.custom_jvp
def in_one_piece(values: Array) -> Array:
    """The values, by a select: else XLA on CPU gives their last part to a reduction and stores what comes before."""
    return jnp.where(jnp.isnan(values), jnp.nan, values)


in_one_piece.defjvp(lambda primals, tangents: (in_one_piece(*primals), *tangents))


def fill_hidden(where: Array | None, value: ArrayLike, *arrays: Array) -> tuple[Array, ...]:
    """What the mask hides becomes `value` before the formula sees it: garbage reaches no value and no gradient."""
    if where is None:
        return arrays
    return tuple(jnp.where(where, array, jnp.asarray(value, array.dtype)) for array in arrays)


def expand(axis: int, where: Array | None) -> Array | None:
    """A mask of rows as a mask of their elements."""
    return None if where is None else jnp.expand_dims(where, axis)


def one_hot(index: Array, classes: int, axis: int) -> Array:
    """Booleans, True at the class `index` on a new axis; nowhere if it is out of range."""
    index = jnp.expand_dims(index, axis)
    axis %= index.ndim
    shape = (*index.shape[:axis], classes, *index.shape[axis + 1 :])
    return jax.lax.broadcasted_iota(index.dtype, shape, axis) == index


def is_class(index: Array, classes: int) -> Array:
    """Whether an index names a class."""
    return (index >= 0) & (index < classes)


def take_class(per_class: Array, index: Array) -> Array:
    """per_class[index], without a gather, which an explicitly sharded index would refuse; NaN out of range."""
    chosen = one_hot(index, per_class.shape[0], -1)
    per_class = jnp.expand_dims(per_class, range(index.ndim))
    return jnp.sum(jnp.where(chosen, per_class, 0.0), -1) * nan_unless(is_class(index, per_class.shape[-1]))


def weigh(weight: ArrayLike, value: Array) -> Array:
    """weight * value, where a weight of zero silences an infinite or undefined value."""
    return jnp.where((weight == 0) & ~jnp.isfinite(value), 0.0, value) * weight


@with_slopes(jax.nn.sigmoid)
def softplus(x: Array) -> Array:
    """log(1 + exp(x))"""
    return jax.nn.relu(x) + _tail(x)


def _tail(logits: Array) -> Array:
    return log1p_of_part(odds(logits))


def log1p_of_part(part: Array) -> Array:
    """log(1 + x) for x in [0, 1], to float32's last places by 2 artanh(x / (2 + x)): most of the time goes here."""
    if part.dtype != jnp.float32:
        return jnp.log1p(part)
    twice = part * (1 / (1 + 0.5 * part))
    square = twice * twice
    series = 0.083332903 + square * (0.012507686 + square * (0.0021847780 + square * 0.00054995660))
    return twice + twice * (square * series)


def odds(logits: Array) -> Array:
    """exp(-|x|): of the less likely side."""
    return jnp.exp(-_size(logits))


def penalty(logits: Array, target: Array, positive: ArrayLike = 1.0) -> Array:
    """|x| as far as the target is on the less likely side, which an infinite logit on the right side is not."""
    return weigh(wrong_side(logits, target, positive), _size(logits))


def miss(logits: Array, target: Array) -> Array:
    """y (1 - sigmoid(x)) + (1 - y) sigmoid(x), of which neither part is lost next to 1."""
    wrong, less = wrong_side(logits, target), odds(logits)
    return (wrong + (1 - wrong) * less) * (1 / (1 + less))


def wrong_side(logits: Array, target: Array, positive: ArrayLike = 1.0) -> Array:
    return jnp.where(logits > 0, 1 - target, positive * target)


def _size(logits: Array) -> Array:
    """|x|. The derivative of the absolute value at 0 would be 0."""
    return jnp.where(logits > 0, logits, -logits)


def bce_slope(logits: Array, target: Array, positive: ArrayLike = 1.0) -> Array:
    """(1 - y) sigmoid(x) - p y sigmoid(-x), where neither side is lost next to 1."""
    up, down, less = 1 - target, positive * target, odds(logits)
    return jnp.where(logits > 0, up - less * down, less * up - down) / (1 + less)


@with_slopes(bce_slope, lambda logits, target: -logits)
def bce_of_logits(logits: Array, target: Array) -> Array:
    """-(y log sigmoid(x) + (1 - y) log(1 - sigmoid(x))); an infinite logit on the right side costs 0."""
    return penalty(logits, target) + _tail(logits)


@with_slopes(
    bce_slope,
    lambda logits, target, positive: positive * softplus(-logits) - softplus(logits),
    lambda logits, target, positive: weigh(target, softplus(-logits)),
)
def weighted_bce_of_logits(logits: Array, target: Array, positive: Array) -> Array:
    """-(p y log sigmoid(x) + (1 - y) log(1 - sigmoid(x)))"""
    return penalty(logits, target, positive) + (1 - target + positive * target) * _tail(logits)


@with_slopes(lambda numerator, denominator: 1 / denominator, lambda *both: _slope_of_denominator(*both))
def quotient(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator. JAX's derivative squares the denominator, which overflows long before the slope does."""
    return numerator / denominator


def _slope_of_denominator(numerator: Array, denominator: Array) -> Array:
    # Not by two divisions in a row, of which XLA would make the square again.
    return -quotient(in_one_piece(quotient(numerator, denominator)), denominator)


def divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, where a denominator of zero gives 0 and gradient 0."""
    empty = denominator == 0
    return jnp.where(empty, 0.0, quotient(numerator, jnp.where(empty, 1.0, denominator)))


@jax.custom_jvp
def power(base: Array, log_base: Array, exponent: ArrayLike) -> Array:
    """base ** exponent for base >= 0, differentiated through log_base: smooth to every order where base underflows."""
    del log_base
    return base**exponent


@power.defjvp
def _power_jvp(primals, tangents):
    base, log_base, exponent = primals
    _, log_base_dot, exponent_dot = tangents
    result = power(base, log_base, exponent)
    finite_log = jnp.maximum(log_base, jnp.finfo(base.dtype).min)
    return result, result * (exponent * log_base_dot + finite_log * exponent_dot)


def negative_log_softmax(logits: Array, index: Array, axis: int) -> Array:
    """-log softmax(x)_y as log(1 + exp(-z)), z the margin of class y; NaN for an index out of range."""
    return in_one_piece(softplus(-logit_margin(logits, index, axis)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def logit_margin(logits: Array, index: Array, axis: int) -> Array:
    """z = x_y - log sum_{j != y} exp(x_j): the logit of class y against all others, log p_y = log sigmoid(z).

    Neither p_y nor 1 - p_y is formed by a subtraction, so both keep their digits. An index out of range is NaN. One
    exponential an element, which the slope turns into the gradient in the place where it stands.
    """
    return _margin_and_others(logits, index, axis)[0]


@logit_margin.defjvp
def _logit_margin_jvp(axis, primals, tangents):
    logits, index = primals
    margin, others, total = _margin_and_others(logits, index, axis)
    slope = jnp.where(one_hot(index, logits.shape[axis], axis), 1.0, -quotient(others, total))
    return margin, jnp.sum(slope * tangents[0], axis)


def _margin_and_others(logits: Array, index: Array, axis: int) -> tuple[Array, Array, Array]:
    """z; and exp(x_j) for the other classes and the sum of these, up to a factor."""
    largest = jax.lax.stop_gradient(logits.max(axis, keepdims=True))
    others = _clear(jnp.exp(logits - largest), index, axis)
    total = others.sum(axis, keepdims=True)
    alone = total == 0
    total = jnp.where(alone, 1.0, total)
    own = jnp.expand_dims(unchecked_entry(logits, index, axis), axis)
    own = jnp.where(own == jnp.inf, 0.0, own - largest)
    margin = jnp.squeeze(own - jnp.where(alone, -jnp.inf, jnp.log(total)), axis)
    return margin * nan_unless(is_class(index, logits.shape[axis])), others, total


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def entry(values: Array, index: Array, axis: int) -> Array:
    """The entry of each row at `index`; out of range it is NaN, and so is the slope of the whole row."""
    return unchecked_entry(values, index, axis) * nan_unless(is_class(index, values.shape[axis]))


@entry.defjvp
def _entry_jvp(axis, primals, tangents):
    values, index = primals
    valid = jnp.expand_dims(is_class(index, values.shape[axis]), axis)
    slope = jnp.where(one_hot(index, values.shape[axis], axis) | ~valid, nan_unless(valid), 0.0)
    return entry(values, index, axis), jnp.sum(slope.astype(values.dtype) * tangents[0], axis)


def unchecked_entry(values: Array, index: Array, axis: int) -> Array:
    """The entry of each row at `index`, and if that is out of range, any."""
    if is_explicitly_sharded(values):
        return jnp.sum(jnp.where(one_hot(index, values.shape[axis], axis), values, 0.0), axis)
    return _by_rows(lambda row, place: row.at[place].get(mode="clip"), values, index, axis, False)


def _clear(values: Array, index: Array, axis: int) -> Array:
    """0 at the entry `index` of each row."""
    if is_explicitly_sharded(values):
        return jnp.where(one_hot(index, values.shape[axis], axis), 0.0, values)
    return _by_rows(lambda row, place: row.at[place].set(0.0), values, index, axis, True)


def _by_rows(
    function: Callable[[Array, Array], Array], values: Array, index: Array, axis: int, keeps_axis: bool
) -> Array:
    """function(row, place) of all rows, by vmap, which leaves them where a mesh has them."""
    for batch_axis in reversed(range(index.ndim)):
        position = int(batch_axis >= axis % values.ndim)
        function = jax.vmap(function, (position, 0), position if keeps_axis else 0)
    return function(values, index)


def is_explicitly_sharded(array: Array) -> bool:
    """There a gather and a scatter may have no sharding that JAX could tell; masks do, in more time."""
    return any(axis is not None for axis in jax.typeof(array).sharding.spec)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def soft_cross_entropy(logits: Array, target: Array, axis: int) -> Array:
    """-sum_i y_i log softmax(x)_i: sum_i y_i log sum_j exp(x_j - x_k) - sum_i y_i (x_i - x_k), with x_k the largest."""
    return _soft_cross_entropy_and_partition(logits, target, axis)[0]


def _soft_cross_entropy_and_partition(logits: Array, target: Array, axis: int) -> tuple[Array, tuple[Array, ...]]:
    """One sum after the other, so that what the one is of leaves its place to what the other is of."""
    largest = jax.lax.stop_gradient(logits.max(axis, keepdims=True))
    likelihood = jnp.sum(in_one_piece(weigh(target, jnp.minimum(logits - largest, 0.0))), axis)
    likelihood, largest = jax.lax.optimization_barrier((likelihood, largest))
    parts = partition(logits, axis, largest)
    return jnp.sum(target, axis) * jnp.log1p(jnp.squeeze(parts[-1], axis)) - likelihood, parts


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _known(value: Array, logits: Array, target: Array, axis: int) -> Array:
    """The loss that was computed already, to be differentiated as the loss."""
    del logits, target, axis
    return value


@_known.defjvp
def _known_jvp(axis, primals, tangents):
    loss = functools.partial(soft_cross_entropy, axis=axis)
    return primals[0], jax.jvp(loss, primals[1:], tangents[1:])[1]


def _soft_cross_entropy_jvp(axis: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    logits, target = primals
    value, (shifted, relative, total, excess) = _soft_cross_entropy_and_partition(logits, target, axis)
    value = _known(value, logits, target, axis)
    labels = jnp.sum(target, axis, keepdims=True)
    tangent = jnp.zeros_like(value)
    if not isinstance(tangents[0], SymbolicZero):
        # p - y; next to 1 from 1 - p, where 1 - exp(0) is for the second derivative.
        likeliest = (labels - target) - labels * ((excess + (1 - relative)) / total)
        slope = jnp.where(relative == 1, likeliest, labels * (relative / total) - target)
        tangent += jnp.sum(slope * tangents[0], axis)
    if not isinstance(tangents[1], SymbolicZero):
        surprisal = jnp.log1p(excess) - shifted
        silent = (target == 0) & ~jnp.isfinite(surprisal)
        tangent += jnp.sum(jnp.where(silent, 0.0, surprisal) * tangents[1], axis)
    return value, tangent


soft_cross_entropy.defjvp(_soft_cross_entropy_jvp, symbolic_zeros=True)


def partition(logits: Array, axis: int, largest: Array | None = None) -> tuple[Array, Array, Array, Array]:
    """x_i - x_k, with x_k the largest, and its exponential; the sum of these, and this less 1, with its own digits."""
    if largest is None:
        largest = jax.lax.stop_gradient(logits.max(axis, keepdims=True))
    shifted = logits - in_one_piece(largest)
    shifted = jnp.where(shifted > 0, 0.0, shifted)  # XLA may compute a logit twice, and round it in two ways.
    relative = jnp.exp(shifted)
    total = relative.sum(axis, keepdims=True)
    others = jnp.sum(relative - jnp.floor(relative), axis, keepdims=True)
    return shifted, relative, total, jnp.maximum(others + (jnp.round(total - others) - 1), 0.0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def log_softmax(logits: Array, axis: int) -> Array:
    """x_i - x_k - log(1 + sum_{j != k} exp(x_j - x_k)), with x_k the largest: next to 0 it keeps its digits."""
    shifted, _, _, excess = partition(logits, axis)
    return shifted - jnp.log1p(excess)


@log_softmax.defjvp
def _log_softmax_jvp(axis, primals, tangents):
    """Relative to a logit with p > 1/2, so that its slope is the sum of the others', not a difference next to 1."""
    (logits,), (tangent,) = primals, tangents
    log_p = log_softmax(logits, axis)
    p = jnp.exp(log_p)
    moved = tangent - jnp.sum(jnp.where(p > 0.5, tangent, 0.0), axis, keepdims=True)
    return log_p, moved - jnp.sum(p * moved, axis, keepdims=True)


def nan_unless(holds: Array) -> Array:
    """A factor: NaN spreads to the value and, unlike a NaN put in its place, to the gradient."""
    return jnp.where(holds, 1.0, jnp.nan)


def magnitude(vectors: Array, least: float = 0.0) -> Array:
    """The largest |x_i|, to scale by, so that no power overflows or underflows; as far as it has a reciprocal."""
    smallest = 4 * float(jnp.finfo(vectors.dtype).tiny)
    largest = jax.lax.stop_gradient(jnp.abs(vectors).max(-1, keepdims=True, initial=max(least, smallest)))
    return jnp.minimum(largest, 1 / smallest)


def norm(vectors: Array, p: ArrayLike) -> Array:
    """The p-norm over the last axis; its gradient at zero is 0."""
    if isinstance(p, int | float) and p == 1:
        return jnp.abs(vectors).sum(-1)
    if isinstance(p, int | float) and p == float("inf"):
        return jnp.abs(vectors).max(-1, initial=0.0)
    return _norm(vectors, p)


@jax.custom_jvp
def _norm(vectors: Array, p: ArrayLike) -> Array:
    scale = magnitude(vectors)
    return scale[..., 0] * _power(jnp.abs(vectors * (1 / scale)), p).sum(-1) ** (1 / p)


def _norm_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """With r = |v| / ||v||, the slopes are sign(v) r^(p - 1) and ||v|| / p sum_i r_i^p log r_i."""
    vectors, p = primals
    result = _norm(vectors, p)
    part = jnp.abs(divide(vectors, result[..., None]))
    tangent = jnp.zeros_like(result)
    if not isinstance(tangents[0], SymbolicZero):
        tangent += jnp.sum(jnp.sign(vectors) * _power(part, p - 1) * tangents[0], -1)
    if not isinstance(tangents[1], SymbolicZero):
        log_part = jnp.log(jnp.where(part == 0, 1.0, part))
        tangent += result / p * jnp.sum(_power(part, p) * log_part, -1) * tangents[1]
    return result, tangent


_norm.defjvp(_norm_jvp, symbolic_zeros=True)


def _power(base: Array, exponent: ArrayLike) -> Array:
    """base ** exponent for base >= 0, and 0 with gradient 0 where base is 0."""
    if isinstance(exponent, int | float) and exponent in (1, 2):
        return base**exponent
    zero = base == 0
    return jnp.where(zero, 0.0, jnp.where(zero, 1.0, base) ** exponent)
