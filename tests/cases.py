"""The table: one row a loss. `test_every_loss.py` derives from it all that must hold for every loss.

The oracles are written in NumPy, from the formulas alone, and share no code with the package. They compute in the dtype
that they are given: the tests give them extended precision, and differentiate them by central differences.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import jaxloss

Arrays = tuple[np.ndarray, ...]
INF, NAN = np.inf, np.nan


@dataclass(frozen=True)
class Bad:
    """A call that must be refused: arguments, options, and what the message must say besides the function's name."""

    args: tuple[Any, ...]
    options: dict[str, Any]
    message: str
    error: type[Exception] = AssertionError


@dataclass(frozen=True)
class Extreme:
    """Arguments at the edge of the domain, and the unreduced loss that mathematics gives there."""

    args: tuple[Any, ...]
    options: dict[str, Any]
    expected: Any


@dataclass(frozen=True)
class Row:
    """One loss: how to draw it, what it must be, what it must refuse."""

    loss: Callable[..., Any]
    # (rng, batch shape, options) -> valid arrays; the mask has the batch shape.
    draw: Callable[..., Arrays]
    # (*arrays, where, **options) -> unreduced losses and what the mean divides by, element by element.
    oracle: Callable[..., tuple[np.ndarray, np.ndarray]]
    # The options with which everything is tested.
    variants: tuple[dict[str, Any], ...] = ({},)
    # Options of the variants that may be traced, and differentiated.
    traced: tuple[str, ...] = ()
    # Positions of the arrays that gradients flow to.
    differentiable: tuple[int, ...] = (0,)
    # What garbage may stand under a mask, an array each.
    garbage: tuple[tuple[float, ...], ...] = ((NAN, INF, -INF, 1e30), (NAN, INF, -INF, 1e30))
    # (torch.nn.functional, *tensors, reduction, **options), None where PyTorch lacks it.
    torch: Callable[..., Any] | None = None
    default_reduction: str = "mean"
    # Whether the oracle takes `constant_at`: the arrays at which some factor stands still in the gradient.
    constant_factor: bool = False
    refuses: tuple[Bad, ...] = ()
    reports: tuple[Bad, ...] = ()
    extremes: tuple[Extreme, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.loss.__name__


def per_example(oracle: Callable[..., Any]) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """An oracle of one loss an example, masked and counted: all but the set losses."""

    def masked(*arrays: np.ndarray, where: np.ndarray | bool = True, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        values = oracle(*arrays, **options)
        values, counts = values if isinstance(values, tuple) else (values, np.ones(values.shape))
        return np.where(where, values, 0), np.where(where, counts, 0)

    return masked


# Regression


def draw_errors(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return rng.normal(size=batch), 2 * rng.normal(size=batch)


def smooth_l1_oracle(pred, target, beta=1.0):
    error = np.abs(pred - target)
    return np.where(error < beta, 0.5 * error**2 / (beta or 1.0), error - 0.5 * beta)


def huber_oracle(pred, target, delta=1.0):
    error = np.abs(pred - target)
    return np.where(error <= delta, 0.5 * error**2, delta * (error - 0.5 * delta))


# Classification


def insert(batch: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    axis %= len(batch) + 1
    return (*batch[:axis], size, *batch[axis:])


def draw_class_logits(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    classes = len(options["weight"]) if "weight" in options else 5
    target = rng.integers(0, classes, size=batch)
    if "ignore_index" in options:
        target = np.where(rng.random(size=batch) < 0.3, options["ignore_index"], target)
    return 3 * rng.normal(size=insert(batch, options.get("axis", -1), classes)), target


def draw_soft_targets(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    classes = len(options["weight"]) if "weight" in options else 5
    shape = insert(batch, options.get("axis", -1), classes)
    target = rng.random(size=shape) + 1e-2
    return 3 * rng.normal(size=shape), target / target.sum(options.get("axis", -1), keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def cross_entropy_oracle(pred, target, axis=-1, weight=None, ignore_index=None, label_smoothing=0.0):
    log_p = log_softmax(np.moveaxis(pred, axis, -1))
    classes = log_p.shape[-1]
    weight = np.ones(classes) if weight is None else np.asarray(weight)
    keep = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    one_hot = np.eye(classes)[np.where(keep, target, 0)]
    smooth = (1 - label_smoothing) * one_hot + label_smoothing / classes
    return -(keep[..., None] * smooth * weight * log_p).sum(-1), keep * (one_hot * weight).sum(-1)


def draw_class_log_probabilities(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    logits, target = draw_class_logits(rng, batch, options)
    axis = options.get("axis", -1)
    return np.moveaxis(log_softmax(np.moveaxis(logits, axis, -1)), -1, axis), target


def nll_oracle(pred, target, axis=-1, weight=None, ignore_index=None):
    keep = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    index = np.where(keep, target, 0)
    log_p = np.take_along_axis(np.moveaxis(pred, axis, -1), index[..., None], -1)[..., 0]
    weights = keep * (np.ones(pred.shape[axis]) if weight is None else np.asarray(weight))[index]
    return -weights * log_p, weights


def soft_target_oracle(pred, target, axis=-1, weight=None, label_smoothing=0.0):
    log_p, target = log_softmax(np.moveaxis(pred, axis, -1)), np.moveaxis(target, axis, -1)
    classes = log_p.shape[-1]
    smooth = (1 - label_smoothing) * target + label_smoothing / classes
    return -(smooth * (1.0 if weight is None else np.asarray(weight)) * log_p).sum(-1)


def draw_binary_logits(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    target = np.where(rng.random(size=batch) < 0.5, rng.integers(0, 2, size=batch), rng.random(size=batch))
    return 3 * rng.normal(size=batch), target


def draw_binary_labels(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return 3 * rng.normal(size=batch), rng.integers(0, 2, size=batch).astype(float)


def draw_probabilities(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return 0.05 + 0.9 * rng.random(size=batch), draw_binary_logits(rng, batch, options)[1]


def bce_of_probabilities_oracle(pred, target, weight=1.0):
    return -(target * np.log(pred) + (1 - target) * np.log(1 - pred)) * np.asarray(weight)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce_oracle(pred, target, weight=None, pos_weight=None):
    positive = -np.log(sigmoid(pred)) * np.asarray(1.0 if pos_weight is None else pos_weight)
    values = target * positive - (1 - target) * np.log(sigmoid(-pred))
    return values * np.asarray(1.0 if weight is None else weight)


def focal_oracle(pred, target, alpha=0.25, gamma=2.0):
    bce = bce_oracle(pred, target)
    return alpha * (1 - np.exp(-bce)) ** gamma * bce


def sigmoid_focal_oracle(pred, target, alpha=0.25, gamma=2.0):
    p = sigmoid(pred)
    p_t = p * target + (1 - p) * (1 - target)
    alpha_t = 1.0 if alpha is None else alpha * target + (1 - alpha) * (1 - target)
    return alpha_t * (1 - p_t) ** gamma * bce_oracle(pred, target)


def softmax_focal_oracle(pred, target, axis=-1, alpha=None, gamma=2.0, ignore_index=None):
    log_p = log_softmax(np.moveaxis(pred, axis, -1))
    keep = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    index = np.where(keep, target, 0)
    log_p = np.take_along_axis(log_p, index[..., None], -1)[..., 0]
    alpha = np.broadcast_to(1.0 if alpha is None else alpha, (pred.shape[axis],))[index]
    return -(keep * alpha) * (1 - np.exp(log_p)) ** gamma * log_p, keep.astype(float)


# Segmentation


def draw_masks(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    pred = 3 * rng.normal(size=batch) if options.get("from_logits", True) else rng.random(size=batch)
    return pred, rng.integers(0, 2, size=batch).astype(float)


def dice_oracle(pred, target, where: Any = True, from_logits=True, axis: Any = None, smooth=1e-5):
    p = np.where(where, sigmoid(pred) if from_logits else pred, 0)
    target = np.where(where, target, 0)
    axis = tuple(axis) if isinstance(axis, list) else axis
    kept = np.broadcast_to(where, target.shape).any(axis)
    overlap = (2 * (p * target).sum(axis) + smooth) / (p.sum(axis) + target.sum(axis) + np.where(kept, smooth, 1))
    return np.where(kept, 1 - overlap, 0), np.asarray(kept, float)


# Detection


def draw_boxes(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    low, size = rng.random(size=(2, *batch, 2)), 0.2 + rng.random(size=(2, *batch, 2))
    return tuple(np.concatenate([low, low + size], -1))


def box_areas(pred, target):
    def area(low, high):
        return np.prod(np.maximum(high - low, 0), -1)

    p1, p2, t1, t2 = pred[..., :2], pred[..., 2:], target[..., :2], target[..., 2:]
    intersection = area(np.maximum(p1, t1), np.minimum(p2, t2))
    return intersection, area(p1, p2) + area(t1, t2) - intersection, np.minimum(p1, t1), np.maximum(p2, t2)


def iou_oracle(pred, target, eps=1e-7):
    intersection, union, _, _ = box_areas(pred, target)
    return 1 - intersection / (union + eps)


def giou_oracle(pred, target, eps=1e-7):
    _, union, low, high = box_areas(pred, target)
    hull = np.prod(high - low, -1)
    return iou_oracle(pred, target, eps) + (hull - union) / (hull + eps)


def diou_oracle(pred, target, eps=1e-7):
    _, _, low, high = box_areas(pred, target)
    centre = (pred[..., :2] + pred[..., 2:]) / 2 - (target[..., :2] + target[..., 2:]) / 2
    return iou_oracle(pred, target, eps) + (centre**2).sum(-1) / (((high - low) ** 2).sum(-1) + eps)


def aspect_oracle(pred, target):
    def angle(boxes):
        return np.arctan((boxes[..., 2] - boxes[..., 0]) / (boxes[..., 3] - boxes[..., 1]))

    return 4 / math.pi**2 * (angle(target) - angle(pred)) ** 2


def ciou_oracle(pred, target, eps=1e-7, constant_at=None):
    """`constant_at`: the boxes at which the weight of the aspect term stands, while `pred` and `target` move."""
    at_pred, at_target = (pred, target) if constant_at is None else constant_at
    v = aspect_oracle(at_pred, at_target)
    weight = v / (iou_oracle(at_pred, at_target, eps) + v + eps)
    return diou_oracle(pred, target, eps) + weight * aspect_oracle(pred, target)


# Divergence


def draw_log_probabilities(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    logits = rng.normal(size=(2, *(batch or (1,))))
    pred, target = (logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)).reshape(2, *batch)
    return pred, target if options.get("log_target") else np.exp(target)


def kl_oracle(pred, target, log_target=False):
    return np.exp(target) * (target - pred) if log_target else target * (np.log(target) - pred)


# Metric learning


def draw_triplets(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return tuple(rng.normal(size=(3, *batch, 4)))


def triplet_oracle(anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False):
    def distance(x, y):
        size = np.abs(x - y + eps)
        return size.max(-1) if p == INF else (size**p).sum(-1) ** (1 / p)

    far = distance(anchor, negative)
    if swap:
        far = np.minimum(far, distance(positive, negative))
    return np.maximum(distance(anchor, positive) - far + margin, 0)


# What torch.nn.functional calls the same thing


def torch_classes(nn, pred, target, *, axis=-1, **options):
    return nn.cross_entropy(pred.movedim(axis, min(1, pred.ndim - 1)), target, **options)


def torch_nll(nn, pred, target, *, axis=-1, **options):
    return nn.nll_loss(pred.movedim(axis, min(1, pred.ndim - 1)), target, **options)


def torch_soft_targets(nn, pred, target, *, axis=-1, **options):
    channels = min(1, pred.ndim - 1)
    return nn.cross_entropy(pred.movedim(axis, channels), target.movedim(axis, channels), **options)


# The table

FLOATS = np.ones((3, 4), np.float32)
LOGITS = np.zeros((3, 5), np.float32)
LABELS = np.zeros(3, np.int32)
BOXES = np.tile(np.array([0, 0, 1, 1], np.float32), (3, 1))
PROBABILITIES = np.full((3, 5), 0.2, np.float32)
SPREAD = np.linspace(0.01, 0.99, 40, dtype=np.float32)


def option(name: str, value: Any, args: tuple[Any, ...] = (FLOATS, FLOATS)) -> Bad:
    """A Python number out of its domain."""
    return Bad(args, {name: value}, f"`{name}`", ValueError)


BINARY_REPORTS = (
    Bad((FLOATS, FLOATS + 1), {}, "`target` must hold values in \\[0, 1\\], got values from 2"),
    Bad((FLOATS, -FLOATS), {}, "`target` must hold values in \\[0, 1\\]"),
    Bad((FLOATS, FLOATS * NAN), {}, "`target` must hold values in \\[0, 1\\]"),
    Bad((SPREAD, np.ones(40, np.float32)), {}, "`pred` must hold logits"),
)
CLASS_REPORTS = (
    Bad((LOGITS, LABELS + 5), {}, "`target` must hold class indices in \\[0, 5\\), got values from 5"),
    Bad((LOGITS, LABELS - 1), {}, "`target` must hold class indices in \\[0, 5\\), got values from -1"),
    Bad((LOGITS, LABELS - 100), {"ignore_index": -1}, "`target` must hold class indices"),
    Bad((PROBABILITIES, LABELS), {}, "`pred` must hold logits, got probabilities"),
    Bad((PROBABILITIES.T, LABELS), {"axis": 0}, "`pred` must hold logits, got probabilities"),
)
BOX_REPORTS = (
    Bad((BOXES[:, [2, 1, 0, 3]], BOXES), {}, "`pred` must hold boxes"),
    Bad((BOXES, BOXES[:, [0, 3, 2, 1]]), {}, "`target` must hold boxes"),
)
BOX_EXTREMES = (
    Extreme((np.zeros((1, 4)), np.zeros((1, 4))), {}, [1.0]),
    Extreme((np.zeros((1, 4)), np.zeros((1, 4))), {"eps": 0.0}, [1.0]),
)
BINARY_EXTREMES = (
    Extreme(([1e4, -1e4, 1e4, -1e4], [1.0, 0.0, 0.0, 1.0]), {"gamma": 2.0, "alpha": 1.0}, [0, 0, 1e4, 1e4]),
    Extreme(([INF, -INF], [1.0, 0.0]), {"gamma": 2.0, "alpha": 1.0}, [0, 0]),
    Extreme(([1e4, -1e4, 60.0, -60.0], [1.0, 0.0, 1.0, 0.0]), {"gamma": 0.5, "alpha": 1.0}, [0, 0, 0, 0]),
    Extreme(([1e4, -1e4], [1.0, 0.0]), {"gamma": 0.0, "alpha": 1.0}, [0, 0]),
)
CLASS_EXTREMES = (
    Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {}, [0, 1e4, 2e4]),
    Extreme(([[0.0, -INF, -INF], [0.0, 0.0, -INF]], [0, 1]), {}, [0, math.log(2)]),
    Extreme(([[3.0]], [0]), {}, [0]),
    Extreme(([[40.0, 0.0]], [0]), {}, [math.log1p(math.exp(-40))]),
)
BOX_VARIANTS = ({}, {"eps": 1e-2})

TABLE = (
    Row(
        jaxloss.mse_loss,
        draw_errors,
        per_example(lambda pred, target: (pred - target) ** 2),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.mse_loss(*tensors, **options),
        extremes=(Extreme(([1e18, 0.0], [0.0, 0.0]), {}, [1e36, 0.0]),),
    ),
    Row(
        jaxloss.l1_loss,
        draw_errors,
        per_example(lambda pred, target: np.abs(pred - target)),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.l1_loss(*tensors, **options),
        extremes=(Extreme(([1e38, 0.0, -INF], [0.0, 0.0, 0.0]), {}, [1e38, 0.0, INF]),),
    ),
    Row(
        jaxloss.smooth_l1_loss,
        draw_errors,
        per_example(smooth_l1_oracle),
        variants=({}, {"beta": 0.3}, {"beta": 0.0}),
        traced=("beta",),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.smooth_l1_loss(*tensors, **options),
        refuses=(option("beta", -1.0), option("beta", NAN)),
        extremes=(
            Extreme(([1e38, 0.0, -INF], [0.0, 0.0, 0.0]), {}, [1e38, 0.0, INF]),
            Extreme(([0.0, 2.0], [0.0, 0.0]), {"beta": 0.0}, [0.0, 2.0]),
            Extreme(([0.0, 2.0], [0.0, 0.0]), {"beta": 1e-39}, [0.0, 2.0]),
        ),
    ),
    Row(
        jaxloss.huber_loss,
        draw_errors,
        per_example(huber_oracle),
        variants=({}, {"delta": 0.3}),
        traced=("delta",),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.huber_loss(*tensors, **options),
        refuses=(option("delta", -1.0), option("delta", 0), option("delta", np.float32(-1))),
        extremes=(Extreme(([1e37, 0.0, -INF], [0.0, 0.0, 0.0]), {"delta": 2.0}, [2e37, 0.0, INF]),),
    ),
    Row(
        jaxloss.cross_entropy,
        draw_class_logits,
        per_example(cross_entropy_oracle),
        variants=(
            {},
            {"axis": 1, "weight": [0.5, 2.0, 0.0, 1.5]},
            {"ignore_index": -100, "label_smoothing": 0.1},
            {"axis": 0, "weight": [0.5, 2.0, 0.0, 1.5], "ignore_index": 1, "label_smoothing": 0.2},
        ),
        traced=("label_smoothing", "weight"),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        torch=torch_classes,
        refuses=(
            Bad((LOGITS, LABELS.astype(np.float32)), {}, "`target` must hold integer .* soft_target_cross_entropy"),
            Bad((LOGITS, LOGITS), {}, "`target` must hold integer .* got float32 .* soft_target_cross_entropy"),
            Bad(
                (LOGITS, LOGITS.astype(np.int32)), {}, "`target` must hold integer .* \\(3,\\), got int32 .*\\(3, 5\\)"
            ),
            Bad((LOGITS, LABELS), {"weight": np.ones(4, np.float32)}, "`weight` must have one number a class"),
            Bad((LOGITS, LABELS), {"weight": np.ones(5, bool)}, "`weight`"),
            Bad((LOGITS, LABELS), {"ignore_index": 1.5}, "`ignore_index`"),
            option("label_smoothing", 1.5, (LOGITS, LABELS)),
            option("axis", 2, (LOGITS, LABELS)),
            Bad((np.float32(1), np.int32(0)), {}, "`pred` must have an axis of at least one class"),
            Bad((LOGITS[:, :0], LABELS), {}, "`pred` must have an axis of at least one class"),
        ),
        reports=CLASS_REPORTS,
        extremes=(
            *CLASS_EXTREMES,
            Extreme(([[0.0, -1e4]], [0]), {"label_smoothing": 0.5}, [0.25 * 1e4]),
            Extreme(
                ([[0.0, 0.0, -INF]], [0]), {"label_smoothing": 0.3, "weight": [1.0, 1.0, 0.0]}, [0.9 * math.log(2)]
            ),
        ),
    ),
    Row(
        jaxloss.nll_loss,
        draw_class_log_probabilities,
        per_example(nll_oracle),
        variants=(
            {},
            {"axis": 1, "weight": [0.5, 2.0, 0.0, 1.5]},
            {"ignore_index": -100},
            {"axis": 0, "weight": [0.5, 2.0, 0.0, 1.5], "ignore_index": 1},
        ),
        traced=("weight",),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        torch=torch_nll,
        refuses=(
            Bad((LOGITS, LABELS.astype(np.float32)), {}, "`target` must hold integer .* target.argmax"),
            Bad(
                (LOGITS, LOGITS.astype(np.int32)),
                {},
                "`target` must hold integer .* \\(3,\\), got int32 .* target.argmax",
            ),
            Bad((LOGITS, LABELS), {"weight": np.ones(4, np.float32)}, "`weight` must have one number a class"),
            Bad((LOGITS, LABELS), {"ignore_index": 1.5}, "`ignore_index`"),
            option("axis", 2, (LOGITS, LABELS)),
            Bad((LOGITS[:, :0], LABELS), {}, "`pred` must have an axis of at least one class"),
        ),
        reports=(
            *CLASS_REPORTS[:3],
            Bad((PROBABILITIES, LABELS), {}, "`pred` must hold log-probabilities, at most 0, .*cross_entropy"),
            Bad((LOGITS + 1, LABELS), {}, "`pred` must hold log-probabilities"),
        ),
        extremes=(
            Extreme(([[0.0, -INF, -INF], [-1e4, 0.0, -INF]], [0, 0]), {}, [0, 1e4]),
            Extreme(([[0.0, -INF]], [1]), {}, [INF]),
            Extreme(([[0.0, -INF], [-1.0, -1.0]], [1, 0]), {"weight": [1.0, 0.0]}, [0, 1]),
        ),
    ),
    Row(
        jaxloss.binary_cross_entropy,
        draw_probabilities,
        per_example(bce_of_probabilities_oracle),
        variants=({}, {"weight": 0.5}, {"weight": [[0.5], [2.0], [3.0]]}),
        traced=("weight",),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.binary_cross_entropy(*tensors, **options),
        refuses=(
            option("weight", -1.0),
            Bad((FLOATS, FLOATS), {"weight": np.ones(3, np.float32)}, "`weight` must broadcast to \\(3, 4\\)"),
        ),
        reports=(
            Bad((FLOATS + 1, FLOATS), {}, "`pred` must hold values in \\[0, 1\\], .* binary_cross_entropy_with_logits"),
            Bad((-FLOATS, FLOATS), {}, "`pred` must hold values in"),
            *BINARY_REPORTS[:3],
        ),
        extremes=(
            Extreme(([0.0, 1.0, 0.0, 1.0, 0.5], [0.0, 1.0, 1.0, 0.0, 1.0]), {}, [0, 0, 100, 100, math.log(2)]),
            Extreme(([1e-30, 1e-8, 1 - 2.0**-24], [1.0, 0.0, 1.0]), {}, [30 * math.log(10), 1e-8, 2.0**-24]),
        ),
    ),
    Row(
        jaxloss.soft_target_cross_entropy,
        draw_soft_targets,
        per_example(soft_target_oracle),
        variants=(
            {},
            {"axis": 1, "weight": [0.5, 2.0, 0.0, 1.5]},
            {"axis": 0, "label_smoothing": 0.2},
        ),
        traced=("label_smoothing", "weight"),
        differentiable=(0, 1),
        torch=torch_soft_targets,
        refuses=(
            Bad((LOGITS, LABELS), {}, "`target` must be floating, of shape \\(3, 5\\).* use cross_entropy"),
            Bad((LOGITS, LOGITS.astype(np.int32)), {}, "`target` must be floating"),
            Bad((LOGITS, LOGITS), {"weight": np.ones(4, np.float32)}, "`weight` must have one number a class"),
            option("label_smoothing", -0.1, (LOGITS, PROBABILITIES)),
            option("axis", -3, (LOGITS, PROBABILITIES)),
        ),
        reports=(
            Bad((LOGITS, 2 * PROBABILITIES), {}, "`target` must hold distributions"),
            Bad((LOGITS, LOGITS - 1), {}, "`target` must hold values in \\[0, 1\\]"),
            Bad((PROBABILITIES, PROBABILITIES), {}, "`pred` must hold logits, got probabilities"),
        ),
        extremes=(
            Extreme(([[0.0, 0.0, -INF]], [[0.5, 0.5, 0.0]]), {}, [math.log(2)]),
            Extreme(([[1e4, 0.0]], [[1.0, 0.0]]), {}, [0.0]),
            Extreme(([[1e4, 0.0]], [[0.0, 1.0]]), {}, [1e4]),
            Extreme(([[0.0, -INF]], [[0.0, 1.0]]), {}, [INF]),
        ),
    ),
    Row(
        jaxloss.binary_cross_entropy_with_logits,
        draw_binary_logits,
        per_example(bce_oracle),
        variants=({}, {"pos_weight": 3.0}, {"weight": 0.5, "pos_weight": [[0.5], [2.0], [3.0]]}),
        traced=("weight", "pos_weight"),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.binary_cross_entropy_with_logits(*tensors, **options),
        refuses=(
            option("pos_weight", -1.0),
            option("weight", -1.0),
            Bad((FLOATS, FLOATS), {"pos_weight": np.ones(3, np.float32)}, "`pos_weight` must broadcast to \\(3, 4\\)"),
            Bad((FLOATS, FLOATS), {"weight": np.ones((2, 3, 4), np.float32)}, "`weight` must broadcast"),
        ),
        reports=(*BINARY_REPORTS, Bad((FLOATS, FLOATS), {"pos_weight": -FLOATS}, "`pos_weight` must be at least 0")),
        extremes=(
            Extreme(([1e4, -1e4, 1e4, -1e4], [1.0, 0.0, 0.0, 1.0]), {}, [0, 0, 1e4, 1e4]),
            Extreme(([INF, -INF, INF], [1.0, 0.0, 0.0]), {}, [0, 0, INF]),
            Extreme(([50.0, -50.0], [1.0, 0.0]), {}, [math.exp(-50)] * 2),
        ),
    ),
    Row(
        jaxloss.focal_loss,
        draw_binary_logits,
        per_example(focal_oracle),
        variants=({}, {"alpha": 0.7, "gamma": 1.5}, {"gamma": 0.0}),
        traced=("alpha", "gamma"),
        refuses=(option("gamma", -1.0), option("alpha", -1.0)),
        reports=BINARY_REPORTS,
        extremes=BINARY_EXTREMES,
    ),
    Row(
        jaxloss.sigmoid_focal_loss,
        draw_binary_logits,
        per_example(sigmoid_focal_oracle),
        variants=({}, {"alpha": 0.7, "gamma": 1.5}, {"alpha": None, "gamma": 0.0}),
        traced=("alpha", "gamma"),
        refuses=(option("gamma", -1.0), option("alpha", -1.0), option("alpha", 1.1)),
        reports=BINARY_REPORTS,
        extremes=tuple(Extreme(e.args, e.options | {"alpha": None}, e.expected) for e in BINARY_EXTREMES),
    ),
    Row(
        jaxloss.softmax_focal_loss,
        draw_class_logits,
        per_example(softmax_focal_oracle),
        variants=(
            {},
            {"axis": 1, "alpha": 0.5, "gamma": 1.5},
            {"axis": 0, "alpha": [0.5, 2.0, 0.0, 1.5, 1.0], "ignore_index": 2, "gamma": 0.0},
        ),
        traced=("alpha", "gamma"),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=(
            Bad((LOGITS, LOGITS), {}, "`target` must hold integer .*target.argmax"),
            Bad((LOGITS, LABELS), {"alpha": np.ones(4, np.float32)}, "`alpha` must broadcast"),
            option("gamma", -1.0, (LOGITS, LABELS)),
            option("alpha", -1.0, (LOGITS, LABELS)),
            option("axis", 2, (LOGITS, LABELS)),
        ),
        reports=CLASS_REPORTS,
        extremes=(
            *(Extreme(extreme.args, {"gamma": 0.0}, extreme.expected) for extreme in CLASS_EXTREMES[:3]),
            Extreme(([[1e4, 0.0], [60.0, 0.0]], [0, 0]), {"gamma": 0.5}, [0, 0]),
            Extreme(([[1e4, 0.0]], [0]), {"gamma": 0.0}, [0]),
        ),
    ),
    Row(
        jaxloss.dice_loss,
        draw_masks,
        dice_oracle,
        variants=(
            {},
            {"axis": -1, "smooth": 1.0},
            {"axis": [0, -1], "from_logits": False, "smooth": 0.0},
        ),
        traced=("smooth",),
        differentiable=(0, 1),
        refuses=(option("smooth", -1.0), option("axis", 2), option("axis", (0, 0))),
        reports=(
            *BINARY_REPORTS,
            Bad(
                (FLOATS + 1, FLOATS), {"from_logits": False}, "`pred` must hold values in \\[0, 1\\].*from_logits=True"
            ),
        ),
        extremes=(
            Extreme(([1e4, -1e4], [1.0, 0.0]), {}, 0.0),
            Extreme(([1e4, -1e4], [0.0, 1.0]), {}, 1.0 - 1e-5 / (2 + 1e-5)),
            Extreme(([INF, -INF], [1.0, 0.0]), {}, 0.0),
            Extreme(([0.0, 0.0], [0.0, 0.0]), {"from_logits": False, "smooth": 0.0}, 0.0),
        ),
    ),
    *(
        Row(
            loss,
            draw_boxes,
            per_example(oracle),
            variants=BOX_VARIANTS,
            traced=("eps",),
            constant_factor=loss is jaxloss.complete_box_iou_loss,
            differentiable=(0, 1),
            refuses=(
                option("eps", -1.0, (BOXES, BOXES)),
                Bad((FLOATS[:, :3], FLOATS[:, :3]), {}, "`pred` must have x1, y1, x2, y2 on its last axis"),
                Bad((np.float32(1), np.float32(1)), {}, "`pred` must have x1, y1, x2, y2 on its last axis"),
            ),
            reports=BOX_REPORTS,
            extremes=(*BOX_EXTREMES, *extremes),
        )
        for loss, oracle, extremes in (
            (jaxloss.box_iou_loss, iou_oracle, (Extreme(([[0.0, 0, 1, 1]], [[5.0, 5, 6, 6]]), {}, [1.0]),)),
            (
                jaxloss.generalized_box_iou_loss,
                giou_oracle,
                (Extreme(([[0.0, 0, 1, 1]], [[5.0, 5, 6, 6]]), {"eps": 0.0}, [1 + 34 / 36]),),
            ),
            (
                jaxloss.distance_box_iou_loss,
                diou_oracle,
                (Extreme(([[0.0, 0, 1, 1]], [[5.0, 5, 6, 6]]), {"eps": 0.0}, [1 + 50 / 72]),),
            ),
            (
                jaxloss.complete_box_iou_loss,
                ciou_oracle,
                (
                    Extreme(([[0.0, 0, 2, 0]], [[0.0, 0, 2, 2]]), {"eps": 0.0}, [1 + 1 / 8 + 0.25**2 / 1.25]),
                    Extreme(([[0.0, 0, 0, 2]], [[0.0, 0, 2, 2]]), {"eps": 0.0}, [1 + 1 / 8 + 0.25**2 / 1.25]),
                ),
            ),
        )
    ),
    Row(
        jaxloss.kl_div,
        draw_log_probabilities,
        per_example(kl_oracle),
        variants=({}, {"log_target": True}),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.kl_div(*tensors, **options),
        default_reduction="batchmean",
        reports=(
            Bad((PROBABILITIES, PROBABILITIES), {}, "`pred` must hold log-probabilities.*log_softmax"),
            Bad((np.full((2, 4000), 1 / 4000, np.float32),) * 2, {}, "`pred` must hold log-probabilities"),
            Bad((np.log(PROBABILITIES), np.log(PROBABILITIES)), {}, "`target` must hold values in.*log_target=True"),
            Bad((np.log(PROBABILITIES), PROBABILITIES), {"log_target": True}, "`target` must hold log-probabilities"),
            Bad((LOGITS - 9, PROBABILITIES), {}, "`pred` must hold distributions"),
            Bad((np.log(PROBABILITIES), 2 * PROBABILITIES), {}, "`target` must hold distributions"),
        ),
        extremes=(
            Extreme(([-INF, -1.0], [0.0, 0.0]), {}, [0.0, 0.0]),
            Extreme(([-INF, 0.0], [1.0, 1.0]), {}, [INF, 0.0]),
            Extreme(([-INF, -1e4], [-INF, 0.0]), {"log_target": True}, [0.0, 1e4]),
        ),
    ),
    Row(
        jaxloss.triplet_margin_loss,
        draw_triplets,
        per_example(triplet_oracle),
        variants=(
            {},
            {"margin": 0.5, "p": 1.0, "swap": True},
            {"p": 3.5, "eps": 1e-2},
            {"p": INF},
            {"p": 0.5, "margin": 20.0},
        ),
        traced=("margin", "p", "eps"),
        differentiable=(0, 1, 2),
        garbage=((NAN, INF, -INF, 1e30),) * 3,
        torch=lambda nn, *tensors, **options: nn.triplet_margin_loss(*tensors, **options),
        refuses=(
            option("margin", 0.0, (FLOATS,) * 3),
            option("p", 0.0, (FLOATS,) * 3),
            option("eps", -1.0, (FLOATS,) * 3),
            Bad((np.float32(1),) * 3, {}, "`anchor` must have the features on its last axis"),
        ),
        extremes=(
            *(Extreme(([[1.0, 2.0]],) * 3, {"p": p, "eps": 0.0}, [1.0]) for p in (0.5, 1.0, 2.0, 3.0, INF)),
            Extreme(([[1e30, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]), {}, [1.0]),
            Extreme(([[0.0, 0.0]], [[1e30, 0.0]], [[0.0, 0.0]]), {}, [1e30]),
            Extreme(([[0.0, 0.0]], [[1e-30, 0.0]], [[0.0, 0.0]]), {"eps": 0.0}, [1.0]),
        ),
    ),
)
