"""Sequences whose alignment with their labels is unknown."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Integer, Real

from jaxloss._call import Call
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.labels import is_class, one_hot
from jaxloss._numerics.logistic import log1p_on_unit_interval
from jaxloss._numerics.safe import fill_masked, nan_unless, stable_divide
from jaxloss._numerics.softmax import shifted_exponentials
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction


@compiled_when_eager
def ctc_loss(
    pred: Float[ArrayLike, "*batch time classes"],
    target: Integer[ArrayLike, "*batch labels"],
    *,
    input_lengths: Integer[ArrayLike, "*batch"] | None = None,
    target_lengths: Integer[ArrayLike, "*batch"] | None = None,
    blank: int = 0,
    zero_infinity: bool = False,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
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
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a sequence; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the call.
        ValueError: a `blank` that is no class, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a label out of range or blank, a length out of range, probabilities in
            place of logits.

    PyTorch: `torch.nn.functional.ctc_loss`, `torch.nn.CTCLoss`.

    Reference: A. Graves et al., Connectionist Temporal Classification, 2006, doi:10.1145/1143844.1143891.

    >>> print(f"{ctc_loss(jnp.zeros((3, 4)), jnp.array([1, 2]), reduction='none'):.4f}")
    2.5494
    """
    call = Call("ctc_loss", sample_weight, where, reduction)
    pred, target = _alignment(call, pred, target)
    batch, time, labels = pred.shape[:-2], pred.shape[-2], target.shape[-1]
    if not isinstance(blank, int | np.integer) or not 0 <= blank < pred.shape[-1]:
        raise ValueError(f"ctc_loss: `blank` must be a class index in [0, {pred.shape[-1]}), got {blank!r}.")
    call.hide(batch, pred.dtype)
    input_lengths = _lengths(call, batch, time, input_lengths=input_lengths)
    target_lengths = _lengths(call, batch, labels, target_lengths=target_lengths)

    frames = _before(input_lengths, time)
    places = _before(target_lengths, labels)
    (pred,) = fill_masked(frames[..., None], 0.0, pred)
    # What lies beyond a target's end is harmless once it is a label: no path that counts goes through it.
    (target,) = fill_masked(places, 1 if blank == 0 else 0, target)
    call.check_labels(target, pred.shape[-1])
    call.check(jnp.all(target != blank), f"`target` must not hold the blank, {blank}.")
    call.check_not_softmax(pred, pred.ndim - 1, frames)

    values = _negative_log_likelihood(pred, target, frames, target_lengths, int(blank))
    if zero_infinity:
        values = jnp.where(values == jnp.inf, 0.0, values)
    valid = is_class(target, pred.shape[-1]) & (target != blank)
    in_range = (input_lengths >= 0) & (input_lengths <= time) & (target_lengths >= 0) & (target_lengths <= labels)
    values = values * nan_unless(valid.all(-1) & in_range)
    if call.is_mean:
        values = values / jnp.maximum(target_lengths, 1).astype(values.dtype)
    return call.reduce(values)


def _alignment(call: Call, pred: Any, target: Any) -> tuple[Array, Array]:
    """Floats of shape (*batch, time, classes) and integers of shape (*batch, labels)."""
    (pred,) = call.floats(pred=pred)
    problem = "`pred` must be (..., time, classes)"
    call.require_shape(problem, pred, (..., None, None))
    call.require_classes(problem, pred, -1)
    target = call.array("target", target)
    hint = "Pad what was concatenated: one row of labels a sequence."
    if pred.ndim == 3 and target.ndim == 2 and target.shape[0] == pred.shape[1]:
        hint = "If the frames of `pred` come first, as in PyTorch, move them: jnp.moveaxis(pred, 0, 1)."
    return pred, call.integers((*pred.shape[:-2], "labels"), "class indices", target, hint)


def _lengths(call: Call, batch: tuple[int, ...], longest: int, **options: Any) -> Array:
    """Integer lengths in [0, longest], None for the longest; 0 for what is hidden."""
    ((name, value),) = options.items()
    value = jnp.full(batch, longest, jnp.int32) if value is None else value
    (lengths,) = call.visible(0, call.integers(batch, "lengths", value, "", name))
    call.check_range(f"lengths in [0, {longest}]", (lengths >= 0) & (lengths <= longest), "", **{name: lengths})
    return lengths


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def _negative_log_likelihood(pred: Array, target: Array, frames: Array, target_lengths: Array, blank: int) -> Array:
    """Never negative; inf, with gradient 0, where no alignment is possible."""
    return _values(pred, target, frames, target_lengths, blank)


# Jitted, so that JAX traces the scans, and their derivatives, once for all calls of these shapes.
@functools.partial(jax.jit, static_argnums=4, inline=True)
def _values(pred: Array, target: Array, frames: Array, target_lengths: Array, blank: int) -> Array:
    emissions, log_likeliest, _ = _emissions(pred, target, frames, blank)
    return _forward(emissions, log_likeliest, target, target_lengths, keep=False)[0]


@_negative_log_likelihood.defjvp
def _negative_log_likelihood_jvp(blank: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    pred, target, frames, target_lengths = primals
    values, derivatives = _values_and_derivatives(pred, target, frames, target_lengths, blank)
    return values, jnp.sum(derivatives * tangents[0], (-2, -1))


@functools.partial(jax.jit, static_argnums=4, inline=True)
def _values_and_derivatives(
    pred: Array, target: Array, frames: Array, target_lengths: Array, blank: int
) -> tuple[Array, Array]:
    """The derivative to a logit is its p less its posterior, the share of the likelihood that passes through it."""
    emissions, log_likeliest, p = _emissions(pred, target, frames, blank)
    values, paths = _forward(emissions, log_likeliest, target, target_lengths, keep=True)
    by_blank, by_label = _posteriors(emissions, paths, target, target_lengths)

    classes = pred.shape[-1]
    labels = one_hot(target, classes, -1).astype(pred.dtype)
    shares = jnp.einsum("t...n,...nc->...tc", by_label, labels, precision="highest")
    by_blank, total = (jnp.moveaxis(share, 0, -1)[..., None] for share in (by_blank, by_blank + by_label.sum(-1)))
    shares = shares + jnp.where(jax.lax.broadcasted_iota(jnp.int32, pred.shape, pred.ndim - 1) == blank, by_blank, 0.0)
    derivatives = p - shares / jnp.where(total == 0, 1.0, total)
    # They sum to 0: where p is next to 1, it is the others that have the digits. XLA may round p in two ways.
    others = jnp.sum(jnp.where(p > 0.5, 0.0, derivatives), -1, keepdims=True)
    derivatives = jnp.where(p > 0.75, -others, derivatives)
    counts = frames & (values != jnp.inf)[..., None]
    # NaN in one frame leaves the likelihood without a value: no frame has a derivative.
    return values, jnp.where(counts[..., None], derivatives * nan_unless(~jnp.isnan(values))[..., None, None], 0.0)


def _emissions(pred: Array, target: Array, frames: Array, blank: int) -> tuple[tuple[Array, ...], Array, Array]:
    """The logits of the blank and of the labels, the largest of them, and whether the frame is there, frame by frame.

    And the log-probability of the largest, whatever their order: their differences are not lost next to other classes.
    And p.
    """
    _, relative, total, excess = shifted_exponentials(pred, -1)
    by_frame = jnp.moveaxis(pred, -2, 0)
    # With an index for each frame: XLA would gather whole columns, and then transpose them.
    index = jnp.broadcast_to(target, (by_frame.shape[0], *target.shape))
    blanks, labels = by_frame[..., blank, None], jnp.take_along_axis(by_frame, index, -1, mode="clip")
    largest = jnp.maximum(blanks, jnp.max(labels, -1, keepdims=True, initial=-jnp.inf))
    log_largest = (jnp.moveaxis(largest[..., 0], 0, -1) - pred.max(-1)) - jnp.log1p(excess[..., 0])
    largest = jnp.where(largest == -jnp.inf, 0.0, largest)
    emissions = blanks - largest, labels, largest, jnp.moveaxis(frames, -1, 0)[..., None]
    return emissions, jnp.sum(jnp.where(frames, log_largest, 0.0), -1), stable_divide(relative, total)


# The states of an alignment: `blanks`, in a blank after n labels, n = 0 ... labels; `labels`, in label n. What is known
# are log-probabilities up to a constant a frame: those of likely states stay near 0 and keep their digits.


def _forward(
    emissions: tuple[Array, ...], log_likeliest: Array, target: Array, target_lengths: Array, *, keep: bool
) -> tuple[Array, tuple[Array, Array] | None]:
    """The losses and, if they are kept, the states by the alignments that lead to them, a frame included."""
    repeats = target == jnp.roll(target, 1, -1)

    def step(carry: Any, frame: Any) -> tuple[Any, Any]:
        blanks, labels, total = carry
        log_blank, logits, logit, is_there = frame
        # On to a blank or past it; between equal labels there is no way past it.
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
    """What part of the likelihood passes through the blank and through each label, up to a factor a frame."""
    repeats = target == jnp.roll(target, -1, -1)

    def step(carry: Any, frame: Any) -> tuple[Any, Any]:
        blanks, labels = carry
        (log_blank, logits, logit, is_there), (blanks_before, labels_before) = frame
        by_blank, by_label = blanks_before + blanks, labels_before + labels
        largest = _largest(jnp.maximum(by_blank, _pad(by_label, 0, 1)))
        shares = jnp.exp(by_blank - largest).sum(-1), jnp.exp(by_label - largest)
        # Back, by the same ways.
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


def _before(lengths: Array, longest: int) -> Array:
    """Which of so many places come before the end of each sequence."""
    shape = (*lengths.shape, longest)
    return jax.lax.broadcasted_iota(lengths.dtype, shape, lengths.ndim) < lengths[..., None]


def _zero(emissions: tuple[Array, ...], target: Array) -> Array:
    """Made of the data, so that it varies over a mesh as the data does."""
    blanks = emissions[0]
    return (0 * (jnp.isnan(blanks).sum(0) + target.sum(-1, keepdims=True))).astype(blanks.dtype)


def _pad(labels: Array, before: int, after: int) -> Array:
    return jnp.pad(labels, [(0, 0)] * (labels.ndim - 1) + [(before, after)], constant_values=-jnp.inf)


def _largest(states: Array) -> Array:
    """A constant to subtract: no part of the derivative, and finite where nothing is possible."""
    largest = jax.lax.stop_gradient(states.max(-1, keepdims=True))
    return jnp.where(largest == -jnp.inf, 0.0, largest)


def _log_add(a: Array, b: Array) -> Array:
    """log(exp(a) + exp(b)), also of -inf, and its derivatives too."""
    more, less = jnp.maximum(a, b), jnp.minimum(a, b)
    part = jnp.exp(less - jnp.where(more == -jnp.inf, 0.0, more))
    return more + log1p_on_unit_interval(part)
