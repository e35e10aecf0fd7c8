"""Detection: how well two boxes overlap."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._contracts.arrays import single_precision
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.safe import safe_divide
from jaxloss._numerics.xla import at_once, by_platform, fuse_whole, prevent_cse
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction


@compiled_when_eager
def box_iou_loss(
    pred: Float[ArrayLike, "*batch 4"],
    target: Float[ArrayLike, "*batch 4"],
    *,
    eps: Real[ArrayLike, ""] = 1e-7,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""One minus the intersection over union of each pair of boxes:

        loss = 1 - |P & T| / (|P | T| + eps)

    Boxes that do not overlap have loss 1 and gradient 0: `generalized_box_iou_loss` still pulls them together.

    Args:
        pred: boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2 on the last axis, floating.
        target: boxes, floating, of exactly the shape of `pred`.
        eps: added to each denominator, at least 0, in the unit of an area; 0 / 0 counts as 0. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per box, of the shape of `pred` without its last axis; float32 for half-precision
        inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number `eps` below 0, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, boxes with x1 > x2 or y1 > y2.

    PyTorch: `1 - torchvision.ops.box_iou` of matching boxes.

    Reference: J. Yu et al., UnitBox, arXiv:1608.01471.

    >>> pred, target = jnp.array([[100.0, 100.0, 200.0, 200.0]]), jnp.array([[105.0, 105.0, 205.0, 205.0]])
    >>> print(f"{box_iou_loss(pred, target):.4f}")
    0.1777
    """
    call = Call("box_iou_loss", sample_weight, where, reduction)
    return call.reduce(fuse_whole(_iou_loss(*_boxes(call, pred, target, eps))))


@compiled_when_eager
def generalized_box_iou_loss(
    pred: Float[ArrayLike, "*batch 4"],
    target: Float[ArrayLike, "*batch 4"],
    *,
    eps: Real[ArrayLike, ""] = 1e-7,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""GIoU: the IoU loss plus the part of the enclosing box C that neither box fills:

        loss = 1 - IoU + (|C| - |P | T|) / (|C| + eps)

    Args:
        pred: boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2 on the last axis, floating.
        target: boxes, floating, of exactly the shape of `pred`.
        eps: added to each denominator, at least 0, in the unit of an area; 0 / 0 counts as 0. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per box, of the shape of `pred` without its last axis; float32 for half-precision
        inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number `eps` below 0, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, boxes with x1 > x2 or y1 > y2.

    PyTorch: `torchvision.ops.generalized_box_iou_loss`, whose default reduction is "none".

    Reference: H. Rezatofighi et al., Generalized Intersection over Union, arXiv:1902.09630.

    >>> pred, target = jnp.array([[100.0, 100.0, 200.0, 200.0]]), jnp.array([[105.0, 105.0, 205.0, 205.0]])
    >>> print(f"{generalized_box_iou_loss(pred, target):.4f}")
    0.1822
    """
    call = Call("generalized_box_iou_loss", sample_weight, where, reduction)
    return call.reduce(fuse_whole(_generalized_iou_loss(*_boxes(call, pred, target, eps))))


@compiled_when_eager
def distance_box_iou_loss(
    pred: Float[ArrayLike, "*batch 4"],
    target: Float[ArrayLike, "*batch 4"],
    *,
    eps: Real[ArrayLike, ""] = 1e-7,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""DIoU: the IoU loss plus the squared distance of the centres over the squared diagonal of the enclosing box C:

        loss = 1 - IoU + |centre(P) - centre(T)|^2 / (diagonal(C)^2 + eps)

    Args:
        pred: boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2 on the last axis, floating.
        target: boxes, floating, of exactly the shape of `pred`.
        eps: added to each denominator, at least 0, in the unit of an area; 0 / 0 counts as 0. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per box, of the shape of `pred` without its last axis; float32 for half-precision
        inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number `eps` below 0, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, boxes with x1 > x2 or y1 > y2.

    PyTorch: `torchvision.ops.distance_box_iou_loss`, whose default reduction is "none".

    Reference: Z. Zheng et al., Distance-IoU Loss, arXiv:1911.08287.

    >>> pred, target = jnp.array([[100.0, 100.0, 200.0, 200.0]]), jnp.array([[105.0, 105.0, 205.0, 205.0]])
    >>> print(f"{distance_box_iou_loss(pred, target):.4f}")
    0.1799
    """
    call = Call("distance_box_iou_loss", sample_weight, where, reduction)
    return call.reduce(fuse_whole(_distance_iou_loss(*_boxes(call, pred, target, eps))))


@compiled_when_eager
def complete_box_iou_loss(
    pred: Float[ArrayLike, "*batch 4"],
    target: Float[ArrayLike, "*batch 4"],
    *,
    eps: Real[ArrayLike, ""] = 1e-7,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""CIoU: the DIoU loss plus a measure of how far the aspect ratios differ:

        v    = 4 / pi^2 (atan(width_T / height_T) - atan(width_P / height_P))^2
        a    = v / (1 - IoU + v + eps)        constant in the gradient
        loss = DIoU loss + a v

    Args:
        pred: boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2 on the last axis, floating.
        target: boxes, floating, of exactly the shape of `pred`.
        eps: added to each denominator, at least 0, in the unit of an area; 0 / 0 counts as 0. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per box, of the shape of `pred` without its last axis; float32 for half-precision
        inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number `eps` below 0, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, boxes with x1 > x2 or y1 > y2.

    PyTorch: `torchvision.ops.complete_box_iou_loss`, whose default reduction is "none".

    Reference: Z. Zheng et al., Distance-IoU Loss, arXiv:1911.08287.

    >>> pred, target = jnp.array([[100.0, 100.0, 200.0, 200.0]]), jnp.array([[105.0, 105.0, 205.0, 205.0]])
    >>> print(f"{complete_box_iou_loss(pred, target):.4f}")
    0.1799
    """
    call = Call("complete_box_iou_loss", sample_weight, where, reduction)
    return call.reduce(fuse_whole(_complete_iou_loss(*_boxes(call, pred, target, eps))))


@compiled_when_eager
def efficient_box_iou_loss(
    pred: Float[ArrayLike, "*batch 4"],
    target: Float[ArrayLike, "*batch 4"],
    *,
    eps: Real[ArrayLike, ""] = 1e-7,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""EIoU: the DIoU loss plus how far widths and heights differ, each as a part of the enclosing box C:

        loss = DIoU loss + |width(P) - width(T)|^2 / (width(C)^2 + eps)
               + |height(P) - height(T)|^2 / (height(C)^2 + eps)

    Where CIoU compares aspect ratios, which agree for boxes of any size, this one pulls at the sides themselves.

    Args:
        pred: boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2 on the last axis, floating.
        target: boxes, floating, of exactly the shape of `pred`.
        eps: added to each denominator, at least 0, in the unit of an area; 0 / 0 counts as 0. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per box, of the shape of `pred` without its last axis; float32 for half-precision
        inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number `eps` below 0, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, boxes with x1 > x2 or y1 > y2.

    PyTorch: none.

    Elsewhere: mmdetection's `EIoULoss` is another loss, the Extended-IoU loss.

    Reference: Y.-F. Zhang et al., Focal and Efficient IOU Loss for Accurate Bounding Box Regression, arXiv:2101.08158.

    >>> pred, target = jnp.array([[100.0, 100.0, 200.0, 200.0]]), jnp.array([[100.0, 100.0, 150.0, 200.0]])
    >>> print(f"{efficient_box_iou_loss(pred, target):.4f}")
    0.7812
    """
    call = Call("efficient_box_iou_loss", sample_weight, where, reduction)
    return call.reduce(fuse_whole(_efficient_iou_loss(*_boxes(call, pred, target, eps))))


class _Boxes(NamedTuple):
    """Coordinates one by one: a slice of two would be stored."""

    x1: Array
    y1: Array
    x2: Array
    y2: Array


def _coordinates(boxes: Array) -> _Boxes:
    return _Boxes(*map(single_precision, jnp.unstack(boxes, axis=-1)))


def _side_by_side(boxes: _Boxes) -> Array:
    """The last axis again. By selects, which XLA fuses with what makes the coordinates: these are not stored."""
    x1, y1, x2, y2 = (each[..., None] for each in boxes)
    # Made of the boxes, so that it lies where they lie on an explicit mesh: else the selects are refused there.
    place = jnp.expand_dims(jnp.arange(4), range(x1.ndim - 1)) + 0 * jnp.isnan(x1).astype(int)
    return jnp.where(place < 2, jnp.where(place == 0, x1, y1), jnp.where(place == 2, x2, y2))


def _of_boxes(
    formula: Callable[[_Boxes, _Boxes, Array], Array], stores_on_cpu: bool
) -> Callable[[Array, Array, Array], Array]:
    """A loss of each pair of boxes, whose derivative is computed from the boxes again: nothing is stored between.

    Where formulas are long, that does not pay on a CPU: arithmetic costs more than memory there.
    """

    def plain(pred: Array, target: Array, eps: Array) -> Array:
        return formula(_coordinates(pred), _coordinates(target), eps)

    loss = jax.custom_jvp(plain)

    def jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
        value = loss(*primals)
        *boxes, eps = primals
        again = [_Boxes(*map(prevent_cse, _coordinates(each))) for each in boxes]
        _, pull = jax.vjp(formula, *again, eps)
        *of_boxes, _ = pull(jnp.ones_like(value))
        terms = [
            by_platform(tangent, *derivatives, cpu=_sum_by_selects, elsewhere=_sum_by_columns)
            for derivatives, tangent in zip(of_boxes, tangents, strict=False)
            if not isinstance(tangent, SymbolicZero)
        ]
        if not isinstance(tangents[2], SymbolicZero):
            terms.append(jax.jvp(functools.partial(formula, *again), (eps,), tangents[2:])[1])
        return value, functools.reduce(jnp.add, terms, jnp.zeros_like(value))

    loss.defjvp(jvp, symbolic_zeros=True)
    return functools.partial(by_platform, cpu=plain, elsewhere=loss) if stores_on_cpu else loss


def _sum_by_selects(tangent: Array, *derivatives: Array) -> Array:
    return jnp.sum(_side_by_side(_Boxes(*derivatives)) * single_precision(tangent), -1)


def _sum_by_columns(tangent: Array, *derivatives: Array) -> Array:
    columns = map(single_precision, at_once(*jnp.unstack(tangent, axis=-1)))
    return functools.reduce(jnp.add, map(jnp.multiply, derivatives, columns))


class _Overlap(NamedTuple):
    iou: Array
    union: Array
    hull_width: Array
    hull_height: Array


def _boxes(call: Call, pred: Any, target: Any, eps: Any) -> tuple[Array, Array, Array]:
    """Boxes, where a hidden one becomes the unit box."""
    unit = jnp.array([0.0, 0.0, 1.0, 1.0])
    pred, target = call.vectors_as_given(4, "x1, y1, x2, y2", fill=unit, pred=pred, target=target)
    for name, boxes in (("pred", pred), ("target", target)):
        ordered = jnp.all(boxes[..., :2] <= boxes[..., 2:])
        call.check(ordered, f"`{name}` must hold boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2.")
    eps = call.nonnegative(eps=eps)
    return pred, target, jnp.asarray(eps, call.dtype)


@functools.partial(_of_boxes, stores_on_cpu=False)
def _iou_loss(pred: _Boxes, target: _Boxes, eps: Array) -> Array:
    return 1 - _overlap(pred, target, eps).iou


@functools.partial(_of_boxes, stores_on_cpu=False)
def _generalized_iou_loss(pred: _Boxes, target: _Boxes, eps: Array) -> Array:
    overlap = _overlap(pred, target, eps)
    hull = overlap.hull_width * overlap.hull_height
    return 1 - overlap.iou + safe_divide(hull - overlap.union, hull + eps)


@functools.partial(_of_boxes, stores_on_cpu=True)
def _distance_iou_loss(pred: _Boxes, target: _Boxes, eps: Array) -> Array:
    overlap = _overlap(pred, target, eps)
    return 1 - overlap.iou + _centre_distance(pred, target, overlap, eps)


@functools.partial(_of_boxes, stores_on_cpu=True)
def _complete_iou_loss(pred: _Boxes, target: _Boxes, eps: Array) -> Array:
    overlap = _overlap(pred, target, eps)
    aspect = 4 / math.pi**2 * jnp.square(_aspect_angle(target) - _aspect_angle(pred))
    aspect_weight = jax.lax.stop_gradient(safe_divide(aspect, 1 - overlap.iou + aspect + eps))
    return 1 - overlap.iou + _centre_distance(pred, target, overlap, eps) + aspect_weight * aspect


@functools.partial(_of_boxes, stores_on_cpu=True)
def _efficient_iou_loss(pred: _Boxes, target: _Boxes, eps: Array) -> Array:
    overlap = _overlap(pred, target, eps)
    wider = (pred.x2 - pred.x1) - (target.x2 - target.x1)
    higher = (pred.y2 - pred.y1) - (target.y2 - target.y1)
    sides = safe_divide(jnp.square(wider), jnp.square(overlap.hull_width) + eps)
    sides += safe_divide(jnp.square(higher), jnp.square(overlap.hull_height) + eps)
    return 1 - overlap.iou + _centre_distance(pred, target, overlap, eps) + sides


def _overlap(pred: _Boxes, target: _Boxes, eps: Any) -> _Overlap:
    inner = _Boxes(*map(jnp.maximum, pred[:2], target[:2]), *map(jnp.minimum, pred[2:], target[2:]))
    hull = _Boxes(*map(jnp.minimum, pred[:2], target[:2]), *map(jnp.maximum, pred[2:], target[2:]))
    intersection = jax.nn.relu(inner.x2 - inner.x1) * jax.nn.relu(inner.y2 - inner.y1)
    union = _area(pred) + _area(target) - intersection
    return _Overlap(safe_divide(intersection, union + eps), union, hull.x2 - hull.x1, hull.y2 - hull.y1)


def _area(boxes: _Boxes) -> Array:
    return (boxes.x2 - boxes.x1) * (boxes.y2 - boxes.y1)


def _centre_distance(pred: _Boxes, target: _Boxes, overlap: _Overlap, eps: Any) -> Array:
    """The squared distance of the centres, as a part of the squared diagonal of the enclosing box."""
    right = (pred.x1 + pred.x2 - target.x1 - target.x2) / 2
    down = (pred.y1 + pred.y2 - target.y1 - target.y2) / 2
    diagonal = jnp.square(overlap.hull_width) + jnp.square(overlap.hull_height)
    return safe_divide(jnp.square(right) + jnp.square(down), diagonal + eps)


def _aspect_angle(boxes: _Boxes) -> Array:
    """atan(width / height), defined for empty boxes too."""
    width, height = boxes.x2 - boxes.x1, boxes.y2 - boxes.y1
    width, height = jnp.where(height < 0, -width, width), jnp.where(height < 0, -height, height)
    # By a ratio of at most 1, whose square does not overflow. With an atan2 XLA:CPU takes twice the time for the loss.
    is_wide = jnp.abs(width) > height
    part = jnp.arctan(safe_divide(jnp.where(is_wide, height, width), jnp.where(is_wide, width, height)))
    return jnp.where(is_wide, jnp.where(width < 0, -math.pi / 2, math.pi / 2) - part, part)
