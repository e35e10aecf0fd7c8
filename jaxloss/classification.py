"""Classification: class indices, class probabilities and binary targets against logits."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxloss._contracts import Contract, near_unit_interval, single_precision
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics import (
    bce_of_logits,
    bce_slope,
    entry,
    expand,
    fill_hidden,
    in_one_piece,
    is_class,
    log_softmax,
    logit_margin,
    miss,
    nan_unless,
    negative_log_softmax,
    odds,
    penalty,
    power,
    quotient,
    soft_cross_entropy,
    softplus,
    take_class,
    weigh,
    weighted_bce_of_logits,
    with_slopes,
    wrong_side,
)
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction, reduce_weighted, resolve

INDICES = "For class probabilities or one-hot targets use soft_target_cross_entropy."
_ONE_HOT = "Turn one-hot targets into indices: target.argmax(axis)."
_PROBABILITIES = "For integer class indices use cross_entropy."
_LOGITS = "For logits use binary_cross_entropy_with_logits."
_LOG_PROBABILITIES = "For logits use cross_entropy; for probabilities take the logarithm."
_BINARY = (
    "Binary targets are floats of the shape of the logits: target.astype(jnp.float32); for classes, cross_entropy."
)


@compiled_when_eager
def cross_entropy(
    pred: Float[ArrayLike, "*batch classes"],
    target: Int[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    weight: Float[ArrayLike, " classes"] | None = None,
    ignore_index: Int[ArrayLike, ""] | int | None = None,
    label_smoothing: Float[ArrayLike, ""] | float = 0.0,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Softmax and negative log-likelihood of the true class y, with weights w and smoothing e:

        p    = softmax(pred)
        loss = -(1 - e) w_y log p_y - e / classes sum_c w_c log p_c

    The mean divides by the sum of the weights `w_y` that were used; where that is 0 it is 0, whatever the smoothing. A
    callable reduction gets the losses without weights, and the weights; with class weights and smoothing, where a loss
    is no product of the two, it gets what "none" returns, and the mask. Not for a model that ends in a softmax: `pred`
    are logits. Log-probabilities are logits too.

    Args:
        pred: logits, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            negative ones too, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        weight: one number at least 0 for each class; 0 rescales and does not hide (0 times NaN is NaN).
        ignore_index: a class index that counts for nothing; None for no such index (PyTorch's default is -100).
        label_smoothing: in [0, 1], the part of the target that is spread evenly over the classes. May be traced.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` that already are probabilities (the double
            softmax).

    PyTorch: `torch.nn.functional.cross_entropy` with class indices, `torch.nn.CrossEntropyLoss`.

    Reference: I. J. Good, Rational Decisions, 1952, doi:10.1111/j.2517-6161.1952.tb00104.x; label smoothing:
    C. Szegedy et al., arXiv:1512.00567.

    >>> logits = jnp.array([[1.5, 0.2, -0.5], [0.1, 2.0, 0.5]])
    >>> print(cross_entropy(logits, jnp.array([0, 1]), reduction="none").round(4))
    [0.3421 0.3168]
    """
    contract = Contract("cross_entropy")
    resolve(contract.function, reduction)
    pred, target, axis, keep = _class_logits(contract, pred, target, axis, ignore_index, where, INDICES)
    return index_cross_entropy(contract, pred, target, axis, weight, label_smoothing, keep, reduction)


@compiled_when_eager
def nll_loss(
    pred: Float[ArrayLike, "*batch classes"],
    target: Int[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    weight: Float[ArrayLike, " classes"] | None = None,
    ignore_index: Int[ArrayLike, ""] | int | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Negative log-likelihood of the true class y, with weights w:

        loss = -w_y pred_y

    The mean divides by the sum of the weights `w_y` that were used. Not for logits: `cross_entropy` takes those, in one
    step and with more digits. A log-probability of -inf that is not the true class's contributes 0.

    Args:
        pred: log-probabilities, at most 0, floating: `log_softmax(logits, axis)`.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            negative ones too, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        weight: one number at least 0 for each class; 0 rescales and does not hide (0 times NaN is NaN).
        ignore_index: a class index that counts for nothing; None for no such index (PyTorch's default is -100).
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: an `axis` that `pred` lacks, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` above 0 (probabilities or logits in place
            of log-probabilities).

    PyTorch: `torch.nn.functional.nll_loss`, `torch.nn.NLLLoss`.

    Reference: I. J. Good, Rational Decisions, 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.

    >>> log_p = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]))
    >>> print(nll_loss(log_p, jnp.array([1, 1]), reduction="none").round(4))
    [1.3863 0.    ]
    """
    contract = Contract("nll_loss")
    reduce = resolve(contract.function, reduction)
    pred, target, axis, keep = class_scores(contract, pred, target, axis, ignore_index, where, _ONE_HOT)
    contract.check_log_probabilities(_LOG_PROBABILITIES, pred=pred)

    values = 0.0 - entry(pred, target, axis)  # 0, not -0
    if weight is None:
        return reduce(values, keep)
    weight = contract.one_per_class(pred.shape[axis], pred.dtype, weight=weight)
    return reduce(values, _label_weights(weight, target, values, keep))


@compiled_when_eager
def soft_target_cross_entropy(
    pred: Float[ArrayLike, "*batch classes"],
    target: Float[ArrayLike, "*batch classes"],
    *,
    axis: int = -1,
    weight: Float[ArrayLike, " classes"] | None = None,
    label_smoothing: Float[ArrayLike, ""] | float = 0.0,
    where: Bool[ArrayLike, "*batch"] | None = None,
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
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets that are not distributions; `pred` that already are
            probabilities.

    PyTorch: `torch.nn.functional.cross_entropy` with class probabilities.

    Reference: I. J. Good, Rational Decisions, 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.

    >>> logits = jnp.array([[2.0, 1.0, -jnp.inf]])
    >>> print(f"{soft_target_cross_entropy(logits, jnp.array([[0.5, 0.5, 0.0]])):.4f}")
    0.8133
    """
    contract = Contract("soft_target_cross_entropy")
    reduce = resolve(contract.function, reduction)
    pred, target = contract.classes(axis, _PROBABILITIES, pred=pred, target=target)
    axis = contract.axis(axis, pred.ndim)
    keep = contract.mask(pred.shape[:axis] + pred.shape[axis + 1 :], where=where)
    (pred,) = fill_hidden(expand(axis, keep), 0.0, pred)
    (target,) = fill_hidden(expand(axis, keep), 1 / pred.shape[axis], target)
    target = contract.distributions(target, axis)
    contract.check_not_softmax(pred, axis, keep)
    smoothing = contract.fraction(pred.dtype, label_smoothing=label_smoothing)

    if not all_zero(smoothing):
        target = (1 - smoothing) * target + smoothing / pred.shape[axis]
    if weight is not None:
        weight = contract.one_per_class(pred.shape[axis], pred.dtype, weight=weight)
        target = target * _along(axis, weight, pred.ndim)
    return reduce(soft_cross_entropy(pred, target, axis), keep)


@compiled_when_eager
def binary_cross_entropy(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    weight: Float[ArrayLike, "*#batch"] | float | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Binary cross-entropy of probabilities p, element by element, with weights w:

        loss = -w (y log p + (1 - y) log(1 - p))

    For a model that ends in a sigmoid and cannot be changed. Where logits can be had, use
    `binary_cross_entropy_with_logits`: a float32 sigmoid is exactly 1 from a logit of 17 on, and what it rounds away no
    loss can bring back. As in PyTorch, a logarithm is never below -100 and the slope `(p - y) / (p (1 - p))` never
    divides by less than 1e-12, so both stay finite at probabilities of 0 and 1.

    Args:
        pred: probabilities of the positive class in [0, 1], floating. Outside they give NaN in value and gradient;
            up to four units in the last place beyond 0 or 1, where rounding carries a sum, they count as 0 or 1.
        target: probabilities of the positive class in [0, 1], floating, of exactly the shape of `pred`. Outside they
            give NaN, as in every loss of binary targets.
        weight: rescales the loss of each element, at least 0; broadcasts to `pred`. The mean still divides by the
            number of elements, as PyTorch's does.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
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
    contract = Contract("binary_cross_entropy")
    reduce = resolve(contract.function, reduction)
    pred, target = contract.floats_as_given(_BINARY, pred=pred, target=target)
    where = contract.mask(pred.shape, where=where)
    pred, target = fill_hidden(where, 0.5, pred, target)
    contract.probabilities(_LOGITS, pred=pred)  # The formula finds the NaN itself, beside the ends.
    target = contract.probabilities(target=target)
    values = _cross_entropy_of_probabilities(pred, target)
    if weight is not None:
        values = weigh(_factor(contract, values, where, weight=weight), values)
    return reduce(in_one_piece(values), where)


@compiled_when_eager
def binary_cross_entropy_with_logits(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    weight: Float[ArrayLike, "*#batch"] | float | None = None,
    pos_weight: Float[ArrayLike, "*#batch"] | float | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Sigmoid and binary cross-entropy, element by element, with weights w and p:

        loss = -w (p y log sigmoid(x) + (1 - y) log(1 - sigmoid(x)))

    Not for a model that ends in a sigmoid: `pred` are logits. Any single number is a valid logit, so a value check can
    report a forgotten sigmoid only from its traces in many: 32 or more values, none outside [0, 1], some below 0.1 and
    some above 0.9. A few probabilities, or probabilities all near 0.5, cannot be told from logits.

    Args:
        pred: logits, floating.
        target: probabilities of the positive class in [0, 1], floating, of exactly the shape of `pred`.
        weight: rescales the loss of each element, at least 0; broadcasts to `pred`. The mean still divides by the
            number of elements, as PyTorch's does.
        pos_weight: rescales the positive part, at least 0; broadcasts to `pred`. Above 1 it buys recall, below 1
            precision.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
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
    contract = Contract("binary_cross_entropy_with_logits")
    reduce = resolve(contract.function, reduction)
    pred, target, where = binary_logits(contract, pred, target, where)
    if pos_weight is None:
        values = bce_of_logits(pred, target)
    else:
        values = weighted_bce_of_logits(pred, target, _factor(contract, pred, where, pos_weight=pos_weight))
    if weight is not None:
        values = weigh(_factor(contract, pred, where, weight=weight), values)
    return reduce(in_one_piece(values), where)


@compiled_when_eager
def focal_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    alpha: Float[ArrayLike, "*#batch"] | float = 0.25,
    gamma: Float[ArrayLike, ""] | float = 2.0,
    where: Bool[ArrayLike, "*batch"] | None = None,
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
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets outside [0, 1]; a forgotten sigmoid, as far as it can be seen
            (`binary_cross_entropy_with_logits`).

    PyTorch: none.

    Reference: T.-Y. Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002.

    >>> print(f"{focal_loss(jnp.array([0.8, -0.5]), jnp.array([1.0, 0.0])):.4f}")
    0.0129
    """
    contract = Contract("focal_loss")
    reduce = resolve(contract.function, reduction)
    pred, target, where = binary_logits(contract, pred, target, where)
    target = jax.lax.stop_gradient(target)
    gamma = contract.nonnegative(pred.dtype, gamma=gamma)
    alpha = _factor(contract, pred, where, alpha=alpha)
    return reduce(in_one_piece(_focal_of_bce(pred, target, gamma, alpha, alpha)), where)


@compiled_when_eager
def sigmoid_focal_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    alpha: Float[ArrayLike, ""] | float | None = 0.25,
    gamma: Float[ArrayLike, ""] | float = 2.0,
    where: Bool[ArrayLike, "*batch"] | None = None,
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
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`. Detectors sum and
            divide by the number of positives.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets outside [0, 1]; a forgotten sigmoid, as far as it can be seen
            (`binary_cross_entropy_with_logits`).

    PyTorch: `torchvision.ops.sigmoid_focal_loss`, whose default reduction is "none".

    Reference: T.-Y. Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002.

    >>> print(sigmoid_focal_loss(jnp.array([0.8, -0.5]), jnp.array([1.0, 0.0]), reduction="none").round(4))
    [0.0089 0.0507]
    """
    contract = Contract("sigmoid_focal_loss")
    reduce = resolve(contract.function, reduction)
    pred, target, where = binary_logits(contract, pred, target, where)
    target = jax.lax.stop_gradient(target)
    gamma = contract.nonnegative(pred.dtype, gamma=gamma)
    positive = negative = 1.0
    if alpha is not None:
        positive = contract.fraction(pred.dtype, alpha=alpha)
        negative = 1 - positive
    return reduce(in_one_piece(_focal_of_sigmoid(pred, target, gamma, positive, negative)), where)


@compiled_when_eager
def softmax_focal_loss(
    pred: Float[ArrayLike, "*batch classes"],
    target: Int[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    alpha: Float[ArrayLike, ""] | Float[ArrayLike, " classes"] | float | None = None,
    gamma: Float[ArrayLike, ""] | float = 2.0,
    ignore_index: Int[ArrayLike, ""] | int | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Focal loss over classes: the cross-entropy of the true class y, less where it is easy.

        p    = softmax(pred)
        loss = -alpha_y (1 - p_y)^gamma log p_y

    Args:
        pred: logits, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            negative ones too, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        alpha: a factor at least 0, or one for each class; the mean does not divide by it. None for none. May be traced.
        gamma: focusing exponent, at least 0; at 0 this is `cross_entropy`. May be traced.
        ignore_index: a class index that counts for nothing; None for no such index.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` that already are probabilities (the double
            softmax).

    PyTorch: none.

    Reference: T.-Y. Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002.

    >>> logits = jnp.array([[1.5, 0.2, -0.5], [0.1, 2.0, 0.5]])
    >>> print(softmax_focal_loss(logits, jnp.array([0, 1]), reduction="none").round(4))
    [0.0287 0.0234]
    """
    contract = Contract("softmax_focal_loss")
    reduce = resolve(contract.function, reduction)
    pred, target, axis, keep = _class_logits(contract, pred, target, axis, ignore_index, where, _ONE_HOT)
    gamma = contract.nonnegative(pred.dtype, gamma=gamma)
    values = _focal_of_margin(logit_margin(pred, target, axis), gamma)
    if alpha is not None:
        alpha = contract.factor((pred.shape[axis],), pred.dtype, alpha=alpha)
        values = weigh(take_class(alpha, target), values)
    return reduce(values, keep)


def binary_logits(contract: Contract, pred: Any, target: Any, where: Any) -> tuple[Array, Array, Array | None]:
    """What every loss on sigmoid logits does first; the mask is of elements."""
    pred, target = contract.floats(_BINARY, pred=pred, target=target)
    where = contract.mask(pred.shape, where=where)
    pred, target = fill_hidden(where, 0.0, pred, target)
    target = contract.probabilities(target=target)
    contract.check_not_sigmoid(pred, where)
    return pred, target, where


def index_cross_entropy(
    contract: Contract,
    pred: Array,
    target: Array,
    axis: int,
    weight: Any,
    label_smoothing: Any,
    keep: Array | None,
    reduction: Reduction,
) -> Array:
    """The reduced cross-entropy of checked logits and indices."""
    smoothing = contract.fraction(pred.dtype, label_smoothing=label_smoothing)
    if weight is not None:
        weight = contract.one_per_class(pred.shape[axis], pred.dtype, weight=weight)
    losses = index_losses(pred, target, axis, weight, smoothing)
    return reduce_index_losses(contract.function, reduction, losses, target, weight, smoothing, 0.0, keep)


def index_losses(
    pred: Array, target: Array, axis: int, weight: Array | None, smoothing: Array | float, z_loss: Array | float = 0.0
) -> Array:
    """Unreduced; the weight of the label is in it where something is added that does not count with that weight."""

    def spread() -> Array:
        losses = -log_softmax(pred, axis)
        return (losses if weight is None else weigh(_along(axis, weight, pred.ndim), losses)).mean(axis)

    log_total = functools.partial(jax.nn.logsumexp, pred, axis)
    losses = negative_log_softmax(pred, target, axis)
    return _add_options(losses, spread, log_total, target, weight, smoothing, z_loss)


def index_losses_of_sums(
    sums: tuple[Array, Array, Array],
    target: Array,
    classes: int,
    weight: Array | None,
    smoothing: Array | float,
    z_loss: Array | float,
) -> Array:
    """The same, from the logit of the label, log sum exp of the others, and the weighted sum of all."""
    own, log_others, weighted = sums
    own = own * nan_unless(is_class(target, classes))
    log_total = jnp.logaddexp(own, log_others)

    def spread() -> Array:
        return log_total * (1.0 if weight is None else weight.mean()) - weighted / classes

    return _add_options(softplus(log_others - own), spread, lambda: log_total, target, weight, smoothing, z_loss)


def _add_options(
    losses: Array,
    spread: Callable[[], Array],
    log_total: Callable[[], Array],
    target: Array,
    weight: Array | None,
    smoothing: Array | float,
    z_loss: Array | float,
) -> Array:
    if weight is not None and not all_zero(smoothing, z_loss):
        losses = weigh(take_class(weight, target), losses)
    if not all_zero(smoothing):
        # The smoothing counts with the weights of all classes, those of a label of weight 0 too.
        losses = _smoothed(smoothing, losses, spread())
    if not all_zero(z_loss):
        losses = losses + z_loss * log_total() ** 2
    return losses


def reduce_index_losses(
    function: str,
    reduction: Reduction,
    losses: Array,
    target: Array,
    weight: Array | None,
    smoothing: Array | float,
    z_loss: Array | float,
    keep: Array | None,
) -> Array:
    """What `index_losses` returned, reduced with the weights of the labels."""
    if weight is None:
        return resolve(function, reduction)(losses, keep)
    if all_zero(smoothing, z_loss):
        return resolve(function, reduction)(losses, _label_weights(weight, target, losses, keep))
    return reduce_weighted(function, reduction, losses, take_class(weight, target), keep)


def _label_weights(weight: Array, target: Array, losses: Array, keep: Array | None) -> Array:
    """The weights of the labels. That of a loss that is NaN is NaN: a reduction would hide the loss if it were 0."""
    return fill_hidden(keep, 0.0, take_class(weight, target) * nan_unless(~jnp.isnan(losses)))[0]


def _class_logits(
    contract: Contract, pred: Any, target: Any, axis: int, ignore_index: Any, where: Any, hint: str
) -> tuple[Array, Array, int, Array | None]:
    """What every loss on class indices and logits does first."""
    pred, target, axis, keep = class_scores(contract, pred, target, axis, ignore_index, where, hint)
    contract.check_not_softmax(pred, axis, keep)
    return pred, target, axis, keep


def class_scores(
    contract: Contract, pred: Any, target: Any, axis: int, ignore_index: Any, where: Any, hint: str
) -> tuple[Array, Array, int, Array | None]:
    """What every loss on class indices does first; what is ignored or masked becomes class 0 of equal classes."""
    contract.not_swapped(pred=pred, target=target)
    (pred,) = contract.classes(axis, pred=pred)
    axis = contract.axis(axis, pred.ndim)
    target = contract.class_indices(pred, axis, target, hint)
    keep = ignored(contract, target, ignore_index, where)
    (target,) = fill_hidden(keep, 0, target)
    (pred,) = fill_hidden(expand(axis, keep), 0.0, pred)
    contract.check_labels(target, pred.shape[axis])
    return pred, target, axis, keep


def ignored(contract: Contract, target: Array, ignore_index: Any, where: Any) -> Array | None:
    """The mask, less the labels that `ignore_index` names."""
    keep = contract.mask(target.shape, where=where)
    if ignore_index is None:
        return keep
    index = contract.index(ignore_index=ignore_index)
    wide = jnp.promote_types(target.dtype, index.dtype)
    named = target.astype(wide) != index.astype(wide)
    return named if keep is None else keep & named


@with_slopes(lambda p: 1 / _bernoulli_variance(p))
def _bounded_logit(p: Array) -> Array:
    """log p - log(1 - p), both at least -100: its derivative is finite at 0 and 1."""
    return jnp.maximum(jnp.log(p), -100.0) - jnp.maximum(jnp.log1p(-p), -100.0)


def _slope_of_probabilities(pred: Array, target: Array) -> Array:
    p = near_unit_interval(pred)
    return (p - single_precision(target)) / _bernoulli_variance(p)


@with_slopes(_slope_of_probabilities, lambda pred, target: -_bounded_logit(near_unit_interval(pred)))
def _cross_entropy_of_probabilities(pred: Array, target: Array) -> Array:
    p, y = near_unit_interval(pred), single_precision(target)
    return 0.0 - (y * jnp.maximum(jnp.log(p), -100.0) + (1 - y) * jnp.maximum(jnp.log1p(-p), -100.0))


def _bernoulli_variance(p: Array) -> Array:
    """p (1 - p), at least PyTorch's 1e-12; NaN where p is no probability."""
    return jnp.maximum(p * (1 - p), 1e-12) * nan_unless((p >= 0) & (p <= 1))


def _focal(miss: Callable[..., Array], unmodulated_slope: Callable[..., Array]) -> Callable[..., Array]:
    """(y a + (1 - y) b) m^gamma bce, from m = 1 - p_t and from gamma bce m' / m + bce'."""

    def balance(target: Array, positive: Any, negative: Any) -> Array:
        return positive * target + negative * (1 - target)

    def slope(pred: Array, target: Array, gamma: Array | float, *alpha: Array | float) -> Array:
        return balance(target, *alpha) * modulation(pred, target, gamma) * unmodulated_slope(pred, target, gamma)

    def slope_of_gamma(pred: Array, target: Array, gamma: Array | float, *alpha: Array | float) -> Array:
        return weigh(focal(pred, target, gamma, *alpha), log_miss(pred, target))

    @with_slopes(
        slope,
        None,
        slope_of_gamma,
        lambda pred, target, gamma, *alpha: target * balanced(pred, target, gamma),
        lambda pred, target, gamma, *alpha: (1 - target) * balanced(pred, target, gamma),
    )
    def focal(
        pred: Array, target: Array, gamma: Array | float, positive: Array | float, negative: Array | float
    ) -> Array:
        return balance(target, positive, negative) * balanced(pred, target, gamma)

    def balanced(pred: Array, target: Array, gamma: Array | float) -> Array:
        return modulation(pred, target, gamma) * bce_of_logits(pred, target)

    def modulation(pred: Array, target: Array, gamma: Array | float) -> Array:
        return power(miss(pred, target), log_miss(pred, target), gamma)

    def log_miss(pred: Array, target: Array) -> Array:
        """Where a target is 0 or 1 it is known however small 1 - p_t is."""
        hard, size = (target == 0) | (target == 1), miss(pred, target)
        log_size = jnp.log(jnp.where(hard | (size == 0), 1.0, size))
        return jnp.where(hard, -softplus(jnp.where(target == 1, pred, -pred)), log_size)

    return focal


def _modulation_of_margin(margin: Array, gamma: ArrayLike) -> Array:
    """(1 - p_y)^gamma"""
    return power(jax.nn.sigmoid(-margin), -softplus(margin), gamma)


@with_slopes(
    lambda margin, gamma: (
        -_modulation_of_margin(margin, gamma)
        * (jax.nn.sigmoid(-margin) + gamma * weigh(jax.nn.sigmoid(margin), softplus(-margin)))
    ),
    lambda margin, gamma: -weigh(softplus(margin), _focal_of_margin(margin, gamma)),
)
def _focal_of_margin(margin: Array, gamma: ArrayLike) -> Array:
    """-(1 - p_y)^gamma log p_y, with finite slopes where the true class has a logit of -inf."""
    return _modulation_of_margin(margin, gamma) * softplus(-margin)


def _miss_of_bce(pred: Array, target: Array) -> Array:
    """1 - exp(-bce)"""
    less = odds(pred)
    return (less - jnp.expm1(-penalty(pred, target))) / (1 + less)


def _slope_of_bce(pred: Array, target: Array, gamma: Array | float) -> Array:
    """bce m' / m = bce bce' exp(-bce) / m, where bce / m is 1 below an ulp, and all is 0 beyond 80."""
    less, fine = odds(pred), penalty(pred, target)
    missed = less - jnp.expm1(-fine)
    small = missed < float(jnp.finfo(pred.dtype).eps)
    bce = jnp.minimum(bce_of_logits(pred, target), 80.0)
    share = jnp.where(small, 1.0, quotient(bce * jnp.exp(-fine), jnp.where(small, 1.0, missed)))
    return (share * gamma + 1) * bce_slope(pred, target)


def _slope_of_sigmoid(pred: Array, target: Array, gamma: Array | float) -> Array:
    """m = y (1 - p) + (1 - y) p, so m' / m = (1 - 2 y) p (1 - p) / m, of which p or 1 - p cancels for y = 0 or 1."""
    wrong, less = wrong_side(pred, target), odds(pred)
    right = wrong == 0
    share = jnp.where(right, 1.0, quotient(less, jnp.where(right, 1.0, wrong + (1 - wrong) * less)))
    finite_bce = jnp.minimum(bce_of_logits(pred, target), float(jnp.finfo(pred.dtype).max))
    return bce_slope(pred, target) + gamma * ((1 - 2 * target) * share / (1 + less) * finite_bce)


_focal_of_bce = _focal(_miss_of_bce, _slope_of_bce)
_focal_of_sigmoid = _focal(miss, _slope_of_sigmoid)


def _factor(contract: Contract, pred: Array, where: Array | None, **options: Any) -> Array:
    """An option that rescales each element, harmless where the mask hides it."""
    return fill_hidden(where, 1.0, contract.factor(pred.shape, pred.dtype, **options))[0]


def _smoothed(smoothing: Array | float, values: Array, spread: Array) -> Array:
    """Neither part counts where its share is 0, be it infinite."""
    return weigh(1 - jnp.asarray(smoothing, values.dtype), values) + weigh(smoothing, spread)


def _along(axis: int, per_class: Array, ndim: int) -> Array:
    return jnp.expand_dims(per_class, [other for other in range(ndim) if other != axis])


def all_zero(*options: Any) -> bool:
    """Python zeros, which are known while tracing and cost no pass."""
    return all(isinstance(option, int | float) and option == 0 for option in options)
