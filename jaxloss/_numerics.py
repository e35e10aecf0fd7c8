"""Stable pieces that more than one loss uses."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


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


def take_class(per_class: Array, index: Array) -> Array:
    """per_class[index], without a gather, which an explicitly sharded index would refuse; NaN out of range."""
    chosen = one_hot(index, per_class.shape[0], -1)
    return jnp.sum(jnp.where(chosen, per_class, 0.0), -1) * nan_unless((index >= 0) & (index < per_class.shape[0]))


def weigh(weight: ArrayLike, value: Array) -> Array:
    """weight * value, where a weight of zero silences an infinite or undefined value."""
    return jnp.where((weight == 0) & ~jnp.isfinite(value), 0.0, value) * weight


def bce_of_logits(logits: Array, target: Array, pos_weight: ArrayLike | None = None) -> Array:
    """-(p y log sigmoid(x) + (1 - y) log(1 - sigmoid(x))); an infinite logit on the right side costs 0."""
    positive = target if pos_weight is None else target * pos_weight
    return weigh(positive, jax.nn.softplus(-logits)) + weigh(1 - target, jax.nn.softplus(logits))


def divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, where a denominator of zero gives 0 and gradient 0."""
    empty = denominator == 0
    return jnp.where(empty, 0.0, numerator / jnp.where(empty, 1.0, denominator))


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


def logit_margin(logits: Array, index: Array, axis: int) -> Array:
    """z = x_y - log sum_{j != y} exp(x_j): the logit of class y against all others, log p_y = log sigmoid(z).

    Neither p_y nor 1 - p_y is formed by a subtraction, so both keep their digits. An index out of range is NaN, in
    value and in gradient.
    """
    chosen = one_hot(index, logits.shape[axis], axis)
    others = jnp.where(chosen, -jnp.inf, logits)
    largest = jax.lax.stop_gradient(others.max(axis))
    largest = jnp.where(largest == -jnp.inf, 0.0, largest)
    total = jnp.sum(jnp.exp(others - jnp.expand_dims(largest, axis)), axis)
    alone = total == 0
    log_total = jnp.where(alone, -jnp.inf, jnp.log(jnp.where(alone, 1.0, total)))
    own = jnp.sum(jnp.where(chosen, logits, 0.0), axis)
    return ((own - largest) - log_total) * nan_unless((index >= 0) & (index < logits.shape[axis]))


def nan_unless(holds: Array) -> Array:
    """A factor: NaN spreads to the value and, unlike a NaN put in its place, to the gradient."""
    return jnp.where(holds, 1.0, jnp.nan)


def norm(vectors: Array, p: ArrayLike) -> Array:
    """The p-norm over the last axis; its gradient at zero is 0. Scaled, so that no power overflows or underflows."""
    size = jnp.abs(vectors)
    if isinstance(p, int | float) and p == 1:
        return size.sum(-1)
    if isinstance(p, int | float) and p == float("inf"):
        return size.max(-1, initial=0.0)
    largest = jax.lax.stop_gradient(size.max(-1, keepdims=True, initial=0.0))
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    if isinstance(p, int | float) and p == 2:
        powers = jnp.square(vectors / scale)
    else:
        zero = size == 0
        powers = jnp.where(zero, 0.0, jnp.where(zero, 1.0, size / scale) ** p)
    total = powers.sum(-1)
    at_zero = total == 0
    return scale[..., 0] * jnp.where(at_zero, 0.0, jnp.where(at_zero, 1.0, total) ** (1 / p))
