"""The cross-entropy of class indices, with what its options add: class weights, label smoothing, z-loss."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.labels import is_class, one_hot, take_per_class
from jaxloss._numerics.logistic import softplus
from jaxloss._numerics.safe import nan_unless, safe_multiply
from jaxloss._numerics.shards import Shard
from jaxloss._numerics.softmax import negative_log_likelihood, soft_cross_entropy
from jaxloss._typing import AxisName


def all_zero(*options: Any) -> bool:
    """Python zeros, which are known while tracing and cost no pass."""
    return all(isinstance(option, int | float) and option == 0 for option in options)


def along(axis: int, per_class: Array, ndim: int) -> Array:
    """One number a class, to be broadcast along the class axis."""
    return jnp.expand_dims(per_class, [other for other in range(ndim) if other != axis])


def label_losses(
    logits: Array,
    target: Array,
    axis: int,
    weight: Array | None,
    smoothing: Array | float,
    z_loss: Array | float = 0.0,
    axis_name: AxisName | None = None,
    padded: int = 0,
) -> Array:
    """Unreduced; the weight of the label is in it where something is added that does not count with that weight.

    Classes may lie on `axis_name` where there is no z-loss. The last ones may be padding, of weight 0, with logits of
    -inf.
    """
    if all_zero(smoothing):
        losses = negative_log_likelihood(logits, target, axis, axis_name)
        if weight is not None and not all_zero(z_loss):
            losses = safe_multiply(take_per_class(weight, target, axis_name), losses)
    else:
        classes = Shard(logits.shape[axis], axis_name).total - padded
        shares = _smoothed(logits, target, axis, weight, smoothing, axis_name, classes)
        losses = soft_cross_entropy(logits, shares, axis, axis_name) * nan_unless(is_class(target, classes))
    return losses if all_zero(z_loss) else losses + z_loss * jax.nn.logsumexp(logits, axis) ** 2


def _smoothed(
    logits: Array,
    target: Array,
    axis: int,
    weight: Array | None,
    smoothing: Array | float,
    axis_name: AxisName | None,
    classes: int,
) -> Array:
    """What part of the target each class has, times its weight: elementwise, so that XLA need not store it."""
    shard, smoothing = Shard(logits.shape[axis], axis_name), jnp.asarray(smoothing, logits.dtype)
    # Made of the logits, so that it lies where these lie on an explicit mesh.
    even = jnp.zeros_like(logits) + smoothing / classes
    shares = jnp.where(one_hot(shard.local(target), shard.size, axis), even + (1 - smoothing), even)
    return shares if weight is None else shares * along(axis, weight, logits.ndim)


def label_losses_of_sums(
    sums: tuple[Array, Array, Array],
    target: Array,
    shard: Shard,
    weight: Array | None,
    smoothing: Array | float,
    z_loss: Array | float,
    padded: int = 0,
) -> Array:
    """The same, from the logit of the label, log sum exp of the others, and the weighted sum of all."""
    own, log_others, weighted = sums
    classes = shard.total - padded
    own = own * nan_unless(is_class(target, classes))
    log_normaliser = jnp.logaddexp(own, log_others)

    losses = softplus(log_others - own)
    if weight is not None and not all_zero(smoothing, z_loss):
        losses = safe_multiply(take_per_class(weight, target, shard.axis_name), losses)
    if not all_zero(smoothing):
        # The smoothing counts with the weights of all classes, those of a label of weight 0 too. Neither part counts
        # where its coefficient is 0, be it infinite.
        mean = 1.0 if weight is None else shard.sum(weight.sum()) / classes
        uniform = log_normaliser * mean - weighted / classes
        losses = safe_multiply(1 - jnp.asarray(smoothing, losses.dtype), losses) + safe_multiply(smoothing, uniform)
    return losses if all_zero(z_loss) else losses + z_loss * log_normaliser**2
