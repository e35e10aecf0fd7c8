"""Margins: a score must lie on the right side of a margin, or exceed another score by one."""

import functools
import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Integer, Real

from jaxloss._call import Call
from jaxloss._contracts.arrays import single_precision
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.labels import is_class, one_hot, take_label, take_label_unchecked, take_per_class
from jaxloss._numerics.logistic import bce_of_logits, softplus
from jaxloss._numerics.online import largest_others, sum_together
from jaxloss._numerics.safe import expand_mask, nan_unless, safe_multiply
from jaxloss._numerics.xla import by_platform, fuse_whole, prevent_cse
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction

_INDICES = "For several labels an example use multilabel_margin_loss."
_LISTS = "For one label an example use multi_margin_loss; for targets of 0 and 1, multilabel_soft_margin_loss."
_MULTI_HOT = (
    "Targets are floats in [0, 1], one a class: target.astype(jnp.float32); for class indices, multi_margin_loss."
)


@compiled_when_eager
def hinge_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The loss of support vector machines: a score on the right side of 0, at least 1 away, costs nothing.

        loss = max(0, 1 - target pred)

    Args:
        pred: scores, any number, floating; the sign is the class.
        target: -1 or 1, floating, of exactly the shape of `pred`; anything else gives NaN in value and gradient. From
            targets of 0 and 1: `2 * target - 1`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a target that is neither -1 nor 1.

    PyTorch: none; `multi_margin_loss` is the one for classes.

    Reference: C. Cortes, V. Vapnik, Support-Vector Networks, 1995, doi:10.1007/BF00994018.

    >>> hinge_loss(jnp.array([0.5, 2.0, 0.5]), jnp.array([1.0, 1.0, -1.0]), reduction="none")
    Array([0.5, 0. , 1.5], dtype=float32)
    """
    call = Call("hinge_loss", sample_weight, where, reduction)
    pred, target = call.signed(pred=pred, target=target)
    return call.reduce(fuse_whole(_positive_part(1 - target * pred)))


@compiled_when_eager
def perceptron_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The hinge without a margin: a score on the right side of 0 costs nothing, on the wrong one its distance from it.

        loss = max(0, -target pred)

    At a score of 0 the gradient is half of that of a wrong one, as optax's is, so that a model that starts with zeros
    learns.

    Args:
        pred: scores, any number, floating; the sign is the class.
        target: -1 or 1, floating, of exactly the shape of `pred`; anything else gives NaN in value and gradient. From
            targets of 0 and 1: `2 * target - 1`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a target that is neither -1 nor 1.

    PyTorch: none; `hinge_loss` is the one with a margin.

    Elsewhere: `optax.losses.perceptron_loss`.

    Reference: F. Rosenblatt, The perceptron, 1958, doi:10.1037/h0042519.

    >>> perceptron_loss(jnp.array([0.5, 2.0, 0.5]), jnp.array([1.0, 1.0, -1.0]), reduction="none")
    Array([0. , 0. , 0.5], dtype=float32)
    """
    call = Call("perceptron_loss", sample_weight, where, reduction)
    pred, target = call.signed(pred=pred, target=target)
    return call.reduce(fuse_whole(_symmetric_positive_part(-target * pred)))


@compiled_when_eager
def squared_hinge_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The square of `hinge_loss`, whose gradient has no jump:

        loss = max(0, 1 - target pred)^2

    Args:
        pred: scores, any number, floating; the sign is the class.
        target: -1 or 1, floating, of exactly the shape of `pred`; anything else gives NaN in value and gradient. From
            targets of 0 and 1: `2 * target - 1`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a target that is neither -1 nor 1.

    PyTorch: none; `multi_margin_loss` with `p=2` is the one for classes.

    Reference: Y. Tang, Deep Learning using Linear Support Vector Machines, arXiv:1306.0239.

    >>> squared_hinge_loss(jnp.array([0.5, 2.0, 0.5]), jnp.array([1.0, 1.0, -1.0]), reduction="none")
    Array([0.25, 0.  , 2.25], dtype=float32)
    """
    call = Call("squared_hinge_loss", sample_weight, where, reduction)
    pred, target = call.signed(pred=pred, target=target)
    return call.reduce(jnp.square(_positive_part(1 - target * pred)))


@compiled_when_eager
def soft_margin_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The logistic loss, a hinge without a kink:

        loss = log(1 + exp(-target pred))

    It is `binary_cross_entropy_with_logits` for targets of -1 and 1 in place of 0 and 1.

    Args:
        pred: logits, floating.
        target: -1 or 1, floating, of exactly the shape of `pred`; anything else gives NaN in value and gradient. From
            targets of 0 and 1: `2 * target - 1`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a target that is neither -1 nor 1.

    PyTorch: `torch.nn.functional.soft_margin_loss`, `torch.nn.SoftMarginLoss`, whose value at large logits is infinite.

    Reference: J. Friedman, T. Hastie, R. Tibshirani, Additive logistic regression, 2000, doi:10.1214/aos/1016218223.

    >>> print(f"{soft_margin_loss(jnp.array([1.0, 1.0]), jnp.array([1.0, -1.0])):.4f}")
    0.8133
    """
    call = Call("soft_margin_loss", sample_weight, where, reduction)
    pred, target = call.signed(pred=pred, target=target)
    return call.reduce(fuse_whole(softplus(-target * pred)))


@compiled_when_eager
def hinge_embedding_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    margin: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Distances of pairs: like pairs should be close, unlike pairs at least the margin apart.

        loss = pred                     if target = 1
               max(0, margin - pred)    if target = -1

    `pred` is the distance itself and not a pair of embeddings.

    Args:
        pred: distances, floating; any number, so a negated similarity too.
        target: 1 for a like pair, -1 for an unlike one, floating, of exactly the shape of `pred`; anything else gives
            NaN in value and gradient. From targets of 0 and 1: `2 * target - 1`.
        margin: the distance from which an unlike pair costs nothing, any number, in the unit of `pred`. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number `margin` that is NaN, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a target that is neither -1 nor 1.

    PyTorch: `torch.nn.functional.hinge_embedding_loss`, `torch.nn.HingeEmbeddingLoss`.

    Reference: J. Weston, F. Ratle, R. Collobert, Deep Learning via Semi-Supervised Embedding, 2008,
    doi:10.1145/1390156.1390303.

    >>> hinge_embedding_loss(jnp.array([0.25, 0.25, 3.0]), jnp.array([1.0, -1.0, -1.0]), reduction="none")
    Array([0.25, 0.75, 0.  ], dtype=float32)
    """
    call = Call("hinge_embedding_loss", sample_weight, where, reduction)
    pred, target = call.signed(pred=pred, target=target)
    margin = call.any_number(margin=margin)
    return call.reduce(fuse_whole(_hinge_embedding(pred, target, jnp.asarray(margin, pred.dtype))))


@compiled_when_eager
def margin_ranking_loss(
    input1: Float[ArrayLike, "*batch"],
    input2: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    margin: Real[ArrayLike, ""] = 0.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The score that the target names must exceed the other score by a margin:

        loss = max(0, margin - target (input1 - input2))

    Two equal scores have a gradient even with `margin=0`, as in PyTorch: it pulls them apart.

    Args:
        input1: scores, any number, floating.
        input2: the scores they are compared with, floating, of exactly the shape of `input1`.
        target: 1 where `input1` must be higher, -1 where `input2` must; floating, of exactly the shape of `input1`.
        margin: how much higher, any number, in the unit of the scores. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `input1`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number `margin` that is NaN, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a target that is neither -1 nor 1.

    PyTorch: `torch.nn.functional.margin_ranking_loss`, `torch.nn.MarginRankingLoss`.

    Reference: T. Joachims, Optimizing search engines using clickthrough data, 2002, doi:10.1145/775047.775067.

    >>> better, worse = jnp.array([2.0, 1.0]), jnp.array([0.0, 1.5])
    >>> margin_ranking_loss(better, worse, jnp.ones(2), margin=0.5, reduction="none")
    Array([0., 1.], dtype=float32)
    """
    call = Call("margin_ranking_loss", sample_weight, where, reduction)
    input1, input2, target = call.signed(input1=input1, input2=input2, target=target)
    margin = call.any_number(margin=margin)
    return call.reduce(fuse_whole(_positive_part(target * (input2 - input1) + margin)))


@compiled_when_eager
def multi_margin_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    weight: Real[ArrayLike, " classes"] | None = None,
    margin: Real[ArrayLike, ""] = 1.0,
    p: int = 1,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The score of the true class y must exceed the score x_j of every other class by a margin, with weights w:

        loss = w_y / classes sum_{j != y} max(0, margin - x_y + x_j)^p

    The mean divides by the number of examples and not by the sum of the weights, as PyTorch's does.

    Args:
        pred: scores, any number, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        weight: one number at least 0 for each class; 0 rescales and does not hide (0 times NaN is NaN).
        margin: how far above the others the true class must be, any number, in the unit of `pred`. May be traced.
        p: 1 for hinges, 2 for squared ones; a Python number.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: `p` neither 1 nor 2, a Python number `margin` that is NaN, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; a negative weight.

    PyTorch: `torch.nn.functional.multi_margin_loss`, `torch.nn.MultiMarginLoss`.

    Reference: J. Weston, C. Watkins, Support Vector Machines for Multi-Class Pattern Recognition, 1999.

    >>> scores = jnp.array([[0.5, 2.0, 0.0, 1.5], [3.0, 0.0, 1.0, 2.5]])
    >>> multi_margin_loss(scores, jnp.array([1, 0]), reduction="none")
    Array([0.125, 0.125], dtype=float32)
    """
    call = Call("multi_margin_loss", sample_weight, where, reduction)
    pred, target, axis = call.labelled_as_given(_INDICES, axis, pred=pred, target=target)
    margin = call.any_number(margin=margin)
    if not isinstance(p, numbers.Real) or isinstance(p, bool) or p not in (1, 2):
        raise ValueError(f"multi_margin_loss: `p` must be the Python integer 1 or 2, got {p!r}.")

    classes = pred.shape[axis]
    values = _class_hinges(pred, target, jnp.asarray(margin, call.dtype), axis, int(p)) / classes
    if weight is not None:
        weight = call.one_per_class(classes, weight=weight)
        values = safe_multiply(take_per_class(weight, target), values)
    return call.reduce(values)


@compiled_when_eager
def multiclass_hinge_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The score s_y of the true class must exceed that of the best other class by 1 (Crammer and Singer).

        loss = max(0, max_{j != y} (1 + s_j) - s_y)

    Scores that attain the maximum together share its gradient evenly, as in optax; at a hinge that has just closed the
    true class is one of them.

    Args:
        pred: scores, any number, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range.

    PyTorch: none; `multi_margin_loss` adds up the hinges of all classes.

    Elsewhere: `optax.losses.multiclass_hinge_loss`, which takes an index out of range for a class of score 0.

    Reference: K. Crammer, Y. Singer, On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines, JMLR
    2, 2001.

    >>> scores = jnp.array([[0.5, 2.0, 0.0, 1.5], [3.0, 0.0, 1.0, 2.5]])
    >>> multiclass_hinge_loss(scores, jnp.array([1, 3]), reduction="none")
    Array([0.5, 1.5], dtype=float32)
    """
    call = Call("multiclass_hinge_loss", sample_weight, where, reduction)
    pred, target, axis = call.labelled_as_given(_INDICES, axis, pred=pred, target=target)
    return call.reduce(_largest_excess(pred, target, axis, 1.0))


@compiled_when_eager
def multiclass_perceptron_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""How far the score s_y of the true class is below the best score.

        loss = max_j s_j - s_y

    Scores that attain the maximum together share its gradient evenly, as in optax, the true class among them: equal
    scores are drawn apart.

    Args:
        pred: scores, any number, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in value and gradient.
        axis: the class axis of `pred`; -1 is JAX's layout, 1 is PyTorch's.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range.

    PyTorch: none; `multi_margin_loss` adds up the hinges of all classes.

    Elsewhere: `optax.losses.multiclass_perceptron_loss`, which takes an index out of range for a class of score 0.

    Reference: M. Collins, Discriminative Training Methods for Hidden Markov Models, 2002, doi:10.3115/1118693.1118694.

    >>> scores = jnp.array([[0.5, 2.0, 0.0, 1.5], [3.0, 0.0, 1.0, 2.5]])
    >>> multiclass_perceptron_loss(scores, jnp.array([1, 3]), reduction="none")
    Array([0. , 0.5], dtype=float32)
    """
    call = Call("multiclass_perceptron_loss", sample_weight, where, reduction)
    pred, target, axis = call.labelled_as_given(_INDICES, axis, pred=pred, target=target)
    return call.reduce(_largest_excess(pred, target, axis, 0.0))


@compiled_when_eager
def multilabel_margin_loss(
    pred: Float[ArrayLike, "*batch classes"],
    target: Integer[ArrayLike, "*batch classes"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The score x_k of each label k of an example must exceed by 1 the score x_j of each class j that is not a label:

        loss = 1 / classes sum_{k in labels} sum_{j not in labels} max(0, 1 - x_k + x_j)

    The labels are a list of indices, not a row of zeros and ones. It ends before the first -1; whatever follows is
    ignored. A label that is listed twice counts twice.

    Args:
        pred: scores, any number, floating.
        target: class indices in [0, classes), integer, of exactly the shape of `pred`; -1 ends the list of an example.
            Another index out of range before the first -1 gives NaN in value and gradient.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per example, of the shape of `pred` without its last axis; float32 for
        half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range before the first -1.

    PyTorch: `torch.nn.functional.multilabel_margin_loss`, `torch.nn.MultiLabelMarginLoss`.

    Reference: A. Elisseeff, J. Weston, A kernel method for multi-labelled classification, 2001.

    >>> scores, labels = jnp.array([0.5, 2.0, 0.0, 1.5]), jnp.array([3, 1, -1, 0])
    >>> multilabel_margin_loss(scores, labels)
    Array(0., dtype=float32)
    >>> multilabel_margin_loss(scores, jnp.array([0, -1, -1, -1]))
    Array(1.25, dtype=float32)
    """
    call = Call("multilabel_margin_loss", sample_weight, where, reduction)
    (pred,) = call.classes_as_given(-1, pred=pred)
    target = call.integers(pred.shape, "lists of class indices", target, _LISTS)
    call.hide(pred.shape[:-1], single_precision(pred).dtype)
    (pred,), (target,) = call.visible(0.0, pred), call.visible(-1, target)
    classes = pred.shape[-1]
    end = _first_place(target == -1)
    call.check_labels(jnp.where(_place(target) < end, target, 0), classes, "Pad with -1.")

    hinges, _ = _label_hinges(pred, target, end)
    valid = nan_unless(jnp.squeeze(_first_place(~is_class(target, classes)) == end, -1))
    return call.reduce(hinges / classes * valid)


@compiled_when_eager
def multilabel_soft_margin_loss(
    pred: Float[ArrayLike, "*batch classes"],
    target: Float[ArrayLike, "*batch classes"],
    *,
    weight: Real[ArrayLike, " classes"] | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The mean over the classes of the binary cross-entropy of each, with weights w:

        loss = -1 / classes sum_c w_c (y_c log sigmoid(x_c) + (1 - y_c) log(1 - sigmoid(x_c)))

    There is one loss per example: `where` and `reduction` act on examples, while `binary_cross_entropy_with_logits` has
    a loss for each of their classes. Not for a model that ends in a sigmoid.

    Args:
        pred: logits, floating.
        target: probabilities of each class in [0, 1], floating, of exactly the shape of `pred`.
        weight: one number at least 0 for each class; neither mean divides by it.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per example, of the shape of `pred` without its last axis; float32 for
        half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets outside [0, 1]; a negative weight; a forgotten sigmoid, as far as
            it can be seen (see `binary_cross_entropy_with_logits`).

    PyTorch: `torch.nn.functional.multilabel_soft_margin_loss`, `torch.nn.MultiLabelSoftMarginLoss`.

    Reference: D. R. Cox, The Regression Analysis of Binary Sequences, 1958,
    doi:10.1111/j.2517-6161.1958.tb00292.x.

    >>> logits, labels = jnp.array([[0.8, -0.5, 0.0]]), jnp.array([[1.0, 0.0, 1.0]])
    >>> print(f"{multilabel_soft_margin_loss(logits, labels):.4f}")
    0.5128
    """
    call = Call("multilabel_soft_margin_loss", sample_weight, where, reduction)
    pred, target = call.classes(-1, _MULTI_HOT, pred=pred, target=target)
    call.hide(pred.shape[:-1], pred.dtype)
    pred, target = call.visible(0.0, pred, target)
    target = call.probabilities(target=target)
    call.check_not_sigmoid(pred, call.mask(pred.shape, where=expand_mask(-1, call.keep)))
    values = bce_of_logits(pred, target)
    if weight is not None:
        weight = call.one_per_class(pred.shape[-1], weight=weight)
        values = safe_multiply(jnp.broadcast_to(weight, values.shape), values)
    return call.reduce(fuse_whole(values).mean(-1))


def _is_near(pred: Array, target: Array, margin: Array) -> Array:
    """Whether a pair that is not alike is nearer than the margin; NaN where the loss is."""
    near = jnp.where(pred < margin, 1.0, 0.0) * nan_unless(~jnp.isnan(pred) & ~jnp.isnan(margin))
    return jnp.where(target == 1, 0.0, near) * nan_unless(~jnp.isnan(target))


@with_derivatives(
    lambda pred, target, margin: jnp.where(target == 1, nan_unless(~jnp.isnan(pred)), -_is_near(pred, target, margin)),
    None,
    _is_near,
)
def _hinge_embedding(pred: Array, target: Array, margin: Array) -> Array:
    return jnp.where(target == 1, pred, _positive_part(-pred + margin)) * nan_unless(~jnp.isnan(target))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _class_hinges(pred: Array, index: Array, margin: Array, axis: int, p: int) -> Array:
    """sum_{j != y} max(0, margin - x_y + x_j)^p"""
    hinges = jax.nn.relu(_excess(pred, index, margin, axis))
    return jnp.sum(fuse_whole(hinges**p), axis)


@_class_hinges.defjvp
def _class_hinges_jvp(axis: int, p: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (pred, index, margin), (pred_dot, _, margin_dot) = primals, tangents

    def derivative() -> Array:
        excess = _excess(pred, index, margin, axis)
        opened = (excess > 0).astype(excess.dtype) if p == 1 else p * jax.nn.relu(excess)
        return jnp.where(jnp.isnan(excess), excess, opened)  # A closed hinge would stop NaN.

    def by_gather(derivative: Array, index: Array, pred_dot: Array, margin_dot: Array) -> Array:
        """The gradient of the label's score is scattered: on a CPU that is less than to look for it in each row."""
        pred_dot = single_precision(pred_dot)
        own_dot = jnp.expand_dims(take_label_unchecked(pred_dot, index, axis), axis)
        return jnp.sum(derivative * (pred_dot - own_dot + margin_dot), axis)

    def by_mask(derivative: Array, index: Array, pred_dot: Array, margin_dot: Array) -> Array:
        total = derivative.sum(axis)
        is_label = one_hot(index, derivative.shape[axis], axis)
        of_pred = jnp.where(is_label, -jnp.expand_dims(total, axis), derivative)
        return jnp.sum(of_pred * single_precision(pred_dot), axis) + total * margin_dot

    tangent = by_platform(derivative(), index, pred_dot, margin_dot, cpu=by_gather, elsewhere=by_mask)
    return _class_hinges(pred, index, margin, axis, p), tangent


def _excess(pred: Array, index: Array, margin: Array, axis: int) -> Array:
    """margin - x_y + x_j, and below 0 for x_y itself."""
    own = single_precision(jnp.expand_dims(take_label(pred, index, axis), axis))
    is_label = one_hot(index, pred.shape[axis], axis)
    return jnp.where(is_label, -1.0, margin + (single_precision(pred) - own))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _largest_excess(pred: Array, index: Array, axis: int, margin: float) -> Array:
    """max(0, margin + max_{j != y} x_j - x_y)"""
    return jnp.maximum(_excess_of_largest(pred, index, axis, margin)[0], 0.0)


@_largest_excess.defjvp
def _largest_excess_jvp(axis: int, margin: float, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """With the scores compared again: what is the largest is known, and not stored."""
    (pred, index), pred_dot = primals, single_precision(tangents[0])
    excess, largest, ties = _excess_of_largest(jax.lax.stop_gradient(pred), index, axis, margin)
    shared = jnp.where(excess == 0, ties + 1, ties)
    share = jnp.where(excess >= 0, 1 / jnp.maximum(shared, 1), 0.0)
    is_nan = jnp.isnan(excess)
    share, own, rest = (jnp.where(is_nan, excess, each) for each in (share, -share * ties, 0.0))

    largest, share, own, rest = (jnp.expand_dims(row, axis) for row in (largest, share, own, rest))
    slopes = jnp.where(single_precision(prevent_cse(pred)) == largest, share, rest)
    slopes = jnp.where(one_hot(index, pred.shape[axis], axis), own, slopes)
    value = _with_value(jnp.maximum(excess, 0.0), pred, index, axis, margin)
    return value, jnp.sum(slopes * pred_dot, axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _with_value(value: Array, pred: Array, index: Array, axis: int, margin: float) -> Array:
    """The largest excess, whose value is known already, to be differentiated as it is."""
    del pred, index, axis, margin
    return value


@_with_value.defjvp
def _with_value_jvp(axis: int, margin: float, primals: Any, tangents: Any) -> tuple[Array, Array]:
    loss = functools.partial(_largest_excess, axis=axis, margin=margin)
    return primals[0], jax.jvp(loss, primals[1:], tangents[1:])[1]


def _excess_of_largest(pred: Array, index: Array, axis: int, margin: float) -> tuple[Array, Array, Array]:
    """margin + max_{j != y} x_j - x_y, NaN for an index out of range; that maximum, and how many attain it."""
    largest, ties, own = largest_others(single_precision(pred), index, axis)
    own *= nan_unless(is_class(index, pred.shape[axis]))
    return margin + (largest - own), largest, ties


def _place(lists: Array) -> Array:
    return jax.lax.broadcasted_iota(jnp.int32, lists.shape, lists.ndim - 1)


def _first_place(found: Array) -> Array:
    """Where the first True of each list stands; behind its end if there is none."""
    return jnp.min(jnp.where(found, _place(found), found.shape[-1]), -1, keepdims=True)


@jax.custom_jvp
def _label_hinges(pred: Array, lists: Array, end: Array) -> tuple[Array, Array]:
    """sum_k sum_j max(0, 1 - x_k + x_j) over the listed labels k and the classes j not listed; and its derivative.

    All pairs of classes at once would take the square of their memory, unless they are summed where they are made:
    elsewhere XLA does that, a CPU takes one place of the lists at a time.
    """
    return by_platform(pred, lists, end, cpu=_label_by_label, elsewhere=_pair_by_pair)


def _pair_by_pair(pred: Array, lists: Array, end: Array) -> tuple[Array, Array]:
    """Sums of pairs in one pass: in several, XLA would store all pairs.

    What belongs to a pair is made of both classes, and cast last: what could be made of one of them, XLA:TPU makes and
    stores before it pairs them.
    """
    size = pred.shape[-1]
    classes = jnp.expand_dims(jnp.arange(size, dtype=lists.dtype), range(pred.ndim))
    found_at = jnp.where(lists[..., None] == classes, _place(lists)[..., None], size)
    count = jnp.int16 if size <= jnp.iinfo(jnp.int16).max else jnp.int32
    times = jnp.sum(found_at < end[..., None], -2, dtype=count)  # How often each class is listed.

    (one, other), (times_one, times_other) = ((each[..., None], each[..., None, :]) for each in (pred, times))
    is_label = times_one > 0
    label, rival = jnp.where(is_label, one, other), jnp.where(is_label, other, one)
    hinges = jax.nn.relu(1 + (single_precision(rival) - single_precision(label)))
    hinges = jnp.where(is_label != (times_other > 0), hinges, 0.0)
    opened = jnp.where(hinges > 0, 1.0, hinges)  # A closed hinge would stop NaN.
    # Of a label and another class one is listed no times.
    weight = (times_other - times_one).astype(hinges.dtype)
    total, derivative = sum_together((jnp.where(is_label, -weight * hinges, 0.0), weight * opened), -1)
    return jnp.sum(total, -1), derivative


def _label_by_label(pred: Array, lists: Array, end: Array) -> tuple[Array, Array]:
    """As far as there are labels; -1 is none."""
    pred, labels = single_precision(pred), jnp.where(_place(lists) < end, lists, -1)
    places, classes = jnp.moveaxis(labels, -1, 0), jnp.arange(pred.shape[-1], dtype=labels.dtype)
    classes = jnp.expand_dims(classes, tuple(range(pred.ndim - 1)))
    nowhere = labels < -1  # Made of the data, so that it varies over a mesh as the data does.

    def at_labels(add: Callable[..., Any], start: Any) -> Any:
        def step(sums: Any, label: Array) -> tuple[Any, None]:
            return jax.lax.cond(jnp.any(label >= 0), add, lambda sums, label: sums, sums, label[..., None]), None

        return jax.lax.scan(step, start, places)[0]

    listed = at_labels(lambda seen, label: seen | (label == classes), nowhere)

    def add_hinges(sums: tuple[Array, Array], label: Array) -> tuple[Array, Array]:
        total, derivatives = sums
        own = jnp.sum(jnp.where(label == classes, pred, 0.0), -1, keepdims=True)
        hinges = jax.nn.relu(jnp.where(listed | (label < 0), 0.0, 1 + (pred - own)))
        opened = jnp.where(hinges > 0, 1.0, hinges)  # Otherwise a closed hinge would stop NaN.
        moved = jnp.where(label == classes, -opened.sum(-1, keepdims=True), opened)
        return total + hinges.sum(-1), derivatives + moved

    zeros = nowhere.astype(pred.dtype)
    return at_labels(add_hinges, (zeros[..., 0], zeros))


@_label_hinges.defjvp
def _label_hinges_jvp(primals, tangents):
    total, derivatives = _label_hinges(*primals)
    tangent = jnp.sum(derivatives * single_precision(tangents[0]), -1)
    return (total, derivatives), (tangent, jnp.zeros_like(derivatives))


@with_derivatives(lambda value: jnp.where(jnp.isnan(value), value, 0.5 * jnp.sign(value) + 0.5))
def _symmetric_positive_part(value: Array) -> Array:
    """max(0, value), whose derivative at 0 is 1/2."""
    return jnp.maximum(value, 0.0)


@with_derivatives(lambda value: jnp.where(jnp.isnan(value), value, (value >= 0).astype(value.dtype)))
def _positive_part(value: Array) -> Array:
    """max(0, value), whose derivative at 0 is 1, as PyTorch's is. NaN stays NaN, and so does its derivative."""
    return jnp.maximum(value, 0.0)
