"""Distillation: a student learns the distributions of a teacher."""

from typing import Any

from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.jensen_shannon import generalized_jensen_shannon
from jaxloss._numerics.safe import expand_mask, fill_masked
from jaxloss._numerics.softmax import tempered
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction


@compiled_when_eager
def generalized_jsd_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"],
    *,
    axis: int = -1,
    beta: Real[ArrayLike, ""] = 0.5,
    temperature: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Generalized Jensen-Shannon divergence between a student and a teacher:

        p_S = softmax(pred / T), p_T = softmax(target / T)        T: temperature
        M = beta p_T + (1 - beta) p_S
        loss = beta KL(p_T, M) + (1 - beta) KL(p_S, M)
        loss = KL(p_T, p_S)    if beta = 0
        loss = KL(p_S, p_T)    if beta = 1

    where KL(p, q) = sum_c p_c log(p_c / q_c). At 0.5 it is the Jensen-Shannon divergence, at most log 2. There is one
    loss a row, over all classes, so that "mean" divides by rows. A class that neither can choose, of logit -inf in
    both, adds nothing. One that only one of them can choose is in the mixture too, and the loss is finite; but at the
    ends it is infinite where the first of the two can choose what the second cannot.

    The ends jump. In between, the loss vanishes as beta goes to 0 or to 1, where the mixture becomes one of the two: it
    goes as beta KL(p_T, p_S) near 0, and as (1 - beta) KL(p_S, p_T) near 1. The loss at an end is that slope. So 0 and
    1 select formulas of their own, as Python numbers; a traced beta of 0 or 1 gives NaN, since no formula fits both it
    and its neighbours.

    A temperature T shrinks the gradient by about T^2. The loss does not undo that: where it is summed with a loss of
    hard labels, weigh it, `temperature**2 * generalized_jsd_loss(...)`.

    Gradients flow to both arrays. For a teacher that does not learn pass `jax.lax.stop_gradient(target)`, or
    differentiate by `pred` alone: its gradient then costs nothing. The loss is a sum in which no term is negative: it
    is 0 where the two agree, never below, and keeps digits where they nearly do.

    Args:
        pred: logits of the student, floating, with the classes on `axis`.
        target: logits of the teacher, floating, of exactly the shape of `pred`.
        axis: the class axis; 1 for PyTorch's layout.
        beta: in [0, 1], the teacher's part of the mixture; 0 and 1 are the ends above. May be traced, then it must lie
            strictly between them.
        temperature: greater than 0, what the logits of both are divided by. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; rows where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`, in nats; float32 for
            half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; class indices are refused.
        ValueError: a Python number out of its domain, an unknown `reduction`, or no such axis.
        JaxRuntimeError: under `chex.chexify`, a traced `beta` that is not strictly between 0 and 1, or probabilities in
            place of logits.

    PyTorch: none.

    Elsewhere: TRL's `GKDTrainer.generalized_jsd_loss`, with the same beta and the same ends (0.5 and a temperature of
    0.9 in its configuration); its "batchmean" divides by the labels that count, and without labels by the first axis
    alone; its "mean" divides by rows and classes. Liger's `LigerJSD` and `LigerFusedLinearJSD`, with the same beta and
    ends; the first takes log-probabilities. MiniLLM's reverse divergence is `beta=1`. Soft targets, as tunix and
    MaxText have them, are `beta=0` times T^2.

    Reference: R. Agarwal et al., On-Policy Distillation of Language Models, arXiv:2306.13649; beta 0: G. Hinton et al.,
    arXiv:1503.02531; beta 1: Y. Gu et al., MiniLLM, arXiv:2306.08543.

    >>> import jax.numpy as jnp
    >>> student, teacher = jnp.array([[0.0, 0.0, -jnp.inf]]), jnp.array([[1.0, 0.0, 0.0]])
    >>> print(f"{generalized_jsd_loss(student, teacher):.4f}")
    0.1048
    >>> print(f"{generalized_jsd_loss(student, teacher, beta=1):.4f}")
    0.3583
    """
    call = Call("generalized_jsd_loss", sample_weight, where, reduction)
    pred, target, axis = _two_distributions(call, axis, pred, target)
    beta, temperature = _beta(call, beta), call.positive(temperature=temperature)
    pred, target = (tempered(logits, temperature) for logits in (pred, target))
    return call.reduce(generalized_jensen_shannon(pred, target, beta, axis))


_LOGITS = "Both are logits, the teacher's of the shape of the student's."
_ENDS = "in [0, 1], and strictly between where it is traced"


def _two_distributions(call: Call, axis: int, pred: Any, target: Any) -> tuple[Array, Array, int]:
    """Logits of student and teacher, equal where hidden."""
    pred, target = call.classes(axis, _LOGITS, pred=pred, target=target)
    axis = call.axis(axis, pred.ndim)
    call.hide(pred.shape[:axis] + pred.shape[axis + 1 :], pred.dtype)
    pred, target = fill_masked(expand_mask(axis, call.keep), 0.0, pred, target)
    call.check_not_softmax(pred, axis, call.keep)
    call.check_not_softmax(target, axis, call.keep, name="target")
    return pred, target, axis


def _beta(call: Call, beta: Any) -> Array | float:
    """What Python knows may be an end."""

    def inside(value: Any) -> Any:
        return 0 <= value <= 1 if isinstance(value, int | float) else (value > 0) & (value < 1)

    return call.number(inside, _ENDS, {"beta": beta})
