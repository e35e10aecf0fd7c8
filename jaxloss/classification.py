"""Classification: class indices, class probabilities and binary targets against logits."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Integer, Real

from jaxloss._call import BINARY, INDICES, ONE_HOT, Call
from jaxloss._contracts.arrays import single_precision
from jaxloss._contracts.values import SUM_TOLERANCE, near_unit_interval
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.cross_entropy import all_zero, along, label_losses
from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.entmax import entmax_loss
from jaxloss._numerics.labels import is_class, take_label, take_per_class
from jaxloss._numerics.logistic import (
    bce_derivative,
    bce_linear_part,
    bce_of_logits,
    exp_neg_abs,
    less_likely_target,
    one_minus_p_t,
    sigmoid_and_rest,
    softplus,
    weighted_bce_of_logits,
)
from jaxloss._numerics.safe import expand_mask, fill_masked, nan_unless, power_with_log, safe_multiply, stable_divide
from jaxloss._numerics.shards import Shard
from jaxloss._numerics.softmax import logit_margin, soft_cross_entropy
from jaxloss._numerics.xla import fuse_whole
from jaxloss._typing import ArrayLike, AxisName
from jaxloss.reductions import Reduction

_PROBABILITIES = "For integer class indices use cross_entropy."
_LOGITS = "For logits use binary_cross_entropy_with_logits."
_LOG_PROBABILITIES = "For logits use cross_entropy; for probabilities take the logarithm."


@compiled_when_eager
def cross_entropy(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    weight: Real[ArrayLike, " classes"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    label_smoothing: Real[ArrayLike, ""] = 0.0,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Softmax and negative log-likelihood of the true class y, with weights w and smoothing e:

        p    = softmax(pred)
        loss = -(1 - e) w_y log p_y - e / classes sum_c w_c log p_c

    The mean divides by the sum of the weights `w_y` that were used; if that is 0, so is the mean, whatever the
    smoothing. A callable reduction gets the losses without weights, and the weights; with class weights and smoothing,
    when a loss is not a product of the two, it gets what "none" returns, and the mask. Not for a model that ends in a
    softmax: `pred` holds logits. Log-probabilities are logits too.

    Args:
        pred: logits, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        weight: one number at least 0 for each class; 0 rescales and does not hide (0 times NaN is NaN).
        ignore_index: a class index whose rows are ignored; None for no such index (PyTorch's default is -100).
        label_smoothing: in [0, 1], the part of the target that is spread evenly over the classes. May be traced.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `pred` and `weight`. Indices count all classes. None if
            each device has all.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, a `class_axis_name` of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` that already holds probabilities (the
            double softmax).

    PyTorch: `torch.nn.functional.cross_entropy` with class indices, `torch.nn.CrossEntropyLoss`.

    Reference: I. J. Good, Rational Decisions, 1952, doi:10.1111/j.2517-6161.1952.tb00104.x; label smoothing:
    C. Szegedy et al., arXiv:1512.00567.

    >>> logits = jnp.array([[1.5, 0.2, -0.5], [0.1, 2.0, 0.5]])
    >>> print(cross_entropy(logits, jnp.array([0, 1]), reduction="none").round(4))
    [0.3421 0.3168]
    """
    call = Call("cross_entropy", sample_weight, where, reduction, class_axis_name=class_axis_name)
    pred, target, axis = call.labelled(INDICES, axis, ignore_index, pred=pred, target=target)
    smoothing = call.fraction(label_smoothing=label_smoothing)
    if weight is not None:
        weight = call.one_per_class(pred.shape[axis], weight=weight)
    losses = label_losses(pred, target, axis, weight, smoothing, axis_name=call.class_axis_name)
    return call.reduce_labels(losses, target, weight, holds_weights=not all_zero(smoothing))


@compiled_when_eager
def nll_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    weight: Real[ArrayLike, " classes"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Negative log-likelihood of the true class y, with weights w:

        loss = -w_y pred_y

    The mean divides by the sum of the weights `w_y` that were used. Not for logits: `cross_entropy` takes those, in one
    step and with more digits. A log-probability of -inf contributes 0 unless it is the true class's.

    Args:
        pred: log-probabilities, at most 0, floating: `log_softmax(logits, axis)`.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        weight: one number at least 0 for each class; 0 rescales and does not hide (0 times NaN is NaN).
        ignore_index: a class index whose rows are ignored; None for no such index (PyTorch's default is -100).
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `pred` and `weight`. Indices count all classes. None if
            each device has all.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: an `axis` that `pred` lacks, a `class_axis_name` of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` above 0 (probabilities or logits in place
            of log-probabilities).

    PyTorch: `torch.nn.functional.nll_loss`, `torch.nn.NLLLoss`.

    Reference: I. J. Good, Rational Decisions, 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.

    >>> log_p = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]))
    >>> print(nll_loss(log_p, jnp.array([1, 1]), reduction="none").round(4))
    [1.3863 0.    ]
    """
    call = Call("nll_loss", sample_weight, where, reduction, class_axis_name=class_axis_name)
    pred, target, axis = call.labelled_as_given(ONE_HOT, axis, ignore_index, pred=pred, target=target)
    call.check_log_probabilities(_LOG_PROBABILITIES, pred=pred)
    if weight is not None:
        weight = call.one_per_class(pred.shape[axis], weight=weight)
    losses = 0.0 - single_precision(take_label(pred, target, axis, call.class_axis_name))  # 0, not -0
    return call.reduce_labels(losses, target, weight)


@compiled_when_eager
def soft_target_cross_entropy(
    pred: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"],
    *,
    axis: int = -1,
    weight: Real[ArrayLike, " classes"] | None = None,
    label_smoothing: Real[ArrayLike, ""] = 0.0,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Cross-entropy against class probabilities q, with weights w and smoothing e:

        p    = softmax(pred)
        loss = -sum_c w_c ((1 - e) q_c + e / classes) log p_c

    A logit of -inf whose target probability is 0 contributes 0. The mean divides by the number of distributions, not by
    weights, as PyTorch's does. One-hot targets are probabilities too, but `cross_entropy` with indices is faster.

    Args:
        pred: logits, floating.
        target: class probabilities that sum to 1 along `axis`, floating, of exactly the shape of `pred`.
        axis: the class axis; -1 is JAX's layout, 1 is PyTorch's.
        weight: one number at least 0 for each class; 0 rescales and does not hide (0 times NaN is NaN).
        label_smoothing: in [0, 1], the part of the target that is spread evenly over the classes. May be traced.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `pred`, `target` and `weight`. None if each device has all.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number out of its domain, a `class_axis_name` of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets that are not distributions; `pred` that already holds
            probabilities.

    PyTorch: `torch.nn.functional.cross_entropy` with class probabilities.

    Reference: I. J. Good, Rational Decisions, 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.

    >>> logits = jnp.array([[2.0, 1.0, -jnp.inf]])
    >>> print(f"{soft_target_cross_entropy(logits, jnp.array([[0.5, 0.5, 0.0]])):.4f}")
    0.8133
    """
    call = Call("soft_target_cross_entropy", sample_weight, where, reduction, class_axis_name=class_axis_name)
    pred, target = call.classes(axis, _PROBABILITIES, pred=pred, target=target)
    axis = call.axis(axis, pred.ndim)
    classes = call.count_classes(axis, pred=pred)
    call.hide(pred.shape[:axis] + pred.shape[axis + 1 :], pred.dtype)
    (pred,) = fill_masked(expand_mask(axis, call.keep), 0.0, pred)
    (target,) = fill_masked(expand_mask(axis, call.keep), 1 / classes, target)
    _check_distributions(call, target, axis)
    call.check_not_softmax(pred, axis, call.keep, call.class_axis_name)
    smoothing = call.fraction(label_smoothing=label_smoothing)

    if not all_zero(smoothing):
        target = (1 - smoothing) * target + smoothing / classes
    if weight is not None:
        weight = call.one_per_class(pred.shape[axis], weight=weight)
        target = target * along(axis, weight, pred.ndim)
    return call.reduce(soft_cross_entropy(pred, target, axis, call.class_axis_name))


@compiled_when_eager
def binary_cross_entropy(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    weight: Real[ArrayLike, "*#batch"] | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Binary cross-entropy of probabilities p, element by element, with weights w:

        loss = -w (y log p + (1 - y) log(1 - p))

    For a model that ends in a sigmoid and cannot be changed. Where logits can be had, use
    `binary_cross_entropy_with_logits`: a float32 sigmoid is exactly 1 from a logit of 17 on, and no loss can bring back
    what it rounds away. As in PyTorch, a logarithm is never below -100 and the derivative `(p - y) / (p (1 - p))` never
    divides by less than 1e-12, so both stay finite at probabilities of 0 and 1.

    Args:
        pred: probabilities of the positive class in [0, 1], floating. Others give NaN in value and gradient; but up
            to four units in the last place beyond 0 or 1, where rounding carries a sum, they count as 0 or 1.
        target: probabilities of the positive class in [0, 1], floating, of exactly the shape of `pred`. Others give
            NaN, as in every loss with binary targets.
        weight: rescales the loss of each element, at least 0; broadcasts to `pred`. The mean still divides by the
            number of elements, as PyTorch's does.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, predictions (logits?) or targets outside [0, 1].

    PyTorch: `torch.nn.functional.binary_cross_entropy`, `torch.nn.BCELoss`.

    Reference: I. J. Good, Rational Decisions, 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.

    >>> print(binary_cross_entropy(jnp.array([0.75, 0.5, 0.0]), jnp.array([1.0, 0.0, 1.0]), reduction="none").round(4))
    [  0.2877   0.6931 100.    ]
    """
    call = Call("binary_cross_entropy", sample_weight, where, reduction)
    pred, target = call.elementwise(BINARY, fill=0.5, pred=pred, target=target)
    call.probabilities(_LOGITS, pred=pred)  # The formula itself turns others into NaN, or into 0 or 1 if they are near.
    target = call.probabilities(target=target)
    values = _cross_entropy_of_probabilities(pred, target, call.slack("pred", pred))
    if weight is not None:
        values = safe_multiply(call.visible_factor(values, weight=weight), values)
    return call.reduce(fuse_whole(values))


@compiled_when_eager
def binary_cross_entropy_with_logits(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    weight: Real[ArrayLike, "*#batch"] | None = None,
    pos_weight: Real[ArrayLike, "*#batch"] | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Sigmoid and binary cross-entropy, element by element, with weights w and p:

        loss = -w (p y log sigmoid(x) + (1 - y) log(1 - sigmoid(x)))

    Not for a model that ends in a sigmoid: `pred` holds logits. Any single number is a valid logit, so a value check
    can tell a forgotten sigmoid only by its traces in many: 32 or more values, none outside [0, 1], some below 0.1 and
    some above 0.9. A few probabilities, or probabilities all near 0.5, cannot be told from logits.

    Args:
        pred: logits, floating.
        target: probabilities of the positive class in [0, 1], floating, of exactly the shape of `pred`.
        weight: rescales the loss of each element, at least 0; broadcasts to `pred`. The mean still divides by the
            number of elements, as PyTorch's does.
        pos_weight: rescales the positive part, at least 0; broadcasts to `pred`. Above 1 it buys recall, below 1
            precision.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets outside [0, 1]; the traces of a forgotten sigmoid described
            above.

    PyTorch: `torch.nn.functional.binary_cross_entropy_with_logits`, `torch.nn.BCEWithLogitsLoss`.

    Reference: D. R. Cox, The Regression Analysis of Binary Sequences, 1958,
    doi:10.1111/j.2517-6161.1958.tb00292.x.

    >>> print(f"{binary_cross_entropy_with_logits(jnp.array([0.8, -0.5]), jnp.array([1.0, 0.0])):.4f}")
    0.4226
    """
    call = Call("binary_cross_entropy_with_logits", sample_weight, where, reduction)
    pred, target = call.binary_logits(pred=pred, target=target)
    if pos_weight is None:
        values = bce_of_logits(pred, target)
    else:
        values = weighted_bce_of_logits(pred, target, call.visible_factor(pred, pos_weight=pos_weight))
    if weight is not None:
        values = safe_multiply(call.visible_factor(pred, weight=weight), values)
    return call.reduce(fuse_whole(values))


@compiled_when_eager
def focal_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    alpha: Real[ArrayLike, "*#batch"] = 0.25,
    gamma: Real[ArrayLike, ""] = 2.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Binary focal loss with one alpha for all elements, as in many short PyTorch implementations:

        bce  = binary_cross_entropy_with_logits(pred, target)
        p_t  = exp(-bce)
        loss = alpha (1 - p_t)^gamma bce

    `sigmoid_focal_loss` is RetinaNet's, where alpha balances positives against negatives.

    Args:
        pred: logits, floating.
        target: probabilities of the positive class in [0, 1], floating, of exactly the shape of `pred`; no gradient
            flows to them.
        alpha: a factor at least 0; broadcasts to `pred`. May be traced.
        gamma: focusing exponent, at least 0; at 0 this is alpha times the binary cross-entropy. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets outside [0, 1]; a forgotten sigmoid, as far as it can be seen
            (see `binary_cross_entropy_with_logits`).

    PyTorch: none.

    Reference: T.-Y. Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002.

    >>> print(f"{focal_loss(jnp.array([0.8, -0.5]), jnp.array([1.0, 0.0])):.4f}")
    0.0129
    """
    call = Call("focal_loss", sample_weight, where, reduction)
    pred, target = call.binary_logits(pred=pred, target=target)
    target = jax.lax.stop_gradient(target)
    gamma = _exponent(call, "gamma", gamma)
    alpha = call.visible_factor(pred, alpha=alpha)
    return call.reduce(fuse_whole(_focal_of_bce(pred, target, gamma, alpha, alpha)))


@compiled_when_eager
def sigmoid_focal_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    alpha: Real[ArrayLike, ""] | None = 0.25,
    gamma: Real[ArrayLike, ""] = 2.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""RetinaNet's focal loss: easy elements count little, and alpha balances positives against negatives.

        p       = sigmoid(pred)
        p_t     = y p + (1 - y) (1 - p)
        alpha_t = y alpha + (1 - y) (1 - alpha)
        loss    = alpha_t (1 - p_t)^gamma binary_cross_entropy_with_logits(pred, y)

    Args:
        pred: logits, floating.
        target: probabilities of the positive class in [0, 1], floating, of exactly the shape of `pred`; no gradient
            flows to them.
        alpha: weight of the positives in [0, 1]; None for no balance (torchvision's -1). May be traced.
        gamma: focusing exponent, at least 0. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`. Detectors sum and
            divide by the number of positives.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets outside [0, 1]; a forgotten sigmoid, as far as it can be seen
            (see `binary_cross_entropy_with_logits`).

    PyTorch: `torchvision.ops.sigmoid_focal_loss`, whose default reduction is "none".

    Reference: T.-Y. Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002.

    >>> print(sigmoid_focal_loss(jnp.array([0.8, -0.5]), jnp.array([1.0, 0.0]), reduction="none").round(4))
    [0.0089 0.0507]
    """
    call = Call("sigmoid_focal_loss", sample_weight, where, reduction)
    pred, target = call.binary_logits(pred=pred, target=target)
    target = jax.lax.stop_gradient(target)
    gamma = _exponent(call, "gamma", gamma)
    positive = negative = 1.0
    if alpha is not None:
        positive = call.fraction(alpha=alpha)
        negative = 1 - positive
    return call.reduce(fuse_whole(_focal_of_sigmoid(pred, target, gamma, positive, negative)))


@compiled_when_eager
def softmax_focal_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    alpha: Real[ArrayLike, ""] | Real[ArrayLike, " classes"] | None = None,
    gamma: Real[ArrayLike, ""] = 2.0,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Focal loss over classes: the cross-entropy of the true class y, reduced where it is easy.

        p    = softmax(pred)
        loss = -alpha_y (1 - p_y)^gamma log p_y

    Args:
        pred: logits, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        alpha: a factor at least 0, or one for each class; the mean does not divide by it. None for 1. May be traced.
        gamma: focusing exponent, at least 0; at 0 this is `cross_entropy`. May be traced.
        ignore_index: a class index whose rows are ignored; None for no such index.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `pred` and `alpha`. Indices count all classes. None if
            each device has all.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, a `class_axis_name` of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` that already holds probabilities (the
            double softmax).

    PyTorch: none.

    Reference: T.-Y. Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002.

    >>> logits = jnp.array([[1.5, 0.2, -0.5], [0.1, 2.0, 0.5]])
    >>> print(softmax_focal_loss(logits, jnp.array([0, 1]), reduction="none").round(4))
    [0.0287 0.0234]
    """
    call = Call("softmax_focal_loss", sample_weight, where, reduction, class_axis_name=class_axis_name)
    pred, target, axis = call.labelled(ONE_HOT, axis, ignore_index, pred=pred, target=target)
    gamma = _exponent(call, "gamma", gamma)
    values = _focal_of_margin(logit_margin(pred, target, axis, call.class_axis_name), gamma)
    if alpha is not None:
        alpha = call.factor((pred.shape[axis],), alpha=alpha)
        values = safe_multiply(take_per_class(alpha, target, call.class_axis_name), values)
    return call.reduce(values)


@compiled_when_eager
def poly1_cross_entropy_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    weight: Real[ArrayLike, " classes"] | None = None,
    epsilon: Real[ArrayLike, ""] = 2.0,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Poly-1: the cross-entropy of the true class y, whose expansion in 1 - p_y has another first coefficient:

        p    = softmax(pred)
        loss = w_y (epsilon (1 - p_y) - log p_y)

    The mean divides by the sum of the weights `w_y` that were used.

    Args:
        pred: logits, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        weight: one number at least 0 for each class; 0 rescales and does not hide (0 times NaN is NaN).
        epsilon: what is added to the first coefficient, which is 1: above 0 it trains harder where the model is sure
            and right, at 0 this is `cross_entropy`, and below -1 a sure prediction is pushed away. May be traced.
        ignore_index: a class index whose rows are ignored; None for no such index.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `pred` and `weight`. Indices count all classes. None if
            each device has all.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, a `class_axis_name` of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` that already holds probabilities (the
            double softmax).

    PyTorch: none.

    Elsewhere: ports to PyTorch have an epsilon of 1 by default; 2 is the paper's for ImageNet, and it tunes it by task.

    Reference: Z. Leng et al., PolyLoss, arXiv:2204.12511.

    >>> logits = jnp.array([[1.5, 0.2, -0.5], [0.1, 2.0, 0.5]])
    >>> print(f"{poly1_cross_entropy_loss(logits, jnp.array([0, 1])):.4f}")
    0.8906
    """
    call = Call("poly1_cross_entropy_loss", sample_weight, where, reduction, class_axis_name=class_axis_name)
    pred, target, axis = call.labelled(ONE_HOT, axis, ignore_index, pred=pred, target=target)
    epsilon = call.any_number(epsilon=epsilon)
    values = _poly1_of_margin(logit_margin(pred, target, axis, call.class_axis_name), epsilon)
    if weight is not None:
        weight = call.one_per_class(pred.shape[axis], weight=weight)
    return call.reduce_labels(values, target, weight)


@compiled_when_eager
def generalized_cross_entropy_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    weight: Real[ArrayLike, " classes"] | None = None,
    q: Real[ArrayLike, ""] = 0.7,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Between the cross-entropy and the mean absolute error, for labels of which some are wrong:

        p    = softmax(pred)
        loss = w_y (1 - p_y^q) / q

    A label that the model thinks impossible costs 1 / q and has no gradient. The mean divides by the sum of the weights
    `w_y` that were used.

    Args:
        pred: logits, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        weight: one number at least 0 for each class; 0 rescales and does not hide (0 times NaN is NaN).
        q: in [0, 1]; at 1 this is 1 - p_y, the mean absolute error up to a factor; at 0 it is its limit, which is
            `cross_entropy`. May be traced.
        ignore_index: a class index whose rows are ignored; None for no such index.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `pred` and `weight`. Indices count all classes. None if
            each device has all.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, a `class_axis_name` of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` that already holds probabilities (the
            double softmax).

    PyTorch: none.

    Elsewhere: the paper also drops rows with p_y below a threshold of 0.5 (truncated L_q): that is `where`.

    Reference: Z. Zhang, M. R. Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels, arXiv:1805.07836.

    >>> logits = jnp.array([[1.5, 0.2, -0.5], [0.1, 2.0, 0.5]])
    >>> print(generalized_cross_entropy_loss(logits, jnp.array([0, 1]), reduction="none").round(4))
    [0.3042 0.2841]
    """
    call = Call("generalized_cross_entropy_loss", sample_weight, where, reduction, class_axis_name=class_axis_name)
    pred, target, axis = call.labelled(ONE_HOT, axis, ignore_index, pred=pred, target=target)
    q = call.fraction(q=q)
    values = _generalized_of_margin(logit_margin(pred, target, axis, call.class_axis_name), q)
    if weight is not None:
        weight = call.one_per_class(pred.shape[axis], weight=weight)
    return call.reduce_labels(values, target, weight)


@compiled_when_eager
def logit_adjusted_cross_entropy_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    weight: Real[ArrayLike, " classes"] | None = None,
    log_prior: Float[ArrayLike, " classes"],
    tau: Real[ArrayLike, ""] = 1.0,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    label_smoothing: Real[ArrayLike, ""] = 0.0,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The cross-entropy of logits that are moved by the prior of their class, for classes of very different size:

        loss = cross_entropy(pred + tau log_prior, target)

    A model that is trained so has the prior taken out of its logits: `pred` itself ranks the classes as if all were
    equally frequent. Weights, smoothing and the mean are `cross_entropy`'s.

    Args:
        pred: logits, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        weight: one number at least 0 for each class; 0 rescales and does not hide (0 times NaN is NaN).
        log_prior: the logarithm of each class's share of the training set, at most 0, floating:
            `jnp.log(counts / counts.sum())`. A class that never occurs has -inf, and no logit of it counts. May be
            traced.
        tau: at least 0, how much of the prior counts; at 0 this is `cross_entropy`. May be traced.
        ignore_index: a class index whose rows are ignored; None for no such index.
        label_smoothing: in [0, 1], the part of the target that is spread evenly over the classes. May be traced.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `pred`, `weight` and `log_prior`. Indices count
            all classes. None if each device has all.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, a `class_axis_name` of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` that already holds probabilities (the
            double softmax); `log_prior` above 0.

    PyTorch: none.

    Elsewhere: the balanced softmax (arXiv:2007.10740), which is this with a tau of 1.

    Reference: A. K. Menon et al., Long-tail learning via logit adjustment, arXiv:2007.07314.

    >>> logits, log_prior = jnp.array([[1.5, 0.2, -0.5]]), jnp.log(jnp.array([0.7, 0.2, 0.1]))
    >>> print(f"{logit_adjusted_cross_entropy_loss(logits, jnp.array([1]), log_prior=log_prior):.4f}")
    2.6455
    """
    name = "logit_adjusted_cross_entropy_loss"
    call = Call(name, sample_weight, where, reduction, class_axis_name=class_axis_name)
    pred, target, axis = call.labelled(ONE_HOT, axis, ignore_index, pred=pred, target=target)
    smoothing = call.fraction(label_smoothing=label_smoothing)
    log_prior = call.floating([(pred.shape[axis],)], "One number a class.", log_prior=log_prior)
    call.check_log_probabilities("From counts: jnp.log(counts / counts.sum()).", log_prior=log_prior)
    if weight is not None:
        weight = call.one_per_class(pred.shape[axis], weight=weight)
    moved = safe_multiply(call.nonnegative(tau=tau), log_prior.astype(pred.dtype))
    adjusted = pred + along(axis, moved, pred.ndim)
    losses = label_losses(adjusted, target, axis, weight, smoothing, axis_name=call.class_axis_name)
    return call.reduce_labels(losses, target, weight, holds_weights=not all_zero(smoothing))


@compiled_when_eager
def asymmetric_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    gamma_neg: Real[ArrayLike, ""] = 4.0,
    gamma_pos: Real[ArrayLike, ""] = 1.0,
    clip: Real[ArrayLike, ""] = 0.05,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Many labels of which few are true: positives and negatives are focused apart, and easy negatives are dropped.

        p    = sigmoid(pred)
        p_m  = max(p - clip, 0)
        loss = -y (1 - p)^gamma_pos log p - (1 - y) p_m^gamma_neg log(1 - p_m)

    The gradient flows through the focusing factors too. With a `clip` of 0 and equal exponents this is
    `sigmoid_focal_loss` without `alpha`, for targets of 0 and 1.

    Args:
        pred: logits, floating.
        target: probabilities of the positive class in [0, 1], floating, of exactly the shape of `pred`.
        gamma_neg: focusing exponent of the negatives, at least 0. May be traced.
        gamma_pos: focusing exponent of the positives, at least 0. May be traced.
        clip: in [0, 1], taken off the probability of a negative: one with a probability below it has no loss and no
            gradient. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets outside [0, 1]; a forgotten sigmoid, as far as it can be seen
            (see `binary_cross_entropy_with_logits`).

    PyTorch: none.

    Elsewhere: timm's `AsymmetricLossMultiLabel` and the authors' `AsymmetricLoss`, which sum, and take no logarithm of
    less than 1e-8; with `disable_torch_grad_focal_loss`, as the authors train, no gradient flows through the factors.

    Reference: E. Ben-Baruch et al., Asymmetric Loss For Multi-Label Classification, arXiv:2009.14119.

    >>> print(asymmetric_loss(jnp.array([0.8, -0.5, -4.0]), jnp.array([1.0, 0.0, 0.0]), reduction="none").round(4))
    [0.1151 0.0046 0.    ]
    """
    call = Call("asymmetric_loss", sample_weight, where, reduction)
    pred, target = call.binary_logits(pred=pred, target=target)
    gamma_neg, gamma_pos = _exponent(call, "gamma_neg", gamma_neg), _exponent(call, "gamma_pos", gamma_pos)
    clip = call.fraction(clip=clip)
    return call.reduce(fuse_whole(_asymmetric(pred, target, gamma_neg, gamma_pos, clip)))


@compiled_when_eager
def coral_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    importance_weights: Real[ArrayLike, " thresholds"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Ordered classes, by one binary question a threshold, each asked of every example:

        p_k  = sigmoid(pred_k)
        loss = -sum_k w_k ([y > k] log p_k + [y <= k] log(1 - p_k))

    The mean divides by the number of examples, not of thresholds. The predicted class is the number of logits above 0.
    The paper's model has one score and K - 1 biases, so that no threshold contradicts another; the loss takes any
    logits.

    Args:
        pred: logits, floating, of K - 1 thresholds for K classes: that of k says whether y is above k.
        target: class indices in [0, K), integer, of the shape of `pred` without `axis`. An index out of range, also a
            negative one, gives NaN in value and gradient.
        axis: the axis of the thresholds in `pred`.
        importance_weights: one number at least 0 for each threshold; the mean does not divide by them. None for 1 each.
        ignore_index: a class index whose rows are ignored; None for no such index.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, an `axis` that `pred` lacks, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; a forgotten sigmoid, as far as it can be seen (see
            `binary_cross_entropy_with_logits`).

    PyTorch: none.

    Elsewhere: coral-pytorch's `coral_loss`, which takes the questions' answers (`levels`) in place of the class.

    Reference: W. Cao, V. Mirjalili, S. Raschka, Rank consistent ordinal regression for neural networks with application
    to age estimation, arXiv:1901.07884.

    >>> print(f"{coral_loss(jnp.array([[2.0, 0.5, -1.0], [1.0, -1.0, -2.0]]), jnp.array([2, 0])):.4f}")
    1.3339
    """
    call = Call("coral_loss", sample_weight, where, reduction)
    tasks, target, axis = _tasks(call, axis, ignore_index, pred=pred, target=target)
    if importance_weights is not None:
        factor = call.factor((tasks.shape[axis],), importance_weights=importance_weights)
        tasks = safe_multiply(jnp.broadcast_to(along(axis, factor, tasks.ndim), tasks.shape), tasks)
    return call.reduce(_sum_of_tasks(tasks, target, axis))


@compiled_when_eager
def corn_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Ordered classes, by one binary question a threshold, each asked of those who passed the one before:

        p_k  = sigmoid(pred_k)
        loss = -sum_{k <= y} ([y > k] log p_k + [y = k] log(1 - p_k))

    It is the negative log-likelihood of y, where `p_k` is the probability of y > k given y >= k, and k ends at K - 2.
    The mean divides by the number of questions that were asked, min(y + 1, K - 1) of each example, as if each were a
    loss of its own; a callable reduction gets the likelihoods. A logit whose question is not asked counts for nothing.
    The probability of y > k is the product of `p_0` to `p_k`; the predicted class is the number of these above 0.5.

    Args:
        pred: logits, floating, of K - 1 thresholds for K classes: that of k says whether y is above k.
        target: class indices in [0, K), integer, of the shape of `pred` without `axis`. An index out of range, also a
            negative one, gives NaN in value and gradient.
        axis: the axis of the thresholds in `pred`.
        ignore_index: a class index whose rows are ignored; None for no such index.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, an `axis` that `pred` lacks, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; a forgotten sigmoid, as far as it can be seen (see
            `binary_cross_entropy_with_logits`).

    PyTorch: none.

    Elsewhere: coral-pytorch's `corn_loss`, whose only reduction is this mean. That of `coral_loss`, over examples, is
    the sum divided by their number.

    Reference: X. Shi, W. Cao, S. Raschka, Deep Neural Networks for Rank-Consistent Ordinal Regression Based On
    Conditional Probabilities, arXiv:2111.08851.

    >>> print(f"{corn_loss(jnp.array([[2.0, 0.5, -1.0], [1.0, -1.0, -2.0]]), jnp.array([2, 0])):.4f}")
    0.5569
    """
    call = Call("corn_loss", sample_weight, where, reduction)
    tasks, target, axis = _tasks(call, axis, ignore_index, conditional=True, pred=pred, target=target)
    asked = jnp.minimum(target + 1, tasks.shape[axis]).astype(call.dtype)
    return call.reduce_weighed(_sum_of_tasks(tasks, target, axis), asked)


@compiled_when_eager
def sparsemax_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The cross-entropy of the sparsemax, whose probabilities are exactly 0 far below the largest logit.

        p    = max(0, pred - t)                                          with the t at which sum_c p_c = 1
        loss = (1 - p_y)^2 / 2 + sum_{c != y} p_c^2 / 2 + max(0, t - pred_y)

    It is 0, and so is its gradient, `p` less 1 at y, where the true class exceeds every other by 1. A logit of -inf
    costs nothing unless it is the true class's, which then costs inf. A target is one class; for distributions see
    `fenchel_young_loss`.

    Args:
        pred: logits, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        ignore_index: a class index whose rows are ignored; None for no such index.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` that already holds probabilities.

    PyTorch: none.

    Elsewhere: `optax.losses.multiclass_sparsemax_loss`, in which a negative index counts from the end;
    `optax.losses.sparsemax_loss` is the one for binary targets.

    Reference: A. F. T. Martins, R. F. Astudillo, arXiv:1602.02068.

    >>> logits = jnp.array([[1.5, 0.2, -0.5], [0.1, 0.6, 0.5]])
    >>> print(sparsemax_loss(logits, jnp.array([0, 1]), reduction="none").round(4))
    [0.     0.2033]
    """
    call = Call("sparsemax_loss", sample_weight, where, reduction)
    pred, target, axis = call.labelled_as_given(ONE_HOT, axis, ignore_index, pred=pred, target=target)
    call.check_not_softmax(single_precision(pred), axis, call.keep)
    return call.reduce(entmax_loss(pred, target, axis, 1))


@compiled_when_eager
def entmax15_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Between cross-entropy and `sparsemax_loss`: smooth, with probabilities of exactly 0 far below the largest logit.

        r    = max(0, pred / 2 - t)                                      with the t at which sum_c r_c^2 = 1
        loss = 2 / 3 (1 - r_y)^2 (2 + r_y) + 2 / 3 sum_{c != y} r_c^3 + 2 max(0, t - pred_y / 2)

    It is 0, and so is its gradient, `p` less 1 at y with `p = r^2`, where the true class exceeds every other by 2. A
    logit of -inf costs nothing unless it is the true class's, which then costs inf.

    Args:
        pred: logits, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        ignore_index: a class index whose rows are ignored; None for no such index.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` that already holds probabilities.

    PyTorch: none.

    Elsewhere: `entmax.entmax15_loss` of deep-spin, NaN for a logit of -inf; its default ignores the index -100.

    Reference: B. Peters, V. Niculae, A. F. T. Martins, arXiv:1905.05702.

    >>> logits = jnp.array([[1.5, 0.2, -0.5], [0.1, 0.6, 0.5]])
    >>> print(entmax15_loss(logits, jnp.array([0, 1]), reduction="none").round(4))
    [0.0229 0.4021]
    """
    call = Call("entmax15_loss", sample_weight, where, reduction)
    pred, target, axis = call.labelled_as_given(ONE_HOT, axis, ignore_index, pred=pred, target=target)
    call.check_not_softmax(single_precision(pred), axis, call.keep)
    return call.reduce(entmax_loss(pred, target, axis, 2))


@compiled_when_eager
def fenchel_young_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"],
    *,
    max_function: Callable[[Array], Array],
    axis: int = -1,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The loss that a regularised maximum of scores induces:

        loss = max_function(pred) - sum_c target_c pred_c

    Its gradient is that of the maximum, which is the prediction, less the target. With `jax.nn.logsumexp` it is the
    cross-entropy of class probabilities less their entropy; `cross_entropy` and `soft_target_cross_entropy` have more
    digits where both terms are large, and nearly agree. The part of the loss that depends on the target alone is left
    out, so that the least value is 0 for the corners of the domain alone.

    Args:
        pred: scores, floating.
        target: what is to be predicted, floating, of exactly the shape of `pred`: a distribution, a one-hot vector, the
            indicator of a structure. A target of 0 costs nothing against a score of -inf.
        max_function: a function of one vector of scores to a number, convex: max_mu <mu, scores> - omega(mu).
        axis: the axis of `pred` that holds one vector.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: unknown `reduction`.

    PyTorch: none.

    Elsewhere: `optax.losses.make_fenchel_young_loss(max_function)`, over the last axis.

    Reference: M. Blondel, A. F. T. Martins, V. Niculae, arXiv:1901.02324.

    >>> scores, target = jnp.array([[2.0, 1.0, 0.0]]), jnp.array([[0.0, 1.0, 0.0]])
    >>> print(f"{fenchel_young_loss(scores, target, max_function=jax.nn.logsumexp):.4f}")
    1.4076
    """
    call = Call("fenchel_young_loss", sample_weight, where, reduction)
    pred, target = call.classes(axis, "Turn class indices into vectors: jax.nn.one_hot.", pred=pred, target=target)
    axis = call.axis(axis, pred.ndim)
    call.hide(pred.shape[:axis] + pred.shape[axis + 1 :], pred.dtype)
    pred, target = fill_masked(expand_mask(axis, call.keep), 0.0, pred, target)
    largest = jnp.vectorize(max_function, signature="(c)->()")(jnp.moveaxis(pred, axis, -1))
    return call.reduce(largest - jnp.sum(safe_multiply(target, pred), axis))


def _tasks(
    call: Call, axis: int, ignore_index: Any, conditional: bool = False, *, pred: Any, target: Any
) -> tuple[Array, Array, int]:
    """The binary cross-entropies of the thresholds k of ordered classes, whether y is above k; and y, and the axis.

    Where they are conditional, one is asked of those with y >= k alone.
    """
    call.not_swapped(pred=pred, target=target)
    (pred,) = call.classes(axis, pred=pred)
    axis = call.axis(axis, pred.ndim)
    target = call.class_indices(pred, axis, target, ONE_HOT)
    call.hide(target.shape, pred.dtype)
    call.ignore(target, ignore_index)
    (target,), (pred,) = call.visible(0, target), fill_masked(expand_mask(axis, call.keep), 0.0, pred)
    call.check_labels(target, pred.shape[axis] + 1)
    call.check_not_sigmoid(pred, expand_mask(axis, call.keep))
    threshold, y = jax.lax.broadcasted_iota(target.dtype, pred.shape, axis), jnp.expand_dims(target, axis)
    if conditional:
        # The answer would be no, which costs nothing at a logit of -inf. NaN stays, and so do classes out of range.
        pred = jnp.where((y < threshold) & (y >= 0) & ~jnp.isnan(pred), -jnp.inf, pred)
    return bce_of_logits(pred, (y > threshold).astype(pred.dtype)), target, axis


def _sum_of_tasks(tasks: Array, target: Array, axis: int) -> Array:
    """Of one example; NaN where its class is out of range."""
    return jnp.sum(fuse_whole(tasks), axis) * nan_unless(is_class(target, tasks.shape[axis] + 1))


def _check_distributions(call: Call, target: Array, axis: int) -> None:
    """Values in [0, 1] that sum to 1. Turning others into NaN would take a pass over them."""
    call.probabilities(target=target)
    relative, absolute = call.rounding("target", target)
    shard = Shard(target.shape[axis], call.class_axis_name)
    tolerance = SUM_TOLERANCE + relative + absolute * shard.total
    holds = jnp.all(jnp.abs(shard.sum(target.sum(axis)) - 1) <= tolerance)
    call.check(holds, f"`target` must hold distributions that sum to 1 along axis {axis}.")


@with_derivatives(lambda p: 1 / _bernoulli_variance(p))
def _bounded_logit(p: Array) -> Array:
    """log p - log(1 - p), both at least -100, with a finite derivative at 0 and 1."""
    return jnp.maximum(jnp.log(p), -100.0) - jnp.maximum(jnp.log1p(-p), -100.0)


def _derivative_of_probabilities(pred: Array, target: Array, slack: float) -> Array:
    p = near_unit_interval(pred, slack)
    return (p - target) / _bernoulli_variance(p)


@with_derivatives(
    _derivative_of_probabilities,
    lambda pred, target, slack: -_bounded_logit(near_unit_interval(pred, slack)),
    None,
)
def _cross_entropy_of_probabilities(pred: Array, target: Array, slack: float) -> Array:
    p = near_unit_interval(pred, slack)
    return 0.0 - (target * jnp.maximum(jnp.log(p), -100.0) + (1 - target) * jnp.maximum(jnp.log1p(-p), -100.0))


def _bernoulli_variance(p: Array) -> Array:
    """p (1 - p), at least PyTorch's 1e-12; NaN where p is not a probability."""
    return jnp.maximum(p * (1 - p), 1e-12) * nan_unless((p >= 0) & (p <= 1))


def _exponent(call: Call, name: str, gamma: Any) -> Array | float:
    """An exponent, with infinity as a number so large that a power of less than 1 is 0, and so is its derivative."""
    gamma = call.nonnegative(**{name: gamma})
    return min(gamma, 2.0**60) if isinstance(gamma, float) else jnp.minimum(gamma, 2.0**60)


def _focal(one_minus_p_t: Callable[..., Array], unmodulated_derivative: Callable[..., Array]) -> Callable[..., Array]:
    """(y a + (1 - y) b) m^gamma bce, from m = 1 - p_t and from gamma bce m' / m + bce'."""

    def balance(target: Array, positive: Any, negative: Any) -> Array:
        return positive * target + negative * (1 - target)

    def derivative(pred: Array, target: Array, gamma: Array | float, *alpha: Array | float) -> Array:
        modulated = modulation(pred, target, gamma) * unmodulated_derivative(pred, target, gamma)
        return balance(target, *alpha) * modulated

    def derivative_to_gamma(pred: Array, target: Array, gamma: Array | float, *alpha: Array | float) -> Array:
        return safe_multiply(focal(pred, target, gamma, *alpha), log_one_minus_p_t(pred, target))

    @with_derivatives(
        derivative,
        None,
        derivative_to_gamma,
        lambda pred, target, gamma, *alpha: target * unbalanced(pred, target, gamma),
        lambda pred, target, gamma, *alpha: (1 - target) * unbalanced(pred, target, gamma),
    )
    def focal(
        pred: Array, target: Array, gamma: Array | float, positive: Array | float, negative: Array | float
    ) -> Array:
        return balance(target, positive, negative) * unbalanced(pred, target, gamma)

    def unbalanced(pred: Array, target: Array, gamma: Array | float) -> Array:
        return modulation(pred, target, gamma) * bce_of_logits(pred, target)

    def modulation(pred: Array, target: Array, gamma: Array | float) -> Array:
        return power_with_log(one_minus_p_t(pred, target), log_one_minus_p_t(pred, target), gamma)

    def log_one_minus_p_t(pred: Array, target: Array) -> Array:
        """Where a target is 0 or 1 the logarithm is known, however small 1 - p_t is."""
        hard, soft_value = (target == 0) | (target == 1), one_minus_p_t(pred, target)
        log_soft = jnp.log(jnp.where(hard | (soft_value == 0), 1.0, soft_value))
        return jnp.where(hard, -softplus(jnp.where(target == 1, pred, -pred)), log_soft)

    return focal


def _modulation_of_margin(margin: Array, gamma: Array | float) -> Array:
    """(1 - p_y)^gamma"""
    return power_with_log(jax.nn.sigmoid(-margin), -softplus(margin), gamma)


def _derivative_to_margin(margin: Array, gamma: Array | float) -> Array:
    focused = jax.nn.sigmoid(-margin) + gamma * safe_multiply(jax.nn.sigmoid(margin), softplus(-margin))
    return -_modulation_of_margin(margin, gamma) * focused


@with_derivatives(_derivative_to_margin, lambda margin, gamma: _derivative_to_gamma_of_margin(margin, gamma))
def _focal_of_margin(margin: Array, gamma: Array | float) -> Array:
    """-(1 - p_y)^gamma log p_y, with finite derivatives where the true class has a logit of -inf."""
    return _modulation_of_margin(margin, gamma) * softplus(-margin)


def _derivative_to_gamma_of_margin(margin: Array, gamma: Array | float) -> Array:
    return -safe_multiply(softplus(margin), _focal_of_margin(margin, gamma))


def _clipped(logits: Array, clip: Array | float) -> tuple[Array, Array, Array]:
    """p_m = max(p - clip, 0); log p_m, finite; and 1 - p_m = 1 - p + clip where p_m is not 0."""
    p, rest = sigmoid_and_rest(logits)
    p_m = jax.nn.relu(p - clip)
    return p_m, jnp.log(jnp.where(p_m == 0, 1.0, p_m)), rest + clip


def _slope_of_clipped(logits: Array, clip: Array | float, to_clip: bool) -> Array:
    """Of -log(1 - p_m): p (1 - p) / (1 - p_m), where 1 - p may be 0 if `clip` is."""
    p, rest = sigmoid_and_rest(logits)
    total = rest + clip
    one_left = total == 0
    if to_clip:
        slope = -1 / total
    else:
        slope = p * jnp.where(one_left, 1.0, stable_divide(rest, jnp.where(one_left, 1.0, total)))
    return jnp.where(p <= clip, 0.0, slope)


@with_derivatives(
    functools.partial(_slope_of_clipped, to_clip=False),
    functools.partial(_slope_of_clipped, to_clip=True),
)
def _surprisal_of_clipped(logits: Array, clip: Array | float) -> Array:
    """-log(1 - p_m), from p_m where that is small, and else from 1 - p."""
    p_m, _, rest = _clipped(logits, clip)
    surprisal = jnp.where(p_m < 0.5, -jnp.log1p(-jnp.minimum(p_m, 0.5)), -jnp.log(rest))
    return jnp.where(clip == 0, softplus(logits), surprisal)


def _negative(logits: Array, gamma: Array | float, clip: Array | float) -> Array:
    """-p_m^gamma log(1 - p_m)"""
    p_m, log_p_m, _ = _clipped(logits, clip)
    return power_with_log(p_m, log_p_m, gamma) * _surprisal_of_clipped(logits, clip)


def _slope_of_negative(logits: Array, gamma: Array | float, clip: Array | float, to_clip: bool) -> Array:
    """p_m^gamma (s' + gamma s p_m' / p_m) with s = -log(1 - p_m); below an ulp s / p_m is 1."""
    p_m, log_p_m, _ = _clipped(logits, clip)
    tiny = p_m < float(jnp.finfo(logits.dtype).eps)
    ratio = jnp.where(tiny, 1.0, stable_divide(_surprisal_of_clipped(logits, clip), jnp.where(tiny, 1.0, p_m)))
    p, rest = sigmoid_and_rest(logits)
    focused = gamma * (-ratio if to_clip else p * safe_multiply(rest, ratio))
    slope = power_with_log(p_m, log_p_m, gamma) * (_slope_of_clipped(logits, clip, to_clip) + focused)
    return jnp.where(p <= clip, 0.0, slope)


@with_derivatives(
    lambda logits, target, gamma_neg, gamma_pos, clip: (
        target * _derivative_to_margin(logits, gamma_pos)
        + (1 - target) * _slope_of_negative(logits, gamma_neg, clip, to_clip=False)
    ),
    lambda logits, target, gamma_neg, gamma_pos, clip: (
        _focal_of_margin(logits, gamma_pos) - _negative(logits, gamma_neg, clip)
    ),
    lambda logits, target, gamma_neg, gamma_pos, clip: safe_multiply(
        1 - target, safe_multiply(_clipped(logits, clip)[1], _negative(logits, gamma_neg, clip))
    ),
    lambda logits, target, gamma_neg, gamma_pos, clip: safe_multiply(
        target, _derivative_to_gamma_of_margin(logits, gamma_pos)
    ),
    lambda logits, target, gamma_neg, gamma_pos, clip: safe_multiply(
        1 - target, _slope_of_negative(logits, gamma_neg, clip, to_clip=True)
    ),
)
def _asymmetric(
    logits: Array, target: Array, gamma_neg: Array | float, gamma_pos: Array | float, clip: Array | float
) -> Array:
    """The focal loss of the positives, and of the negatives with what `clip` leaves of their probability."""
    positive, negative = _focal_of_margin(logits, gamma_pos), _negative(logits, gamma_neg, clip)
    return safe_multiply(target, positive) + safe_multiply(1 - target, negative)


@with_derivatives(
    # 1 + epsilon p_y as (1 - p_y) + (1 + epsilon) p_y: at an epsilon of -1 it does not cancel.
    lambda margin, epsilon: (
        -jax.nn.sigmoid(-margin) * (jax.nn.sigmoid(-margin) + (1 + epsilon) * jax.nn.sigmoid(margin))
    ),
    lambda margin, epsilon: jax.nn.sigmoid(-margin),
)
def _poly1_of_margin(margin: Array, epsilon: Array | float) -> Array:
    """epsilon (1 - p_y) - log p_y"""
    return softplus(-margin) + epsilon * jax.nn.sigmoid(-margin)


@with_derivatives(
    lambda margin, q: -jnp.exp(-safe_multiply(q, softplus(-margin))) * jax.nn.sigmoid(-margin),
    lambda margin, q: _derivative_to_q_of_margin(margin, q),
)
def _generalized_of_margin(margin: Array, q: Array | float) -> Array:
    """(1 - p_y^q) / q; below an ulp of q log p_y it is -log p_y, at a q of 0 too."""
    cross_entropy = softplus(-margin)
    exponent = safe_multiply(q, cross_entropy)
    linear = exponent < 0.5 * float(jnp.finfo(margin.dtype).eps)
    return jnp.where(linear, cross_entropy, -jnp.expm1(-exponent) / jnp.where(linear, 1.0, q))


def _derivative_to_q_of_margin(margin: Array, q: Array | float) -> Array:
    """-(1 - (1 + t) exp(-t)) / q^2 with t = -q log p_y, by its series where t is small."""
    cross_entropy = softplus(-margin)
    exponent = safe_multiply(q, cross_entropy)
    small = exponent < 0.5
    coefficients = [(-1) ** k / (math.factorial(k) * (k + 2)) for k in reversed(range(14))]
    series = jnp.polyval(jnp.asarray(coefficients, margin.dtype), jnp.where(small, exponent, 0.0))
    near = jnp.square(jnp.where(small, cross_entropy, 0.0)) * series
    large = jnp.where(small, 1.0, jnp.minimum(exponent, 100.0))
    far = (1 - (1 + large) * jnp.exp(-large)) / jnp.square(jnp.where(small, 1.0, q))
    return -jnp.where(small, near, far)


def _one_minus_exp_of_bce(pred: Array, target: Array) -> Array:
    """1 - exp(-bce)"""
    small = exp_neg_abs(pred)
    return (small - jnp.expm1(-bce_linear_part(pred, target))) / (1 + small)


def _derivative_of_bce(pred: Array, target: Array, gamma: Array | float) -> Array:
    """bce m' / m = bce bce' exp(-bce) / m, where bce / m is 1 below an ulp, and all is 0 beyond 80."""
    small, linear = exp_neg_abs(pred), bce_linear_part(pred, target)
    numerator = small - jnp.expm1(-linear)
    tiny = numerator < float(jnp.finfo(pred.dtype).eps)
    bce = jnp.minimum(bce_of_logits(pred, target), 80.0)
    ratio = jnp.where(tiny, 1.0, stable_divide(bce * jnp.exp(-linear), jnp.where(tiny, 1.0, numerator)))
    return (ratio * gamma + 1) * bce_derivative(pred, target)


def _derivative_of_sigmoid(pred: Array, target: Array, gamma: Array | float) -> Array:
    """m = y (1 - p) + (1 - y) p, so m' / m = (1 - 2 y) p (1 - p) / m, where p or 1 - p cancels for y = 0 or 1."""
    unlikely, small = less_likely_target(pred, target), exp_neg_abs(pred)
    right = unlikely == 0
    ratio = jnp.where(right, 1.0, stable_divide(small, jnp.where(right, 1.0, unlikely + (1 - unlikely) * small)))
    finite_bce = jnp.minimum(bce_of_logits(pred, target), float(jnp.finfo(pred.dtype).max))
    return bce_derivative(pred, target) + gamma * ((1 - 2 * target) * ratio / (1 + small) * finite_bce)


_focal_of_bce = _focal(_one_minus_exp_of_bce, _derivative_of_bce)
_focal_of_sigmoid = _focal(one_minus_p_t, _derivative_of_sigmoid)
