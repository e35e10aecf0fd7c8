"""Connectionist temporal classification by the forward-backward recursion: its gradient is a second recursion.

`log_likeliest` and the states are kept relative to the likeliest label of each frame, so that they keep their digits.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.labels import one_hot
from jaxloss._numerics.logistic import log1p_on_unit_interval
from jaxloss._numerics.safe import nan_unless, stable_divide
from jaxloss._numerics.softmax import shifted_exponentials


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def negative_log_likelihood(pred: Array, target: Array, frames: Array, target_lengths: Array, blank: int) -> Array:
    """Never negative; inf, with gradient 0, where no alignment is possible."""
    return _values(pred, target, frames, target_lengths, blank)


# Jitted, so that JAX traces the scans, and their derivatives, once for all calls of these shapes.
@functools.partial(jax.jit, static_argnums=4, inline=True)
def _values(pred: Array, target: Array, frames: Array, target_lengths: Array, blank: int) -> Array:
    emissions, log_likeliest, _ = _emissions(pred, target, frames, blank)
    return _forward(emissions, log_likeliest, target, target_lengths, keep=False)[0]


@negative_log_likelihood.defjvp
def _negative_log_likelihood_jvp(blank: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    pred, target, frames, target_lengths = primals
    values, derivatives = _values_and_derivatives(pred, target, frames, target_lengths, blank)
    return values, jnp.sum(derivatives * tangents[0], (-2, -1))


@functools.partial(jax.jit, static_argnums=4, inline=True)
def _values_and_derivatives(
    pred: Array, target: Array, frames: Array, target_lengths: Array, blank: int
) -> tuple[Array, Array]:
    """The derivative by a logit is its p minus its posterior, the share of the likelihood that passes through it."""
    emissions, log_likeliest, p = _emissions(pred, target, frames, blank)
    values, paths = _forward(emissions, log_likeliest, target, target_lengths, keep=True)
    by_blank, by_label = _posteriors(emissions, paths, target, target_lengths)

    classes = pred.shape[-1]
    labels = one_hot(target, classes, -1).astype(pred.dtype)
    shares = jnp.einsum("t...n,...nc->...tc", by_label, labels, precision="highest")
    by_blank, total = (jnp.moveaxis(share, 0, -1)[..., None] for share in (by_blank, by_blank + by_label.sum(-1)))
    shares = shares + jnp.where(jax.lax.broadcasted_iota(jnp.int32, pred.shape, pred.ndim - 1) == blank, by_blank, 0.0)
    derivatives = p - shares / jnp.where(total == 0, 1.0, total)
    # The derivatives sum to 0, so where p is next to 1 the others have the digits. XLA may round p in two ways.
    others = jnp.sum(jnp.where(p > 0.5, 0.0, derivatives), -1, keepdims=True)
    derivatives = jnp.where(p > 0.75, -others, derivatives)
    counts = frames & (values != jnp.inf)[..., None]
    # NaN in one frame leaves the likelihood without a value, so no frame has a derivative.
    return values, jnp.where(counts[..., None], derivatives * nan_unless(~jnp.isnan(values))[..., None, None], 0.0)


def _emissions(pred: Array, target: Array, frames: Array, blank: int) -> tuple[tuple[Array, ...], Array, Array]:
    """For each frame: the logits of the blank and of the labels, the largest of them, and whether the frame is there.

    Also the log-probability of the largest, summed over the frames, so that differences between the labels are not lost
    next to other classes; and p.
    """
    _, relative, total, excess = shifted_exponentials(pred, -1)
    by_frame = jnp.moveaxis(pred, -2, 0)
    # An index for each frame: otherwise XLA would gather whole columns and then transpose them.
    index = jnp.broadcast_to(target, (by_frame.shape[0], *target.shape))
    blanks, labels = by_frame[..., blank, None], jnp.take_along_axis(by_frame, index, -1, mode="clip")
    largest = jnp.maximum(blanks, jnp.max(labels, -1, keepdims=True, initial=-jnp.inf))
    log_largest = (jnp.moveaxis(largest[..., 0], 0, -1) - pred.max(-1)) - jnp.log1p(excess[..., 0])
    largest = jnp.where(largest == -jnp.inf, 0.0, largest)
    emissions = blanks - largest, labels, largest, jnp.moveaxis(frames, -1, 0)[..., None]
    return emissions, jnp.sum(jnp.where(frames, log_largest, 0.0), -1), stable_divide(relative, total)


# The states of an alignment: `blanks`, in a blank after n labels, n = 0 ... labels; `labels`, in label n. They hold
# log-probabilities up to a constant per frame, so that those of likely states stay near 0 and keep their digits.


def _forward(
    emissions: tuple[Array, ...], log_likeliest: Array, target: Array, target_lengths: Array, *, keep: bool
) -> tuple[Array, tuple[Array, Array] | None]:
    """The losses and, if `keep`, the states after each frame, by all alignments that lead to them."""
    repeats = target == jnp.roll(target, 1, -1)

    def step(carry: Any, frame: Any) -> tuple[Any, Any]:
        blanks, labels, total = carry
        log_blank, logits, logit, is_there = frame
        # Move on to a blank, or past it; between equal labels there is no way past it.
        passed = _log_add(blanks, _pad(labels, 1, 0))
        reached = _log_add(labels, jnp.where(repeats, blanks[..., :-1], passed[..., :-1]))
        largest = _largest(passed)
        blanks = jnp.where(is_there, (passed - largest) + log_blank, blanks)
        labels = jnp.where(is_there, (reached - largest) + (logits - logit), labels)
        total = total + jnp.where(is_there, largest, 0.0)
        return (blanks, labels, total), (blanks, labels) if keep else None

    zero = _zero(emissions, target)
    start = _states(0 * target_lengths, target)[0], jnp.zeros(target.shape, bool)
    start = (*(jnp.where(is_start, 0.0, -jnp.inf) + zero for is_start in start), zero)
    (*states, total), paths = jax.lax.scan(step, start, emissions)
    ends = zip(states, _states(target_lengths, target), strict=True)
    log_p = _log_add(*(jnp.max(state, -1, initial=-jnp.inf, where=is_end) for state, is_end in ends)) + total[..., 0]
    return jnp.maximum(-(log_p + log_likeliest), 0.0), paths


def _posteriors(emissions: tuple[Array, ...], paths: Any, target: Array, target_lengths: Array) -> tuple[Array, Array]:
    """What part of the likelihood passes through the blank and through each label, up to a factor per frame."""
    repeats = target == jnp.roll(target, -1, -1)

    def step(carry: Any, frame: Any) -> tuple[Any, Any]:
        blanks, labels = carry
        (log_blank, logits, logit, is_there), (blanks_before, labels_before) = frame
        by_blank, by_label = blanks_before + blanks, labels_before + labels
        largest = _largest(jnp.maximum(by_blank, _pad(by_label, 0, 1)))
        shares = jnp.exp(by_blank - largest).sum(-1), jnp.exp(by_label - largest)
        # Back along the same paths.
        before_blank, before_label = blanks + log_blank, labels + (logits - logit)
        passed = _log_add(before_blank, _pad(before_label, 0, 1))
        reached = _log_add(before_label, jnp.where(repeats, before_blank[..., 1:], passed[..., 1:]))
        largest = _largest(passed)
        return tuple(
            jnp.where(is_there, after - largest, before) for after, before in zip((passed, reached), carry, strict=True)
        ), shares

    zero = _zero(emissions, target)
    ends = tuple(jnp.where(is_end, 0.0, -jnp.inf) + zero for is_end in _states(target_lengths, target))
    return jax.lax.scan(step, ends, (emissions, paths), reverse=True)[1]


def _states(lengths: Array, target: Array) -> tuple[Array, Array]:
    """Which states follow the last of so many labels: the blank after it, and the label itself."""
    shape = (*lengths.shape, target.shape[-1] + 1)
    beyond = jax.lax.broadcasted_iota(lengths.dtype, shape, lengths.ndim) - lengths[..., None]
    return beyond == 0, beyond[..., :-1] == -1


def _zero(emissions: tuple[Array, ...], target: Array) -> Array:
    """Zeros made of the data, so that they vary over a mesh as the data does."""
    blanks = emissions[0]
    return (0 * (jnp.isnan(blanks).sum(0) + target.sum(-1, keepdims=True))).astype(blanks.dtype)


def _pad(labels: Array, before: int, after: int) -> Array:
    return jnp.pad(labels, [(0, 0)] * (labels.ndim - 1) + [(before, after)], constant_values=-jnp.inf)


def _largest(states: Array) -> Array:
    """A constant to subtract: no part of the derivative, and finite where nothing is possible."""
    largest = jax.lax.stop_gradient(states.max(-1, keepdims=True))
    return jnp.where(largest == -jnp.inf, 0.0, largest)


def _log_add(a: Array, b: Array) -> Array:
    """log(exp(a) + exp(b)) and its derivatives, also where either is -inf."""
    more, less = jnp.maximum(a, b), jnp.minimum(a, b)
    part = jnp.exp(less - jnp.where(more == -jnp.inf, 0.0, more))
    return more + log1p_on_unit_interval(part)
