"""Segmentation: how well two sets overlap."""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Integer, Real

from jaxloss._call import Call
from jaxloss._contracts import Contract
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.labels import is_class, one_hot
from jaxloss._numerics.logistic import exp_neg_abs, sigmoid_and_rest, sigmoid_derivative
from jaxloss._numerics.lovasz import jaccard_weights
from jaxloss._numerics.safe import expand_mask, fill_masked, safe_divide, safe_multiply, safe_power
from jaxloss._numerics.shards import any_over, sum_over
from jaxloss._numerics.softmax import softmax_and_rest
from jaxloss._numerics.xla import fuse_whole
from jaxloss._typing import ArrayLike, AxisName
from jaxloss.reductions import Reduction

_DISTANCES = "For a mask take its signed_distance; a mask of classes is one_hot."
_MEMBERSHIP = "Cast it: target.astype(jnp.float32). Class indices need `class_axis`."


@compiled_when_eager
def dice_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"] | Integer[ArrayLike, "..."],
    *,
    from_logits: bool = True,
    class_axis: int | None = None,
    axis: int | Sequence[int] | None = None,
    weight: Real[ArrayLike, " classes"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    smooth: Real[ArrayLike, ""] = 1e-5,
    soft: Literal["product", "difference"] = "product",
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""One minus the Dice coefficient (F1 score) of soft sets, with p = sigmoid(pred), or a softmax over `class_axis`:

        loss = 1 - (2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth)

    The sums run over `axis`: over everything by default, which makes one set of the whole batch, and with `class_axis`
    one set a class. For one loss per image and class of a (batch, height, width, classes) array pass `axis=(1, 2)`;
    `reduction` acts on what is left.

    Args:
        pred: logits, or probabilities with `from_logits=False`; floating.
        target: membership in [0, 1], floating, of exactly the shape of `pred`; or with `class_axis` class indices,
            integer, of its shape without that axis. An index out of range gives NaN in value and gradient.
        from_logits: whether a sigmoid, or with `class_axis` a softmax, is applied to `pred`.
        class_axis: the axis of `pred` that holds classes of which an element has one; None if each element of `pred`
            is a question of its own.
        axis: the axes of `pred` that form a set; None for all but `class_axis`.
        weight: one number at least 0 for each class, with `class_axis`; the mean divides by their sum.
        ignore_index: a class index whose elements belong to no set; None for no such index.
        smooth: added above and below, at least 0, in elements; the loss of two empty sets is 0, even with `smooth=0`.
        soft: "product", where an element that is half in the target costs least at p = 1; or "difference", which takes
            (p + y - abs(p - y)) / 2 for p y: the same for targets of 0 and 1, and least at p = y.
        axis_name: inside `shard_map`, the mesh axis, or several, over which a set spans: its sums go over all devices
            there. None if each device has whole sets.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the elements, which are those of `pred` without `class_axis`; elements where
            it is False (void pixels, padding) belong to no set. A set with no element left, on any device that has a
            part of it, is ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; boolean targets are refused, integers without
            `class_axis`, and a softmax of a single class.
        ValueError: a Python number out of its domain, an axis that `pred` lacks, an `axis_name` of no mesh, an option
            of classes without `class_axis`, or an unknown `soft` or `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets, or `pred` with `from_logits=False`, outside [0, 1]; class
            indices out of range; logits that fill [0, 1] and never leave it, or sum to 1 (probabilities).

    PyTorch: none.

    Elsewhere: MONAI's `DiceLoss` has `axis=(1, 2)`, and does not divide by its weights; segmentation-models-pytorch's
    has no smoothing, and sets of the whole batch; optax's `dice_loss` smooths by half of what is given.

    Reference: F. Milletari et al., V-Net, arXiv:1606.04797; soft targets: Z. Wang et al., arXiv:2302.05666.

    >>> mask = jnp.array([[1.0, 1.0, 0.0, 0.0]])
    >>> print(f"{dice_loss(jnp.array([[3.0, 0.0, 0.0, -3.0]]), mask):.4f}")
    0.2737
    """
    call = _Sets("dice_loss", from_logits, class_axis, axis, axis_name, sample_weight, reduction)
    sums = call.sums(*call.members(pred, target, weight, ignore_index, where), soft)
    smooth = call.nonnegative(smooth=smooth)
    return call.reduce(_share(sums.wrong, 2 * sums.overlap + smooth), call.weight)


@compiled_when_eager
def jaccard_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"] | Integer[ArrayLike, "..."],
    *,
    from_logits: bool = True,
    class_axis: int | None = None,
    axis: int | Sequence[int] | None = None,
    weight: Real[ArrayLike, " classes"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    smooth: Real[ArrayLike, ""] = 1e-5,
    soft: Literal["product", "difference"] = "product",
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""One minus the Jaccard index (intersection over union) of soft sets, with p = sigmoid(pred), or a softmax:

        loss = 1 - (sum(p y) + smooth) / (sum(p) + sum(y) - sum(p y) + smooth)

    Of the same sets `dice_loss` is d, and this is 2 d / (1 + d), but for the smoothing: it weighs bad sets more. Sets
    are formed as there: one of the whole batch, or with `class_axis` one a class, unless `axis` says otherwise.

    Args:
        pred: logits, or probabilities with `from_logits=False`; floating.
        target: membership in [0, 1], floating, of exactly the shape of `pred`; or with `class_axis` class indices,
            integer, of its shape without that axis. An index out of range gives NaN in value and gradient.
        from_logits: whether a sigmoid, or with `class_axis` a softmax, is applied to `pred`.
        class_axis: the axis of `pred` that holds classes of which an element has one; None if each element of `pred`
            is a question of its own.
        axis: the axes of `pred` that form a set; None for all but `class_axis`.
        weight: one number at least 0 for each class, with `class_axis`; the mean divides by their sum.
        ignore_index: a class index whose elements belong to no set; None for no such index.
        smooth: added above and below, at least 0, in elements; the loss of two empty sets is 0, even with `smooth=0`.
        soft: "product", or "difference", which takes (p + y - abs(p - y)) / 2 for p y: the same for targets of 0 and
            1, and least at p = y.
        axis_name: inside `shard_map`, the mesh axis, or several, over which a set spans: its sums go over all devices
            there. None if each device has whole sets.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the elements, which are those of `pred` without `class_axis`; elements where
            it is False belong to no set. A set with no element left is ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; boolean targets are refused, integers without
            `class_axis`, and a softmax of a single class.
        ValueError: a Python number out of its domain, an axis that `pred` lacks, an `axis_name` of no mesh, an option
            of classes without `class_axis`, or an unknown `soft` or `reduction`.
        JaxRuntimeError: under `chex.chexify`, values that `dice_loss` reports.

    PyTorch: none.

    Elsewhere: MONAI's `DiceLoss(jaccard=True)` doubles both sums beside the same smoothing.

    Reference: Y. Yuan et al., arXiv:1703.05165; "difference": Z. Wang et al., arXiv:2302.05666.

    >>> mask = jnp.array([[1.0, 1.0, 0.0, 0.0]])
    >>> print(f"{jaccard_loss(jnp.array([[3.0, 0.0, 0.0, -3.0]]), mask):.4f}")
    0.4298
    """
    call = _Sets("jaccard_loss", from_logits, class_axis, axis, axis_name, sample_weight, reduction)
    sums = call.sums(*call.members(pred, target, weight, ignore_index, where), soft)
    smooth = call.nonnegative(smooth=smooth)
    return call.reduce(_share(sums.wrong, sums.overlap + smooth), call.weight)


@compiled_when_eager
def tversky_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"] | Integer[ArrayLike, "..."],
    *,
    from_logits: bool = True,
    class_axis: int | None = None,
    axis: int | Sequence[int] | None = None,
    weight: Real[ArrayLike, " classes"] | None = None,
    alpha: Real[ArrayLike, ""] = 0.5,
    beta: Real[ArrayLike, ""] = 0.5,
    gamma: Real[ArrayLike, ""] = 1.0,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    smooth: Real[ArrayLike, ""] = 1e-5,
    soft: Literal["product", "difference"] = "product",
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""One minus the Tversky index of soft sets, with p = sigmoid(pred), or a softmax; with gamma, focal Tversky:

        i    = sum(p y)
        loss = (1 - (i + smooth) / (i + alpha sum(p (1 - y)) + beta sum((1 - p) y) + smooth))^gamma

    alpha weighs false positives, beta false negatives: more beta finds more of small sets. With 0.5 each it is
    `dice_loss` with twice the smoothing, with 1 each `jaccard_loss`. Sets are formed as there.

    Args:
        pred: logits, or probabilities with `from_logits=False`; floating.
        target: membership in [0, 1], floating, of exactly the shape of `pred`; or with `class_axis` class indices,
            integer, of its shape without that axis. An index out of range gives NaN in value and gradient.
        from_logits: whether a sigmoid, or with `class_axis` a softmax, is applied to `pred`.
        class_axis: the axis of `pred` that holds classes of which an element has one; None if each element of `pred`
            is a question of its own.
        axis: the axes of `pred` that form a set; None for all but `class_axis`.
        weight: one number at least 0 for each class, with `class_axis`; the mean divides by their sum.
        alpha: what a false positive counts, at least 0. May be traced.
        beta: what a false negative counts, at least 0. May be traced.
        gamma: the exponent of the loss of each set, greater than 0: below 1 it keeps a gradient near 0, where the slope
            at exactly 0 counts as 0. The paper calls its inverse gamma. May be traced.
        ignore_index: a class index whose elements belong to no set; None for no such index.
        smooth: added above and below, at least 0, in elements; the loss of two empty sets is 0, even with `smooth=0`.
        soft: "product", or "difference", which takes (p + y - abs(p - y)) / 2 for p y: the same for targets of 0 and
            1, and least at p = y.
        axis_name: inside `shard_map`, the mesh axis, or several, over which a set spans: its sums go over all devices
            there. None if each device has whole sets.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the elements, which are those of `pred` without `class_axis`; elements where
            it is False belong to no set. A set with no element left is ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; boolean targets are refused, integers without
            `class_axis`, and a softmax of a single class.
        ValueError: a Python number out of its domain, an axis that `pred` lacks, an `axis_name` of no mesh, an option
            of classes without `class_axis`, or an unknown `soft` or `reduction`.
        JaxRuntimeError: under `chex.chexify`, values that `dice_loss` reports.

    PyTorch: none.

    Elsewhere: keras's `Tversky` up to 3.15.1 has alpha and beta the other way round; segmentation-models-pytorch raises
    the mean of the classes to gamma, not each class.

    Reference: S. S. M. Salehi et al., arXiv:1706.05721; focal: N. Abraham and N. M. Khan, arXiv:1810.07842.

    >>> mask = jnp.array([[1.0, 1.0, 0.0, 0.0]])
    >>> logits = jnp.array([[3.0, -1.0, 0.0, -3.0]])
    >>> print(f"{tversky_loss(logits, mask, alpha=0.3, beta=0.7):.4f}")
    0.3673
    """
    call = _Sets("tversky_loss", from_logits, class_axis, axis, axis_name, sample_weight, reduction)
    sums = call.sums(*call.members(pred, target, weight, ignore_index, where), soft, alpha, beta)
    gamma, smooth = call.positive(gamma=gamma), call.nonnegative(smooth=smooth)
    return call.reduce(safe_power(_share(sums.wrong, sums.overlap + smooth), gamma), call.weight)


@compiled_when_eager
def generalized_dice_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"] | Integer[ArrayLike, "..."],
    *,
    from_logits: bool = True,
    class_axis: int = -1,
    axis: int | Sequence[int] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    weighting: Literal["square", "simple", "uniform"] = "square",
    smooth: Real[ArrayLike, ""] = 1e-5,
    soft: Literal["product", "difference"] = "product",
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Dice loss of all classes as one, each weighed by what it has of the target, with p = softmax(pred):

        w_c  = 1 / (sum(y_c))^2
        loss = 1 - (2 sum_c w_c sum(p_c y_c) + smooth) / (sum_c w_c (sum(p_c) + sum(y_c)) + smooth)

    Rare classes count as much as frequent ones. A class that the target lacks has weight 0. The weights of large
    classes are small, and `smooth` is not: from some hundreds of pixels on it rules, so let it be 0 there.

    Args:
        pred: logits, or probabilities with `from_logits=False`; floating.
        target: membership in [0, 1], floating, of exactly the shape of `pred`; or with `class_axis` class indices,
            integer, of its shape without that axis. An index out of range gives NaN in value and gradient.
        from_logits: whether a softmax is applied to `pred`.
        class_axis: the axis of `pred` that holds classes.
        axis: the axes of `pred` that form a set; None for all but `class_axis`.
        ignore_index: a class index whose elements belong to no set; None for no such index.
        weighting: "square", as above; "simple", 1 / sum(y_c); or "uniform", 1 for each class of the target.
        smooth: added above and below, at least 0; the loss of two empty sets is 0, even with `smooth=0`.
        soft: "product", or "difference", which takes (p + y - abs(p - y)) / 2 for p y: the same for targets of 0 and
            1, and least at p = y.
        axis_name: inside `shard_map`, the mesh axis, or several, over which a set spans: its sums go over all devices
            there. None if each device has whole sets.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the elements, which are those of `pred` without `class_axis`; elements where
            it is False belong to no set. A set with no element left is ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis` and `class_axis`; float32 for
        half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; boolean targets are refused, and a softmax of a
            single class.
        ValueError: a Python number out of its domain, an axis that `pred` lacks, an `axis_name` of no mesh, or an
            unknown `weighting`, `soft` or `reduction`.
        JaxRuntimeError: under `chex.chexify`, values that `dice_loss` reports.

    PyTorch: none.

    Elsewhere: MONAI's `GeneralizedDiceLoss` gives an absent class the largest weight of the others; optax's
    `multiclass_generalized_dice_loss` weighs the losses of the classes instead.

    Reference: C. H. Sudre et al., arXiv:1707.03237.

    >>> logits = jnp.array([[2.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    >>> print(f"{generalized_dice_loss(logits, jnp.array([0, 0, 0, 1])):.4f}")
    0.3943
    """
    call = _Sets("generalized_dice_loss", from_logits, class_axis, axis, axis_name, sample_weight, reduction, True)
    if weighting not in _POWERS:
        raise ValueError(f"{call.function}: `weighting` must be one of {', '.join(_POWERS)}, got {weighting!r}.")
    pred, target = call.members(pred, target, None, ignore_index, where)
    sums = call.sums(pred, target, soft)
    (size,) = sum_over(call.mesh, call.total(target))
    weights, least = _weights_of_classes(size, call.place, _POWERS[weighting])
    overlap, wrong = (jnp.sum(weights * each, call.place) for each in sums)
    smooth = call.nonnegative(smooth=smooth)
    return call.reduce(_share(wrong, 2 * overlap + smooth * least))


@compiled_when_eager
def lovasz_hinge_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    axis: int | Sequence[int] | None = None,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The Lovasz extension of the Jaccard loss at hinge errors, the largest first:

        e    = max(0, 1 - pred (2 y - 1))
        loss = sum_i e_i (jaccard_i - jaccard_{i-1})

    with `jaccard_i` the Jaccard loss of the set in which the elements of the i largest errors are wrong. Where the
    errors are 0 and 1 it is the Jaccard loss itself; between, it is convex in them. One sort of integers for each set.

    Args:
        pred: logits, floating.
        target: membership, 0 or 1, floating, of exactly the shape of `pred`; other values give NaN.
        axis: the axes that form a set; None for all.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to `pred`; elements where it is False belong to no set. A set with
            no element left is ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: an axis that `pred` lacks, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets that are not 0 or 1; logits that fill [0, 1] and never leave it
            (the double sigmoid).

    PyTorch: none.

    Elsewhere: the authors' code has one set of the whole batch, or with `per_image` one an image: `axis=(1, 2)`.

    Reference: J. Yu and M. Blaschko, arXiv:1512.07797; M. Berman et al., arXiv:1705.08790.

    >>> mask = jnp.array([1.0, 1.0, 0.0, 0.0])
    >>> print(f"{lovasz_hinge_loss(jnp.array([3.0, 0.0, 0.0, -3.0]), mask):.4f}")
    0.6667
    """
    call = _Sets("lovasz_hinge_loss", True, None, axis, None, sample_weight, reduction)
    pred, target = call.members(pred, target, None, None, where)
    target = call.zero_or_one("For probabilities jaccard_loss.", target=target)
    margins = pred * (2 * target - 1)
    # In the order of the margins: of those near 0 not even the order is left in 1 - z.
    weights = call.jaccard_weights(margins, target)
    return call.reduce(call.total(safe_multiply(weights, jnp.where(margins > 1, 0.0, 1 - margins))))


@compiled_when_eager
def lovasz_softmax_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    class_axis: int = -1,
    axis: int | Sequence[int] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    classes: Literal["present", "all"] = "present",
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The Lovasz extension of each class's Jaccard loss at the errors of a softmax, the largest first:

        e    = |p_c - y_c|
        loss = sum_i e_i (jaccard_i - jaccard_{i-1})

    with p = softmax(pred), y the one-hot target, and `jaccard_i` the Jaccard loss of the class if the elements of the i
    largest errors are wrong. Where all errors are 0 or 1 it is the Jaccard loss itself. One sort of integers for each
    class. One set a class by default, of the whole batch; `axis=(1, 2)` has one an image and class.

    Args:
        pred: logits, floating.
        target: class indices in [0, classes), integer, of the shape of `pred` without `class_axis`. An index out of
            range gives NaN in value and gradient.
        class_axis: the axis of `pred` that holds classes.
        axis: the axes of `pred` that form a set; None for all but `class_axis`.
        ignore_index: a class index whose elements belong to no set; None for no such index.
        classes: "present" ignores sets of classes of which the target has no element; "all" takes the largest
            probability of such a class for its loss.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to `target`; elements where it is False belong to no set. A set with
            no element left is ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused, and a softmax of a
            single class, whose loss is 0.
        ValueError: an axis that `pred` lacks, or an unknown `classes` or `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range; `pred` that already holds probabilities (the
            double softmax).

    PyTorch: none.

    Elsewhere: the authors' `lovasz_softmax` takes probabilities, and has one set a class of the whole batch, as
    segmentation-models-pytorch's; kornia's has one set an image, of all classes.

    Reference: M. Berman et al., arXiv:1705.08790.

    >>> logits = jnp.array([[2.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    >>> print(f"{lovasz_softmax_loss(logits, jnp.array([0, 0, 0, 1])):.4f}")
    0.3181
    """
    call = _Sets("lovasz_softmax_loss", True, class_axis, axis, None, sample_weight, reduction)
    if classes not in ("present", "all"):
        raise ValueError(f'{call.function}: `classes` must be "present" or "all", got {classes!r}.')
    pred, target = call.members(pred, target, None, ignore_index, where, "Turn one-hot targets into indices: argmax.")
    if classes == "present":
        call.ignore_absent(target)
    p, rest = call.probabilities_of(pred)
    errors = p * (1 - target) + rest * target
    return call.reduce(call.total(call.jaccard_weights(-errors, target) * errors))


@compiled_when_eager
def boundary_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"],
    *,
    from_logits: bool = True,
    class_axis: int | None = None,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""What is predicted, times its signed distance to the boundary, with p = sigmoid(pred), or a softmax:

        loss = p phi

    With `class_axis` it is the sum over the classes of an element. phi, from `signed_distance`, is negative inside, so
    that the least mean is that of the target itself. Beside a loss of sets, in a sum whose weight of this one grows: by
    itself it is a poor guide while the prediction is far from the target.

    Args:
        pred: logits, or probabilities with `from_logits=False`; floating.
        target: the signed distance phi of each element, and class, floating, of exactly the shape of `pred`.
        from_logits: whether a sigmoid, or with `class_axis` a softmax, is applied to `pred`.
        class_axis: the axis of `pred` that holds classes of which an element has one; None if each element of `pred`
            is a question of its own.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`, without `class_axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: an axis that `pred` lacks, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, `pred` outside [0, 1] with `from_logits=False`; logits that fill [0, 1]
            and never leave it, or sum to 1 (probabilities).

    PyTorch: none.

    Elsewhere: the authors' code divides by the classes too, and its distances are a pixel larger inside.

    Reference: H. Kervadec et al., arXiv:1812.07032.

    >>> mask = jnp.array([[False, True, True, False]])
    >>> phi = signed_distance(mask, spatial_axes=1)
    >>> print(f"{boundary_loss(jnp.array([[-3.0, 0.0, 3.0, -3.0]]), phi):.4f}")
    -0.3394
    """
    call = Call("boundary_loss", sample_weight, where, reduction)
    pred, target = call.floats(_DISTANCES, pred=pred, target=target)
    if class_axis is None:
        place, shape = None, pred.shape
    else:
        place = call.axis(class_axis, pred.ndim, name="class_axis")
        shape = pred.shape[:place] + pred.shape[place + 1 :]
    call.hide(shape, pred.dtype)
    pred, target = fill_masked(call.keep if place is None else expand_mask(place, call.keep), 0.0, pred, target)
    if not from_logits:
        pred = call.probabilities("For logits use from_logits=True.", pred=pred)
    elif place is None:
        call.check_not_sigmoid(pred, call.keep)
    else:
        call.check_not_softmax(pred, place, call.keep)

    if not from_logits:
        losses = pred * target
    elif place is None:
        losses = fuse_whole(_overlap_of_logits(pred, target))
    else:
        losses = softmax_and_rest(pred, place)[0] * target
    return call.reduce(losses if place is None else jnp.sum(losses, place))


@compiled_when_eager
def signed_distance(
    target: Bool[ArrayLike, "*shape"] | Float[ArrayLike, "*shape"],
    *,
    spatial_axes: int | Sequence[int],
    spacing: Real[ArrayLike, ""] | Sequence[float] = 1.0,
) -> Float[Array, "*shape"]:
    r"""The Euclidean distance of each element to the boundary of a set, negative inside: a target of `boundary_loss`.

        phi = min_{j inside} ||i - j||     if i is outside
        phi = -min_{j outside} ||i - j||    if i is inside

    Exact: along each axis in turn the least of parabolas, of which every element is the vertex of one. It takes as many
    steps as an axis has elements, of a pass each, and is meant for a pipeline of data: nothing is differentiated.

    Args:
        target: the set, boolean; or floating, with members above 0.5.
        spatial_axes: the axes along which distances are; images lie on the others.
        spacing: the size of an element, greater than 0: one number, or one an axis, in the order of `spatial_axes`.

    Returns:
        Distances in float32, or in the dtype of a wider `target`; 0 for an image without a boundary, which is all
        inside or all outside.

    Raises:
        AssertionError: a shape or dtype breaks the contract; class indices are refused, `labels == c` is one set.
        ValueError: a Python number out of its domain, or an axis that `target` lacks.

    PyTorch: none.

    Elsewhere: `scipy.ndimage.distance_transform_edt(~mask, sampling=spacing) - distance_transform_edt(mask, ...)`.

    Reference: P. Felzenszwalb and D. Huttenlocher, doi:10.4086/toc.2012.v008a019.

    >>> print(signed_distance(jnp.array([False, False, True, True, True]), spatial_axes=0))
    [ 2.  1. -1. -2. -3.]
    """
    contract = Contract("signed_distance")
    inside = contract.array("target", target)
    if inside.dtype == bool:
        dtype = jnp.dtype(jnp.float32)
    else:
        (inside,) = contract.floats("One set of class indices is target == c.", target=inside)
        dtype, inside = inside.dtype, inside > 0.5
    contract.dtype = dtype
    axes = contract.axes(spatial_axes, inside.ndim, "target", "spatial_axes")
    sizes = spacing if isinstance(spacing, list | tuple) else [spacing] * len(axes)
    if len(sizes) != len(axes):
        raise ValueError(f"signed_distance: `spacing` must be one number, or {len(axes)}, got {len(sizes)}.")
    steps = [jnp.asarray(contract.positive(spacing=size), dtype) for size in sizes]
    to_members, to_others = (_distance(member, axes, steps, dtype) for member in (inside, ~inside))
    distance = jnp.where(inside, -to_others, to_members)
    return jnp.where(jnp.isfinite(distance), distance, 0.0)


@compiled_when_eager
def soft_cldice_loss(
    pred: Float[ArrayLike, "*shape"],
    target: Float[ArrayLike, "*shape"] | Integer[ArrayLike, "..."],
    *,
    from_logits: bool = True,
    class_axis: int | None = None,
    spatial_axes: int | Sequence[int] = (-2, -1),
    iterations: int = 3,
    axis: int | Sequence[int] | None = None,
    weight: Real[ArrayLike, " classes"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    smooth: Real[ArrayLike, ""] = 1.0,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""One minus the overlap of thin structures and their skeletons, with p = sigmoid(pred), or a softmax:

        precision   = (sum(skeleton(p) y) + smooth) / (sum(skeleton(p)) + smooth)
        sensitivity = (sum(skeleton(y) p) + smooth) / (sum(skeleton(y)) + smooth)
        loss        = 1 - 2 precision sensitivity / (precision + sensitivity)

    A skeleton is what an opening takes away, of the image and of its erosions. What connects a vessel counts as much as
    its breadth. Beside a loss of sets, not in place of one. The image ends at what `where` hides, as at its edges.

    Args:
        pred: logits, or probabilities with `from_logits=False`; floating.
        target: membership in [0, 1], floating, of exactly the shape of `pred`; or with `class_axis` class indices,
            integer, of its shape without that axis. An index out of range gives NaN in value and gradient.
        from_logits: whether a sigmoid, or with `class_axis` a softmax, is applied to `pred`.
        class_axis: the axis of `pred` that holds classes of which an element has one; None if each element of `pred`
            is a question of its own.
        spatial_axes: the axes of `pred` along which neighbours lie, one to three.
        iterations: how many erosions, at least 0: the greatest radius of what has a skeleton.
        axis: the axes of `pred` that form a set; None for all but `class_axis`.
        weight: one number at least 0 for each class, with `class_axis`; the mean divides by their sum.
        ignore_index: a class index whose elements belong to no set; None for no such index.
        smooth: added above and below, at least 0, in elements; a quotient of nothing counts as 1, even with `smooth=0`.
        axis_name: inside `shard_map`, the mesh axis, or several, over which a set spans: its sums go over all devices
            there. Each image lies whole on a device: its neighbours are not looked up on another.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the elements, which are those of `pred` without `class_axis`; elements where
            it is False belong to no set. A set with no element left is ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; boolean targets are refused, integers without
            `class_axis`, and a softmax of a single class.
        ValueError: a Python number out of its domain, an axis that `pred` lacks, an `axis_name` of no mesh, axes that
            name `class_axis`, an option of classes without it, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, values that `dice_loss` reports.

    PyTorch: none.

    Elsewhere: the authors' `soft_cldice` takes probabilities, one set of the whole batch; MONAI's `SoftclDiceLoss` too.

    Reference: S. Shit et al., clDice, arXiv:2003.07311.

    >>> mask = jnp.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    >>> print(f"{soft_cldice_loss(4 * mask - 2, mask):.4f}")
    0.0468
    """
    call = _Sets("soft_cldice_loss", from_logits, class_axis, axis, axis_name, sample_weight, reduction)
    if not isinstance(iterations, int) or isinstance(iterations, bool) or iterations < 0:
        raise ValueError(f"{call.function}: `iterations` must be a Python integer, at least 0, got {iterations!r}.")
    pred, target = call.members(pred, target, weight, ignore_index, where)
    axes = call.axes(spatial_axes, pred.ndim, name="spatial_axes")
    if not 1 <= len(axes) <= 3 or call.class_axis in axes:
        raise ValueError(
            f"{call.function}: `spatial_axes` must name one to three axes of `pred`, none of them `class_axis`, "
            f"got {spatial_axes!r}."
        )
    p, _ = call.probabilities_of(pred)
    smooth = call.nonnegative(smooth=smooth)
    totals = []
    for image, other in ((p, target), (target, p)):
        skeleton = _skeleton(image, axes, iterations, call.elements)
        totals += [call.total(skeleton * other), call.total(skeleton * (1 - other))]
    precise, spurious, covered, lost = sum_over(call.mesh, *totals)
    # With a and b for one minus each quotient. Where nothing is found, nothing overlaps.
    a, b = _share(spurious, precise + smooth), _share(lost, covered + smooth)
    found = (1 - a) + (1 - b)
    losses = safe_divide(a * (1 - b) + b * (1 - a), found)
    return call.reduce(jnp.where(found == 0, 1.0, losses), call.weight)


# What sets are made of.


class _Sums(NamedTuple):
    """Of each set sum(p y), and sum(alpha p (1 - y) + beta (1 - p) y): all terms are positive.

    So neither a near-perfect overlap nor almost none loses its digits, as sum(p) + sum(y) - 2 sum(p y) would.
    """

    overlap: Array
    wrong: Array


class _Sets(Call):
    """A call of a loss of sets: elements are masked, sets are weighed and reduced."""

    def __init__(
        self,
        function: str,
        from_logits: bool,
        class_axis: int | None,
        axis: int | Sequence[int] | None,
        axis_name: AxisName | None,
        sample_weight: Any,
        reduction: Reduction,
        joins_classes: bool = False,
    ):
        super().__init__(function, sample_weight, None, reduction)  # The mask hides elements, not sets.
        self.joins_classes = joins_classes
        self.from_logits, self.class_axis, self.axis_of_sets = from_logits, class_axis, axis
        self.mesh = self.mesh_axes(axis_name=axis_name)
        # One number a set, where classes have weights.
        self.weight: Array | None = None

    def sums(self, pred: Array, target: Array, soft: str, alpha: Any = 1.0, beta: Any = 1.0) -> _Sums:
        """The sums of each set, in one pass over the elements, and on all devices that have a part of it."""
        if soft not in ("product", "difference"):
            raise ValueError(f'{self.function}: `soft` must be "product" or "difference", got {soft!r}.')
        alpha, beta = self.nonnegative(alpha=alpha), self.nonnegative(beta=beta)
        if soft == "product" and self.from_logits and self.class_axis is None:
            overlap = _overlap_of_logits(pred, target)
            wrong = _wrong_of_logits(pred, target, *self.numbers(alpha, beta))
        else:
            p, rest = self.probabilities_of(pred)
            if soft == "product":
                overlap, extra, missing = p * target, p * (1 - target), rest * target
            else:
                # p - y, by 1 - p next to 1.
                difference = jnp.where(p > 0.5, (1 - target) - rest, p - target)
                overlap, extra, missing = jnp.minimum(p, target), jax.nn.relu(difference), jax.nn.relu(-difference)
            wrong = alpha * extra + beta * missing
        return _Sums(*sum_over(self.mesh, self.total(overlap), self.total(wrong)))

    def members(
        self, pred: Any, target: Any, weight: Any, ignore_index: Any, where: Any, hint: str = ""
    ) -> tuple[Array, Array]:
        """Scores, and membership in [0, 1] of the same shape; what is hidden has a score and a membership of 0.

        A loss of classes that says what to do with anything else takes class indices alone.
        """
        floating = jnp.issubdtype(self.array("target", target).dtype, jnp.floating) and not hint
        place, labels = self.class_axis, None
        if place is not None:
            place = self.axis(place, self.array("pred", pred).ndim, name="class_axis")
        if place is None or floating:
            pred, target = self.floats(_MEMBERSHIP, pred=pred, target=target)
        else:
            (pred,) = self.classes(place, pred=pred)
            labels = self.class_indices(pred, place, target, hint or "For membership in [0, 1] pass floats.")
        self.parts("axis_name", self.mesh, pred=pred)
        self.class_axis = place
        self._form_sets(pred, weight)
        self._hide_elements(pred, labels, ignore_index, where)

        (pred,) = fill_masked(self.elements, 0.0, pred)
        if labels is None or place is None:
            target = self.probabilities(target=fill_masked(self.elements, 0.0, target)[0])
        else:
            target = self._membership(pred, labels, place)
        if not self.from_logits:
            pred = self.probabilities("For logits use from_logits=True.", pred=pred)
        elif place is None:
            self.check_not_sigmoid(pred, self.elements)
        else:
            self.check_not_softmax(pred, place, self.unmasked)
        return pred, target

    def _form_sets(self, pred: Array, weight: Any) -> None:
        """Which axes are summed over, the shape of what is left, and the weights of that."""
        others = [axis for axis in range(pred.ndim) if axis != self.class_axis]
        self.summed = tuple(others) if self.axis_of_sets is None else self.axes(self.axis_of_sets, pred.ndim)
        if self.class_axis in self.summed:
            raise ValueError(f"{self.function}: `axis` must not name `class_axis`, got {self.axis_of_sets!r}.")
        self.kept = [axis for axis in range(pred.ndim) if axis not in self.summed]
        self.shape = tuple(pred.shape[axis] for axis in self.kept)
        if self.class_axis is None:
            if weight is not None:
                raise ValueError(f"{self.function}: `weight` needs `class_axis`. Weights of sets are `sample_weight`.")
            return
        if self.from_logits:
            problem = "`pred` must have at least two classes along `class_axis`"
            self.require_classes(problem, pred, self.class_axis, 2, "For one class leave `class_axis` out.")
        if weight is not None:
            weight = self.one_per_class(pred.shape[self.class_axis], weight=weight).astype(pred.dtype)
            weight = jnp.expand_dims(weight, others)
            self.weight = jnp.broadcast_to(jnp.squeeze(weight, self.summed), self.shape)

    def _hide_elements(self, pred: Array, labels: Array | None, ignore_index: Any, where: Any) -> None:
        """What the mask and `ignore_index` leave: `elements`, with a class axis of one; and the sets that keep one."""
        place = self.class_axis
        shape = pred.shape if place is None else pred.shape[:place] + pred.shape[place + 1 :]
        of = "`pred`" if place is None else "`pred` without `class_axis`"
        self.keep = self.mask(shape, of, where=where)
        if labels is not None:
            self.ignore(labels, ignore_index)
        elif ignore_index is not None:
            raise ValueError(f"{self.function}: `ignore_index` needs class indices, and `class_axis`.")
        self.unmasked, kept = self.keep, None
        self.elements = self.unmasked if place is None else expand_mask(place, self.unmasked)
        if self.elements is not None:
            kept = jnp.broadcast_to(any_over(self.mesh, jnp.any(self.elements, self.summed)), self.shape)
        if not self.joins_classes:
            self.hide(self.shape, pred.dtype, kept)
        else:
            shape = self.shape[: self.place] + self.shape[self.place + 1 :]
            self.hide(shape, pred.dtype, None if kept is None else jnp.any(kept, self.place))

    @property
    def place(self) -> int:
        """Where the class axis is among those of the sets."""
        return [axis == self.class_axis for axis in self.kept].index(True)

    def _membership(self, pred: Array, labels: Array, place: int) -> Array:
        """1 for the class that an index names, and 0 for the others; NaN for all of them where it names none."""
        classes = pred.shape[place]
        (labels,) = fill_masked(self.unmasked, 0, labels)
        self.check_labels(labels, classes)
        valid = jnp.expand_dims(is_class(labels, classes), place)
        # Not a factor: of 0 times NaN XLA makes 0 where the 0 was a boolean.
        return jnp.where(valid, one_hot(labels, classes, place).astype(pred.dtype), jnp.nan)

    def probabilities_of(self, pred: Array) -> tuple[Array, Array]:
        """p and 1 - p."""
        if not self.from_logits:
            return pred, 1 - pred
        return sigmoid_and_rest(pred) if self.class_axis is None else softmax_and_rest(pred, self.class_axis)

    def total(self, values: Array) -> Array:
        """Of each set, on this device."""
        where = None if self.elements is None else jnp.broadcast_to(self.elements, values.shape)
        return jnp.sum(fuse_whole(values), self.summed, where=where)

    def ignore_absent(self, target: Array) -> None:
        """Hides the sets without an element in the target."""
        where = None if self.elements is None else jnp.broadcast_to(self.elements, target.shape)
        present = jnp.max(target, self.summed, initial=0.0, where=where) != 0
        self.keep = present if self.keep is None else self.keep & present

    def zero_or_one(self, hint: str, **arrays: Array) -> Array:
        """0 or 1; NaN elsewhere."""
        (array,) = arrays.values()
        return self._inside("0 or 1", (array == 0) | (array == 1), hint, **arrays)

    def jaccard_weights(self, scores: Array, target: Array) -> Array:
        """By how much each element adds to the Jaccard loss of its set, if all go wrong, the lowest score first."""
        elements = None if self.elements is None else jnp.broadcast_to(self.elements, scores.shape)
        weights = jaccard_weights(
            self._sets_last(scores),
            self._sets_last(target == 1),
            None if elements is None else self._sets_last(elements),
        )
        order = (*self.kept, *self.summed)
        weights = weights.reshape([scores.shape[axis] for axis in order])
        return jnp.transpose(weights, [order.index(axis) for axis in range(scores.ndim)])

    def _sets_last(self, values: Array) -> Array:
        """The elements of each set on one axis, the last."""
        values = jnp.transpose(values, (*self.kept, *self.summed))
        return jax.lax.collapse(values, len(self.kept)) if self.summed else values[..., None]


_POWERS = {"square": 2, "simple": 1, "uniform": 0}


def _weights_of_classes(size: Array, axis: int, power: int) -> tuple[Array, Array]:
    """1 / size^power times that of the smallest class, which is next: so that neither overflows. Absent: 0."""
    least = jnp.min(jnp.where(size > 0, size, jnp.inf), axis, keepdims=True, initial=jnp.inf)
    # The loss does not depend on it.
    least = jax.lax.stop_gradient(jnp.where(least < jnp.inf, least, 1.0))
    weights = jnp.where(size > 0, safe_divide(least, size) ** power, 0.0)
    return weights, jnp.squeeze(least, axis) ** power


@with_derivatives(lambda pred, target: target * sigmoid_derivative(pred), lambda pred, target: jax.nn.sigmoid(pred))
def _overlap_of_logits(pred: Array, target: Array) -> Array:
    return jax.nn.sigmoid(pred) * target


@with_derivatives(
    lambda pred, target, alpha, beta: (alpha * (1 - target) - beta * target) * sigmoid_derivative(pred),
    lambda pred, target, alpha, beta: 0.5 * ((beta - alpha) - (alpha + beta) * jnp.tanh(0.5 * pred)),
    lambda pred, target, alpha, beta: jax.nn.sigmoid(pred) * (1 - target),
    lambda pred, target, alpha, beta: jax.nn.sigmoid(-pred) * target,
)
def _wrong_of_logits(pred: Array, target: Array, alpha: Array, beta: Array) -> Array:
    """alpha p (1 - y) + beta (1 - p) y"""
    small, extra, missing = exp_neg_abs(pred), alpha * (1 - target), beta * target
    return jnp.where(pred > 0, extra + small * missing, missing + small * extra) * (1 / (1 + small))


@with_derivatives(
    lambda wrong, right: safe_divide(safe_divide(right, wrong + right), wrong + right),
    lambda wrong, right: -safe_divide(safe_divide(wrong, wrong + right), wrong + right),
)
def _share(wrong: Array, right: Array) -> Array:
    """The part of a set that is wrong; nothing of an empty one."""
    return safe_divide(wrong, wrong + right)


def _distance(member: Array, axes: Sequence[int], steps: Sequence[Array], dtype: Any) -> Array:
    """To the next member; infinite where there is none."""
    squares = jnp.where(member, 0.0, jnp.inf).astype(dtype)
    for axis, step in zip(axes, steps, strict=True):
        squares = _least_of_parabolas(squares, axis, step)
    return jnp.sqrt(squares)


def _least_of_parabolas(heights: Array, axis: int, step: Array) -> Array:
    """min_j (f_j + (step (i - j))^2), a vertex at a time: nothing is held but the least so far."""
    places = jax.lax.broadcasted_iota(jnp.int32, heights.shape, axis)

    def lower(vertex: Array, least: Array) -> Array:
        height = jax.lax.dynamic_index_in_dim(heights, vertex, axis)
        return jnp.minimum(least, height + jnp.square(step * (places - vertex).astype(step.dtype)))

    return jax.lax.fori_loop(0, heights.shape[axis], lower, heights)


def _skeleton(image: Array, axes: Sequence[int], iterations: int, elements: Array | None) -> Array:
    """What openings take away: relu(x - open(x)) of the image and of its erosions, joined as probabilities are."""

    def ends(image: Array, fill: float) -> Array:
        """The image ends where elements are hidden: there stands what changes no minimum, or no maximum."""
        return image if elements is None else jnp.where(elements, image, fill)

    @jax.checkpoint  # Of each step two images are kept for the gradient, and not every comparison.
    def step(image: Array, skeleton: Array) -> tuple[Array, Array]:
        whole = ends(image, 1.0)
        eroded = functools.reduce(jnp.minimum, [_of_neighbours(jnp.minimum, whole, axis, 1.0) for axis in axes])
        opened = ends(eroded, 0.0)
        for axis in axes:
            opened = _of_neighbours(jnp.maximum, opened, axis, 0.0)
        return eroded, skeleton + jax.nn.relu(image - opened) * (1 - skeleton)

    skeleton = jnp.zeros_like(image)
    for _ in range(iterations + 1):
        image, skeleton = step(image, skeleton)
    return skeleton


def _of_neighbours(combine: Any, image: Array, axis: int, fill: float) -> Array:
    """The least or the largest of each element and the two beside it."""
    widths = [(1, 1, 0) if other == axis else (0, 0, 0) for other in range(image.ndim)]
    around = jax.lax.pad(image, jnp.asarray(fill, image.dtype), widths)
    before, after = (jax.lax.slice_in_dim(around, at, at + image.shape[axis], axis=axis) for at in (0, 2))
    return combine(combine(before, image), after)
