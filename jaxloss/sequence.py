"""Sequences whose alignment with their labels is unknown."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Integer, Real

from jaxloss._call import Call
from jaxloss._eager import compiled_when_eager
from jaxloss._kernels.ctc import negative_log_likelihood
from jaxloss._numerics.labels import is_class
from jaxloss._numerics.safe import fill_masked, nan_unless
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
    r"""Connectionist temporal classification: the labels in order, at unknown frames, with blanks between them.

        p    = softmax(pred)
        loss = -log sum_{alignments a of target} prod_t p[t, a_t]

    An alignment names a class at each frame; equal neighbours are merged, then blanks are dropped. The sum runs over
    all alignments that leave the target. It is never above 1, so the loss is never negative. A sequence too short for
    its labels has loss inf. The mean first divides each loss by the length of its target (1 for an empty one), as
    PyTorch's does; "sum", "none" and functions other than `reductions.mean` get the losses as they are.

    Args:
        pred: logits or log-probabilities, floating (a softmax leaves log-probabilities as they are), classes last and
            frames before them: PyTorch's layout is (time, batch, classes).
        target: class indices, integer, padded at the end; a label that is out of range or blank gives NaN.
        input_lengths: the number of frames of each sequence, integer, in [0, time]; None for all. May be traced.
        target_lengths: the number of labels of each sequence, integer, in [0, labels]; None for all. May be traced.
        blank: the class that means none.
        zero_infinity: whether a sequence too short for its labels has loss 0, with gradient 0, instead of inf.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per sequence; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a `blank` that is not a class, or an unknown `reduction`.
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

    values = negative_log_likelihood(pred, target, frames, target_lengths, int(blank))
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


def _before(lengths: Array, longest: int) -> Array:
    """Which of `longest` places come before the end of each sequence."""
    shape = (*lengths.shape, longest)
    return jax.lax.broadcasted_iota(lengths.dtype, shape, lengths.ndim) < lengths[..., None]
