"""The cross-entropy of class indices, with what its options add: class weights, label smoothing, z-loss."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.labels import is_class, take_per_class
from jaxloss._numerics.logistic import softplus
from jaxloss._numerics.safe import nan_unless, safe_multiply
from jaxloss._numerics.shards import Shard
from jaxloss._numerics.softmax import log_softmax, negative_log_likelihood, soft_cross_entropy
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

    def uniform() -> Array:
        if axis_name is not None:  # As the loss of a target of its own: the backward pass then needs no collective.
            share = 1.0 if weight is None else along(axis, weight, logits.ndim)
            # Made of the logits, so that it lies where they lie on an explicit mesh.
            even = jnp.zeros_like(logits) + share / Shard(logits.shape[axis], axis_name).total
            return soft_cross_entropy(logits, even, axis, axis_name)
        losses = -log_softmax(logits, axis)
        losses = losses if weight is None else safe_multiply(along(axis, weight, logits.ndim), losses)
        return losses.mean(axis) if not padded else losses.sum(axis) / (logits.shape[axis] - padded)

    log_normaliser = functools.partial(jax.nn.logsumexp, logits, axis)
    losses = negative_log_likelihood(logits, target, axis, axis_name)
    return _add_options(losses, uniform, log_normaliser, target, weight, smoothing, z_loss, axis_name)


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

    def uniform() -> Array:
        mean = 1.0 if weight is None else shard.sum(weight.sum()) / classes
        return log_normaliser * mean - weighted / classes

    losses = softplus(log_others - own)
    return _add_options(losses, uniform, lambda: log_normaliser, target, weight, smoothing, z_loss, shard.axis_name)


def _add_options(
    losses: Array,
    uniform: Callable[[], Array],
    log_normaliser: Callable[[], Array],
    target: Array,
    weight: Array | None,
    smoothing: Array | float,
    z_loss: Array | float,
    axis_name: AxisName | None = None,
) -> Array:
    if weight is not None and not all_zero(smoothing, z_loss):
        losses = safe_multiply(take_per_class(weight, target, axis_name), losses)
    if not all_zero(smoothing):
        # The smoothing counts with the weights of all classes, those of a label of weight 0 too. Neither part counts
        # where its coefficient is 0, be it infinite.
        kept = 1 - jnp.asarray(smoothing, losses.dtype)
        losses = safe_multiply(kept, losses) + safe_multiply(smoothing, uniform())
    if not all_zero(z_loss):
        losses = losses + z_loss * log_normaliser() ** 2
    return losses
