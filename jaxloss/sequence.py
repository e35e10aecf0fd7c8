"""Sequences whose alignment with their labels is unknown."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Int

from jaxloss._contracts import Contract
from jaxloss._numerics import fill_hidden, nan_unless
from jaxloss.reductions import Reduction, is_mean, resolve

# The logarithm of an impossible path: finite, so that no difference of two is NaN, and below any sum of true ones.
_IMPOSSIBLE = -1e30


def ctc_loss(
    pred: Float[ArrayLike, "*batch time classes"],
    target: Int[ArrayLike, "*batch labels"],
    *,
    input_lengths: Int[ArrayLike, "*batch"] | None = None,
    target_lengths: Int[ArrayLike, "*batch"] | None = None,
    blank: int = 0,
    zero_infinity: bool = False,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Connectionist temporal classification: the labels in order, at frames unknown, with blanks between them.

        p    = softmax(pred)
        loss = -log sum_{alignments a of target} prod_t p[t, a_t]

    An alignment names a class at each frame; equal neighbours count once, then blanks are dropped. The sum runs over
    all alignments that leave the target, and is never above 1, so the loss is never negative. A sequence too short for
    its labels has loss inf. The mean first divides each loss by the length of its target (1 for an empty one), as
    PyTorch's does; "sum", "none" and functions other than `reductions.mean` get the losses as they are.

    Args:
        pred: logits or log-probabilities, floating (a softmax leaves log-probabilities as they are), classes last and
            frames before them: PyTorch's layout is (time, batch, classes).
        target: class indices, integer, padded at the end; a label out of range, or blank, gives NaN.
        input_lengths: the number of frames of each sequence, integer, in [0, time]; None for all. May be traced.
        target_lengths: the number of labels of each sequence, integer, in [0, labels]; None for all. May be traced.
        blank: the class that means none.
        zero_infinity: whether a sequence too short for its labels has loss 0, with gradient 0, instead of inf.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a sequence; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a `blank` that is no class, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a label out of range or blank, a length out of range, probabilities in
            place of logits.

    PyTorch: `torch.nn.functional.ctc_loss`, `torch.nn.CTCLoss`.

    Reference: A. Graves et al., Connectionist Temporal Classification, 2006, doi:10.1145/1143844.1143891.

    >>> print(f"{ctc_loss(jnp.zeros((3, 4)), jnp.array([1, 2]), reduction='none'):.4f}")
    2.5494
    """
    contract = Contract("ctc_loss")
    reduce = resolve(contract.function, reduction)
    pred, target = contract.alignment(pred=pred, target=target)
    batch, time, labels = pred.shape[:-2], pred.shape[-2], target.shape[-1]
    blank = contract.class_index(pred.shape[-1], blank=blank)
    input_lengths = contract.lengths(batch, time, input_lengths=input_lengths)
    target_lengths = contract.lengths(batch, labels, target_lengths=target_lengths)
    where = contract.mask(batch, where=where)

    input_lengths, target_lengths = fill_hidden(where, 0, input_lengths, target_lengths)
    contract.check_lengths(time, input_lengths=input_lengths)
    contract.check_lengths(labels, target_lengths=target_lengths)
    frames = jnp.arange(time, dtype=input_lengths.dtype) < input_lengths[..., None]
    places = jnp.arange(labels, dtype=target_lengths.dtype) < target_lengths[..., None]
    (pred,) = fill_hidden(frames[..., None], 0.0, pred)
    # What lies beyond a target's end is harmless, once it is a label: no path that counts goes through it.
    (target,) = fill_hidden(places, 1 if blank == 0 else 0, target)
    contract.check_labels(target, pred.shape[-1])
    contract.check(jnp.all(target != blank), f"`target` must not hold the blank, {blank}.")
    contract.check_not_softmax(pred, pred.ndim - 1, frames)

    values = jnp.maximum(-_log_likelihood(pred, target, frames, target_lengths, blank), 0.0)
    too_short = values > -_IMPOSSIBLE / 2
    values = jnp.where(too_short, 0.0 if zero_infinity else jnp.inf, values)
    valid = (target >= 0) & (target < pred.shape[-1]) & (target != blank)
    in_range = (input_lengths >= 0) & (input_lengths <= time) & (target_lengths >= 0) & (target_lengths <= labels)
    values = values * nan_unless(valid.all(-1) & in_range)
    if is_mean(reduction):
        values = values / jnp.maximum(target_lengths, 1).astype(values.dtype)
    return reduce(values, where)


def _log_likelihood(pred: Array, target: Array, frames: Array, target_lengths: Array, blank: int) -> Array:
    """The forward recursion over the states blank, y_1, blank, y_2, ..., blank; missing frames change nothing."""
    states = _between(blank, target)
    log_p = jnp.maximum(jax.nn.log_softmax(pred), _IMPOSSIBLE)
    index = jnp.clip(states, 0, pred.shape[-1] - 1)
    emissions = jnp.moveaxis(jnp.take_along_axis(log_p, index[..., None, :], -1), -2, 0)
    # A blank between two labels may be skipped unless they are equal.
    repeats = jnp.concatenate([jnp.ones_like(target[..., :1], bool), target[..., 1:] == target[..., :-1]], -1)
    may_skip = _between(False, ~repeats)

    def step(log_alpha: Array, frame: tuple[Array, Array]) -> tuple[Array, None]:
        emission, is_there = frame
        moved = jnp.pad(log_alpha[..., :-1], [(0, 0)] * (log_alpha.ndim - 1) + [(1, 0)], constant_values=_IMPOSSIBLE)
        skipped = jnp.pad(moved[..., :-1], [(0, 0)] * (log_alpha.ndim - 1) + [(1, 0)], constant_values=_IMPOSSIBLE)
        skipped = jnp.where(may_skip, skipped, _IMPOSSIBLE)
        paths = jax.nn.logsumexp(jnp.stack([log_alpha, moved, skipped]), 0) + emission
        return jnp.where(is_there[..., None], jnp.maximum(paths, _IMPOSSIBLE), log_alpha), None

    # Made of the data, so that it varies over a mesh as the data does.
    start = jnp.where(jnp.arange(states.shape[-1]) == 0, 0.0, _IMPOSSIBLE) + (0 * states).astype(pred.dtype)
    log_alpha, _ = jax.lax.scan(step, start, (emissions, jnp.moveaxis(frames, -1, 0)))
    # It ends in the last blank or the last label.
    ends = jnp.arange(states.shape[-1], dtype=target_lengths.dtype) - 2 * target_lengths[..., None]
    return jax.nn.logsumexp(jnp.where((ends == 0) | (ends == -1), log_alpha, _IMPOSSIBLE), -1)


def _between(blank: int, labels: Array) -> Array:
    """blank, label, blank, label, ..., blank, along the last axis."""
    rest = [(0, 0)] * (labels.ndim - 1)
    pairs = jnp.pad(labels[..., None], [*rest, (0, 0), (0, 1)], constant_values=blank)
    return jnp.pad(pairs.reshape(*labels.shape[:-1], 2 * labels.shape[-1]), [*rest, (1, 0)], constant_values=blank)
