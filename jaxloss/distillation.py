"""Distillation: a student learns the distributions of a teacher."""

from typing import Any

from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._eager import compiled_when_eager
from jaxloss._kernels.linear_jensen_shannon import Dense, linear_jensen_shannon
from jaxloss._numerics.jensen_shannon import generalized_jensen_shannon
from jaxloss._numerics.safe import expand_mask, fill_masked
from jaxloss._numerics.softmax import tempered
from jaxloss._typing import ArrayLike, AxisName
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


@compiled_when_eager
def linear_generalized_jsd_loss(
    pred: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features classes"],
    target: Float[ArrayLike, "*batch target_features"],
    target_kernel: Float[ArrayLike, "target_features classes"],
    *,
    bias: Float[ArrayLike, " classes"] | None = None,
    target_bias: Float[ArrayLike, " classes"] | None = None,
    beta: Real[ArrayLike, ""] = 0.5,
    temperature: Real[ArrayLike, ""] = 1.0,
    chunk_size: int | None = None,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The divergence of `generalized_jsd_loss` between two dense layers, whose logits never exist all at once:

        p_S = softmax((pred @ kernel + bias) / T)                  T: temperature
        p_T = softmax((target @ target_kernel + target_bias) / T)
        M = beta p_T + (1 - beta) p_S
        loss = beta KL(p_T, M) + (1 - beta) KL(p_S, M)
        loss = KL(p_T, p_S)    if beta = 0
        loss = KL(p_S, p_T)    if beta = 1

    Student and teacher share the classes; their features may differ in number. There is one loss a token, so that
    "mean" divides by tokens. What the ends are, and where to put a T^2, stands with `generalized_jsd_loss`.

    Blocks hold all tokens and some classes, of both layers. Each is multiplied three times: for the normalisers, for
    the divergences and for the gradient. The gradient of a layer takes two products more, so that of the student alone
    takes eight in all, twice the four of a loss with stored logits; in memory there is one block, and no second
    gradient of a kernel. Gradients are exact and flow to both layers, to beta and to the temperature. For a teacher
    that does not learn stop them, `jax.lax.stop_gradient`, or differentiate by the student alone: then it costs no
    gradient. Forward mode and second order compute the logits again.

    Features and a kernel of the same half precision are multiplied as they are; in bfloat16 the gradient of the logits
    is rounded before the products, as that of a layer without blocks is. Any others are multiplied in the wider dtype,
    float32 at least: for a product in bfloat16 cast the kernel, `kernel.astype(jnp.bfloat16)`.

    On an explicit mesh the types say how the student's arrays lie, and the teacher's follow; features of a kernel are
    gathered. Inside `shard_map` name the axes of the classes. An automatic mesh shards the first axis of the tokens
    alone.

    Args:
        pred: features that enter the student's last layer, floating.
        kernel: its weights, floating, as Flax's `Dense` and `Linear` keep them.
        target: features that enter the teacher's last layer, floating, for the same tokens.
        target_kernel: its weights, floating, with the classes of `kernel`.
        bias: the student's, one number for each class; None for none.
        target_bias: the teacher's, one number for each class; None for none.
        beta: in [0, 1], the teacher's part of the mixture; 0 and 1 are the ends above. May be traced, then it must lie
            strictly between them.
        temperature: greater than 0, what the logits of both are divided by. May be traced.
        chunk_size: a block takes as many classes as make it as large as the logits of this many tokens; a Python
            integer. None for 1/256 of the classes, but at least 512.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, of both kernels and biases. None if each device has all.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; tokens where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without its last axis, in nats; float32 for
            half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; class indices are refused.
        ValueError: a Python number out of its domain, an unknown `reduction`, or no such axis.
        JaxRuntimeError: under `chex.chexify`, a traced `beta` that is not strictly between 0 and 1.

    PyTorch: none.

    Elsewhere: Liger's `LigerFusedLinearJSD`, with the same beta, ends and temperature; its kernels are (classes,
    features), it ignores labels of -100 and takes no bias, and the teacher has no gradient. Its
    `LigerFusedLinearJSDLoss` adds a loss of hard labels, 0.5 each by default. TRL's `GKDTrainer` takes the latter with
    `use_liger_kernel`.

    Reference: R. Agarwal et al., On-Policy Distillation of Language Models, arXiv:2306.13649; blocks of classes:
    E. Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, arXiv:2411.09009.

    >>> import jax.numpy as jnp
    >>> student, teacher = jnp.array([[1.0, 2.0]]), jnp.array([[1.0]])
    >>> kernel, target_kernel = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), jnp.array([[2.0, 0.0, 0.0]])
    >>> print(f"{linear_generalized_jsd_loss(student, kernel, teacher, target_kernel):.4f}")
    0.1879
    >>> print(f"{generalized_jsd_loss(student @ kernel, teacher @ target_kernel):.4f}")
    0.1879
    """
    call = Call("linear_generalized_jsd_loss", sample_weight, where, reduction, class_axis_name=class_axis_name)
    student, teacher = _two_layers(call, (pred, kernel, bias), (target, target_kernel, target_bias))
    beta, temperature = _beta(call, beta), call.positive(temperature=temperature)
    chunk_size = call.chunk_size(chunk_size)
    return call.reduce(linear_jensen_shannon(student, teacher, beta, temperature, chunk_size, call.class_axis_name))


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


def _two_layers(call: Call, student: tuple[Any, ...], teacher: tuple[Any, ...]) -> tuple[Dense, Dense]:
    """Layers of student and teacher over the same classes, with features of 0 where hidden."""
    pred, kernel, bias = call.dense(*student)
    batch, classes = pred.shape[:-1], kernel.shape[1]
    (target,) = call.floats_as_given(target=teacher[0])
    call.require_shape(f"`target` must have features for the tokens {batch} of `pred`", target, (*batch, None))
    names = "target", "target_kernel", "target_bias"
    target, target_kernel, target_bias = call.dense(target, *teacher[1:], names=names)
    problem = f"`target_kernel` must have the {classes} classes of `kernel` on its last axis"
    call.require_shape(problem, target_kernel, (None, classes), "PyTorch's is transposed.")
    call.count_classes(1, kernel=kernel)
    call.hide(batch, max(bias.dtype, target_bias.dtype, key=lambda dtype: dtype.itemsize))
    (pred,), (target,) = call.visible(0.0, pred), call.visible(0.0, target)
    return Dense(pred, kernel, bias), Dense(target, target_kernel, target_bias)


def _beta(call: Call, beta: Any) -> Array | float:
    """What Python knows may be an end."""

    def inside(value: Any) -> Any:
        return 0 <= value <= 1 if isinstance(value, int | float) else (value > 0) & (value < 1)

    return call.number(inside, _ENDS, {"beta": beta})
