"""The table: one row a loss. `test_every_loss.py` derives from it all that must hold for every loss.

The oracles are written in NumPy, from the formulas alone, and share no code with the package. They compute in the dtype
that they are given: the tests give them extended precision, and differentiate them by central differences.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import jaxloss
from tests.domains import HARD, LARGEST, SIGNS, Domain, apart, integers, numbers, one_of, scaled, together

Arrays = tuple[np.ndarray, ...]
INF, NAN = np.inf, np.nan


@dataclass(frozen=True)
class Bad:
    """A call that must be refused: arguments, options, and what the message must say besides the function's name.

    A bad value that nobody checks makes the loss NaN, unless that would cost a pass over memory, or unless any number
    is a valid one: then it is `plausible`, and the README says so.
    """

    args: tuple[Any, ...]
    options: dict[str, Any]
    message: str
    error: type[Exception] = AssertionError
    plausible: bool = False


@dataclass(frozen=True)
class Extreme:
    """Arguments at the edge of the domain, and the unreduced loss that mathematics gives there."""

    args: tuple[Any, ...]
    options: dict[str, Any]
    expected: Any


@dataclass(frozen=True)
class Stress:
    """Over the whole exponent range of float32: how to draw one example, and how far off the loss may be.

    The unit is one of the last place of the exact "result". Where differences of "inputs" cancel, what a change of
    them by one ulp makes of the result is a unit too. Where many add up to one loss, an ulp of the largest slope of the
    "row" is one for the others. And where distances are taken, the "norm" counts: the ulp is that of the largest input.
    """

    domain: Domain
    # Bounds of the error of the value and of the gradient.
    ulps: tuple[float, float]
    variants: tuple[dict[str, Any], ...] = ({},)
    unit: str = "result"
    # Whether the oracle takes `constant_at`, because a gradient flows through a clamp as if it were not there.
    clamped: bool = False
    # How many are drawn at once: fewer where an oracle takes long.
    examples: int = 16


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
    # Positions of arrays without batch axes, which no mask hides and no mesh shards.
    shared: tuple[int, ...] = ()
    # Whether "mean" does more than to average the unreduced losses by their weights.
    own_mean: Callable[[dict[str, Any]], bool] = lambda options: False
    # Whether the oracle takes `constant_at`: the arrays at which some factor stands still in the gradient.
    constant_factor: bool = False
    refuses: tuple[Bad, ...] = ()
    reports: tuple[Bad, ...] = ()
    extremes: tuple[Extreme, ...] = field(default=())
    stress: Stress = field(kw_only=True)

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


def log_cosh_oracle(pred, target):
    error = np.abs(pred - target)
    return np.log(np.cosh(error))


def draw_quantiles(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """An array of quantiles has as many as the last axis of the batch."""
    pred, target = draw_errors(rng, batch, options)
    return pred, target[..., 0] if np.ndim(options.get("quantile", 0)) else target


def quantile_oracle(pred, target, quantile=0.5):
    quantile = np.asarray(quantile)
    error = (target[..., None] if quantile.ndim else target) - pred
    return np.maximum(quantile * error, (quantile - 1) * error)


def draw_gaussians(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """A variance for each element; the variants have one for each row, with and without the last axis."""
    var = 0.7 + rng.random(size=batch)
    if batch and options.get("full"):
        var = var[..., :1]
    elif batch and "eps" in options:
        var = var[..., 0]
    return *draw_errors(rng, batch, options), var


def gaussian_oracle(pred, target, var, full=False, eps=1e-6, constant_at=None):
    """`constant_at`: where a variance is clamped, while its slope is that of one that is not."""
    if constant_at is not None:
        at_var = constant_at[2]
        var, eps = np.maximum(at_var, eps) + (var - at_var), 0
    var = np.maximum(var[..., None] if var.ndim < pred.ndim else var, eps) + 0 * pred
    return 0.5 * (np.log(var) + (pred - target) ** 2 / var) + (0.5 * math.log(2 * math.pi) if full else 0)


def draw_counts(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    pred = rng.normal(size=batch) if options.get("log_input", True) else 0.1 + rng.random(size=batch)
    return pred, rng.poisson(2.0, size=batch) + 0.1 + 0.5 * rng.random(size=batch)


def poisson_oracle(pred, target, log_input=True, full=False, eps=1e-8):
    values = np.exp(pred) - target * pred if log_input else pred - target * np.log(pred + eps)
    stirling = target * np.log(target) - target + 0.5 * np.log(2 * np.pi * target)
    return values + np.where(target > 1, stirling, 0) if full else values


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
    log_p, log_q = (
        np.maximum(np.log(np.maximum(pred, 1e-60 + 0 * pred)), -100),
        np.maximum(np.log(np.maximum(1 - pred, 1e-60 + 0 * pred)), -100),
    )
    return -(target * log_p + (1 - target) * log_q) * np.asarray(weight)


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
        width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
        return np.where(
            height == 0, np.where(width == 0, 0, math.pi / 2), np.arctan(width / np.where(height == 0, 1, height))
        )

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
    return (
        np.exp(target) * (target - pred)
        if log_target
        else target * (np.log(np.where(target == 0, 1 + 0 * target, target)) - pred)
    )


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


def manhattan(x, y):
    """A distance that NumPy, PyTorch and JAX can all compute."""
    return abs(x - y).sum(-1)


def squared_distance(x, y):
    return ((x - y) ** 2).sum(-1)


def triplet_with_distance_oracle(anchor, positive, negative, distance_function=None, margin=1.0, swap=False):
    distance = distance_function or (lambda x, y: np.sqrt(squared_distance(x, y - 1e-6)))
    far = distance(anchor, negative)
    if swap:
        far = np.minimum(far, distance(positive, negative))
    return np.maximum(distance(anchor, positive) - far + margin, 0)


def draw_pairs(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return *rng.normal(size=(2, *batch, 4)), 2.0 * rng.integers(0, 2, size=batch) - 1


def cosine_oracle(input1, input2, target, margin=0.0):
    squares = ((input1**2).sum(-1) + 1e-12) * ((input2**2).sum(-1) + 1e-12)
    cosine = (input1 * input2).sum(-1) / np.sqrt(squares)
    return np.where(target == 1, 1 - cosine, np.where(target == -1, np.maximum(cosine - margin, 0), NAN))


# Sequences

FRAMES, SYMBOLS, LABELS_LONG = 4, 4, 2
ALIGNMENTS = np.array(list(itertools.product(range(SYMBOLS), repeat=FRAMES)))


def draw_sequences(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    labels = [symbol for symbol in range(SYMBOLS) if symbol != options.get("blank", 0)]
    return 2 * rng.normal(size=(*batch, FRAMES, SYMBOLS)), rng.choice(labels, size=(*batch, LABELS_LONG))


def ctc_oracle(pred, target, blank=0, zero_infinity=False):
    """Over every alignment there is: what it collapses to, and its probability."""
    collapsed = [[symbol for symbol, _ in itertools.groupby(alignment) if symbol != blank] for alignment in ALIGNMENTS]
    collapsed = np.array([labels if len(labels) == LABELS_LONG else [-1] * LABELS_LONG for labels in collapsed])
    log_p = log_softmax(pred)[..., np.arange(FRAMES), ALIGNMENTS].sum(-1)
    matches = (collapsed == target[..., None, :]).all(-1)
    values = -np.log(np.where(matches, np.exp(np.where(matches, log_p, 0 * log_p)), 0).sum(-1))
    return values, np.full(values.shape, LABELS_LONG)


# Language models


def draw_features(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    logits, target = draw_class_logits(rng, batch, options)
    return rng.normal(size=(*batch, 6)), rng.normal(size=(6, logits.shape[-1])), target


def linear_cross_entropy_oracle(
    pred, kernel, target, bias=None, ignore_index=None, z_loss=0.0, logit_softcap=None, chunk_size=None, **options
):
    logits = (pred[..., None] * kernel).sum(-2) + np.asarray(0.0 if bias is None else bias)
    if logit_softcap is not None:
        logits = logit_softcap * np.tanh(logits / logit_softcap)
    values, weights = cross_entropy_oracle(logits, target, ignore_index=ignore_index, **options)
    log_total = logits[..., 0] - log_softmax(logits)[..., 0]
    return values + z_loss * np.where(target == ignore_index, 0, log_total) ** 2, weights


# Margin


def draw_signs(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return 2 * rng.normal(size=batch), rng.choice([-1.0, 1.0], size=batch)


def draw_ranked(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return rng.normal(size=batch), *draw_signs(rng, batch, options)


def draw_label_lists(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """Some labels, in no order; then -1, and after it what is no longer read. A label may stand twice."""
    classes = 5
    shuffled = rng.permuted(np.broadcast_to(np.arange(classes), (*batch, classes)), axis=-1)
    shuffled[..., 1] = np.where(rng.random(size=batch) < 0.2, shuffled[..., 0], shuffled[..., 1])
    end = rng.integers(0, classes + 1, size=(*batch, 1))
    return rng.normal(size=(*batch, classes)), np.where(np.arange(classes) == end, -1, shuffled)


def draw_many_labels(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return draw_binary_logits(rng, (*batch, 5), options)


def hinge_embedding_oracle(pred, target, margin=1.0):
    return np.where(target == 1, pred, np.where(target == -1, np.maximum(margin - pred, 0), NAN))


def multi_margin_oracle(pred, target, axis=-1, weight=None, margin=1.0, p=1):
    pred = np.moveaxis(pred, axis, -1)
    own = np.take_along_axis(pred, target[..., None], -1)
    hinges = np.maximum(margin - own + pred, 0) ** p * (np.arange(pred.shape[-1]) != target[..., None])
    return hinges.mean(-1) * (1.0 if weight is None else np.asarray(weight)[target])


def multilabel_margin_oracle(pred, target):
    values = np.zeros(pred.shape[:-1], pred.dtype)
    for example in np.ndindex(values.shape):
        row, labels = pred[example], target[example].tolist()
        labels = labels[: labels.index(-1)] if -1 in labels else labels
        others = [j for j in range(len(row)) if j not in labels]
        values[example] = sum(max(1 - row[k] + row[j], 0) for k in labels for j in others) / len(row)
    return values


# What torch.nn.functional calls the same thing


def torch_classes(nn, pred, target, *, axis=-1, **options):
    return nn.cross_entropy(pred.movedim(axis, min(1, pred.ndim - 1)), target, **options)


def torch_ctc(nn, pred, target, **options):
    time, classes = pred.shape[-2:]
    batch = pred.reshape(-1, time, classes).shape[0]
    log_p = pred.log_softmax(-1).reshape(batch, time, classes).movedim(1, 0)
    lengths = [[time] * batch, [target.shape[-1]] * batch]
    values = nn.ctc_loss(log_p, target.reshape(batch, -1), *lengths, **options)
    return values.reshape(pred.shape[:-2]) if options["reduction"] == "none" else values


def torch_linear(
    nn, pred, kernel, target, *, bias=None, z_loss=0.0, logit_softcap=None, chunk_size=None, reduction="mean", **options
):
    logits = pred @ kernel if bias is None else pred @ kernel + bias
    if logit_softcap is not None:
        logits = logit_softcap * (logits / logit_softcap).tanh()
    keep = target != options.get("ignore_index", -100)
    values = torch_classes(nn, logits, target, reduction="none", **options)
    values = values + z_loss * (keep * logits.logsumexp(-1) ** 2)
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    return values.sum() / (keep * options["weight"][target] if "weight" in options else keep).sum()


def torch_nll(nn, pred, target, *, axis=-1, **options):
    return nn.nll_loss(pred.movedim(axis, min(1, pred.ndim - 1)), target, **options)


def torch_soft_targets(nn, pred, target, *, axis=-1, **options):
    channels = min(1, pred.ndim - 1)
    return nn.cross_entropy(pred.movedim(axis, channels), target.movedim(axis, channels), **options)


def torch_multi_margin(nn, pred, target, *, axis=-1, reduction, **options):
    """PyTorch takes no more than one axis of examples."""
    rows = pred.movedim(axis, -1).flatten(0, -2)
    values = nn.multi_margin_loss(rows, target.flatten(), reduction=reduction, **options)
    return values.reshape(target.shape) if reduction == "none" else values


def torch_multilabel_margin(nn, pred, target, *, reduction):
    values = nn.multilabel_margin_loss(pred.flatten(0, -2), target.flatten(0, -2), reduction=reduction)
    return values.reshape(pred.shape[:-1]) if reduction == "none" else values


def torch_cosine(nn, input1, input2, target, *, reduction, **options):
    """PyTorch takes one axis of pairs."""
    rows = input1.flatten(0, -2), input2.flatten(0, -2), target.flatten()
    values = nn.cosine_embedding_loss(*rows, reduction=reduction, **options)
    return values.reshape(target.shape) if reduction == "none" else values


# The table

# Where a loss adds and subtracts a few numbers before it is done, none of these overflows on the way.
SUMMABLE = LARGEST / 32
PAIRS = together(numbers((2,)))
SIGNED = apart(numbers(infinite=True), SIGNS)
BINARY = one_of(apart(numbers(), numbers((), 0, 1)), apart(numbers(infinite=True), HARD))
SCORED = apart(numbers((4,), -SUMMABLE, SUMMABLE), integers(0, 3))
TRIPLETS = together(scaled((3, 3), (-100, 110)))


def draw_any_boxes(options: dict[str, Any]) -> Any:
    """Two boxes, of which the corners are sorted; beyond these sizes areas overflow and underflow."""
    corners = scaled((2, 2, 2), (-40, 50))
    return corners.map(lambda corners: tuple(np.sort(corners, axis=1).reshape(2, 4)))


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
    Bad((SPREAD, np.ones(40, np.float32)), {}, "`pred` must hold logits", plausible=True),
)
CLASS_REPORTS = (
    Bad((LOGITS, LABELS + 5), {}, "`target` must hold class indices in \\[0, 5\\), got values from 5"),
    Bad((LOGITS, LABELS - 1), {}, "`target` must hold class indices in \\[0, 5\\), got values from -1"),
    Bad((LOGITS, LABELS - 100), {"ignore_index": -1}, "`target` must hold class indices"),
    Bad((PROBABILITIES, LABELS), {}, "`pred` must hold logits, got probabilities", plausible=True),
    Bad((PROBABILITIES.T, LABELS), {"axis": 0}, "`pred` must hold logits, got probabilities", plausible=True),
)
BOX_REPORTS = (
    Bad((BOXES[:, [2, 1, 0, 3]], BOXES), {}, "`pred` must hold boxes", plausible=True),
    Bad((BOXES, BOXES[:, [0, 3, 2, 1]]), {}, "`target` must hold boxes", plausible=True),
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
SIGN_REPORTS = tuple(
    Bad((FLOATS, wrong), {}, f"`target` must hold -1 or 1, got values from {got}.*2 \\* target - 1")
    for wrong, got in (
        (0 * FLOATS, "0"),
        (np.eye(3, 4, dtype=np.float32), "0"),
        (2 * FLOATS, "2"),
        (NAN * FLOATS, "nan"),
    )
)
SIGN_REFUSES = (
    Bad((FLOATS, FLOATS.astype(np.int32)), {}, "`target` must be floating.*target.astype\\(jnp.float32\\)"),
    Bad((FLOATS, FLOATS.astype(bool)), {}, "`target` must be floating.*2.0 \\* target - 1"),
)
HINGE_EXTREMES = (
    Extreme(([1e4, -1e4, 1e4, -1e4, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0, 1.0, -1.0]), {}, [0, 0, 10001, 10001, 0, 0]),
    Extreme(([INF, -INF], [1.0, -1.0]), {}, [0, 0]),
)
BOX_VARIANTS = ({}, {"eps": 1e-2})

TABLE = (
    Row(
        jaxloss.mse_loss,
        draw_errors,
        per_example(lambda pred, target: (pred - target) ** 2),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.mse_loss(*tensors, **options),
        stress=Stress(PAIRS, (4, 4)),
        extremes=(Extreme(([1e18, 0.0], [0.0, 0.0]), {}, [1e36, 0.0]),),
    ),
    Row(
        jaxloss.l1_loss,
        draw_errors,
        per_example(lambda pred, target: np.abs(pred - target)),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.l1_loss(*tensors, **options),
        stress=Stress(PAIRS, (4, 4)),
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
        stress=Stress(PAIRS, (4, 4), ({}, {"beta": 0.3}, {"beta": 0.0}, {"beta": 1e-30}, {"beta": 1e30})),
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
        stress=Stress(PAIRS, (4, 4), ({}, {"delta": 0.3}, {"delta": 1e-30}, {"delta": 1e30})),
        extremes=(Extreme(([1e37, 0.0, -INF], [0.0, 0.0, 0.0]), {"delta": 2.0}, [2e37, 0.0, INF]),),
    ),
    Row(
        jaxloss.log_cosh_loss,
        draw_errors,
        per_example(log_cosh_oracle),
        differentiable=(0, 1),
        stress=Stress(PAIRS, (4, 4)),
        extremes=(
            Extreme(([1e38, 0.0, -INF, 1e4], [0.0, 0.0, 0.0, 0.0]), {}, [1e38, 0.0, INF, 1e4 - math.log(2)]),
            *(Extreme(([d], [0.0]), {}, [d**2 / 2 - d**4 / 12]) for d in (1e-1, 1e-2, 1e-4, 1e-8, 1e-15)),
        ),
    ),
    Row(
        jaxloss.quantile_loss,
        draw_quantiles,
        per_example(quantile_oracle),
        variants=({}, {"quantile": 0.9}, {"quantile": [0.05, 0.5, 0.9, 0.99]}),
        traced=("quantile",),
        differentiable=(0, 1),
        refuses=(
            option("quantile", 1.5),
            option("quantile", -0.1),
            option("quantile", NAN),
            Bad((FLOATS, FLOATS), {"quantile": FLOATS[0]}, "`target` must .* of shape \\(3,\\).* lacks the last axis"),
            Bad((FLOATS, FLOATS[:, 0]), {"quantile": FLOATS[0, :3]}, "`quantile` must have one number for each entry"),
            Bad((FLOATS, FLOATS[:, 0]), {"quantile": FLOATS}, "`quantile` must have one number for each entry"),
            Bad((FLOATS, FLOATS[:, 0]), {"quantile": FLOATS[0] > 0}, "`quantile` must hold numbers"),
        ),
        reports=(
            Bad((FLOATS, FLOATS[:, 0]), {"quantile": 2 * FLOATS[0]}, "`quantile` must hold values in \\[0, 1\\]"),
        ),
        stress=Stress(PAIRS, (4, 4), ({}, {"quantile": 0.9}, {"quantile": 1.0})),
        extremes=(
            Extreme(([1e38, -1e38, 0.0], [0.0, 0.0, 0.0]), {"quantile": 0.25}, [0.75e38, 0.25e38, 0.0]),
            Extreme(([INF, -INF], [0.0, 0.0]), {"quantile": 1.0}, [0.0, INF]),
            Extreme(([[0.0, 0.0, 2.0]], [2.0]), {"quantile": [0.0, 1.0, 0.5]}, [[0.0, 2.0, 0.0]]),
        ),
    ),
    Row(
        jaxloss.gaussian_nll_loss,
        draw_gaussians,
        per_example(gaussian_oracle),
        variants=({}, {"full": True}, {"eps": 0.5}),
        traced=("eps",),
        differentiable=(0, 1, 2),
        garbage=((NAN, INF, -INF, 1e30), (NAN, INF, -INF, 1e30), (NAN, INF, -INF, 0.0, -1.0)),
        torch=lambda nn, *tensors, **options: nn.gaussian_nll_loss(*tensors, **options),
        refuses=(
            option("eps", -1.0, (FLOATS,) * 3),
            Bad((FLOATS, FLOATS, FLOATS[0]), {}, "`var` must be floating, of shape \\(3, 4\\) or \\(1, 4\\) or"),
            Bad((FLOATS, FLOATS, np.bool_(True)), {}, "`var` must hold numbers"),
        ),
        reports=(Bad((FLOATS, FLOATS, -FLOATS), {}, "`var` must hold values at least 0, got values from -1"),),
        stress=Stress(
            together(numbers((2,)), numbers((), 0)),
            (4, 5),
            ({}, {"full": True}, {"eps": 0.5}),
            unit="inputs",
            clamped=True,
        ),
        extremes=(
            Extreme(([1.0, 3.0], [1.0, 1.0], [0.0, 0.0]), {}, [math.log(1e-6) / 2, math.log(1e-6) / 2 + 2e6]),
            Extreme(([1e25], [0.0], [1e30]), {}, [math.log(1e30) / 2 + 0.5e20]),
            Extreme(([[1.0], [2.0]], [[0.0], [0.0]], 4.0), {}, [[math.log(2) + 1 / 8], [math.log(2) + 1 / 2]]),
        ),
    ),
    Row(
        jaxloss.poisson_nll_loss,
        draw_counts,
        per_example(poisson_oracle),
        variants=({}, {"full": True}, {"log_input": False, "eps": 1e-2}),
        traced=("eps",),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.poisson_nll_loss(*tensors, **options),
        refuses=(option("eps", -1.0),),
        reports=(
            Bad((FLOATS, -FLOATS), {}, "`target` must hold values at least 0"),
            Bad((-FLOATS, FLOATS), {"log_input": False}, "`pred` must hold values at least 0.*log_input=True"),
        ),
        stress=Stress(
            lambda options: apart(
                numbers((), -LARGEST, 200) if options.get("log_input", True) else numbers((), 0), numbers((), 0, 1e36)
            )(options),
            (5, 5),
            ({}, {"full": True}, {"log_input": False, "eps": 1e-2}),
            unit="inputs",
        ),
        extremes=(
            Extreme(([-INF, -1e4, -1e4, 0.0], [0.0, 0.0, 1.0, 0.0]), {"full": True}, [0, 0, 1e4, 1]),
            Extreme(([0.0, 0.0], [0.0, 1.0]), {"log_input": False}, [0, -math.log(1e-8)]),
            Extreme(([0.0, 1.0], [0.0, 0.0]), {"log_input": False, "eps": 0.0}, [0, 1]),
        ),
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
        own_mean=lambda options: "weight" in options and bool(options.keys() & {"label_smoothing", "z_loss"}),
        traced=("label_smoothing", "weight"),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        torch=torch_classes,
        refuses=(
            Bad((LOGITS, LABELS.astype(np.float32)), {}, "`target` must hold integer .* target.astype\\(jnp.int32\\)"),
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
        stress=Stress(
            SCORED,
            (4, 6),
            (
                {},
                {"weight": [0.5, 2.0, 0.0, 1.5]},
                {"label_smoothing": 0.1},
                {"weight": [0.5, 2.0, 0.0, 1.5], "label_smoothing": 0.2},
            ),
            unit="row",
        ),
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
            Bad((LOGITS, LABELS.astype(np.float32)), {}, "`target` must hold integer .* target.astype\\(jnp.int32\\)"),
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
            Bad(
                (PROBABILITIES, LABELS),
                {},
                "`pred` must hold log-probabilities, at most 0, .*cross_entropy",
                plausible=True,
            ),
            Bad((LOGITS + 1, LABELS), {}, "`pred` must hold log-probabilities", plausible=True),
        ),
        stress=Stress(apart(numbers((4,), high=0), integers(0, 3)), (4, 4), ({}, {"weight": [0.5, 2.0, 0.0, 1.5]})),
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
        stress=Stress(
            apart(numbers((), 1e-11, 1 - 2**-24), numbers((), 0, 1)), (4, 4), ({}, {"weight": 0.5}), unit="inputs"
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
            Bad((LOGITS, 2 * PROBABILITIES), {}, "`target` must hold distributions", plausible=True),
            Bad((LOGITS, LOGITS - 1), {}, "`target` must hold values in \\[0, 1\\]", plausible=True),
            Bad((PROBABILITIES, PROBABILITIES), {}, "`pred` must hold logits, got probabilities", plausible=True),
        ),
        stress=Stress(
            apart(numbers((4,), -SUMMABLE, SUMMABLE), numbers((4,), 0, 1)),
            (4, 6),
            ({}, {"weight": [0.5, 2.0, 0.0, 1.5]}, {"label_smoothing": 0.2}),
            unit="row",
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
        stress=Stress(BINARY, (4, 6), ({}, {"pos_weight": 3.0}, {"weight": 0.5, "pos_weight": 0.7}), unit="inputs"),
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
        stress=Stress(
            BINARY, (5, 6), ({}, {"alpha": 0.7, "gamma": 1.5}, {"gamma": 0.0}, {"gamma": 0.5}), unit="inputs"
        ),
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
        stress=Stress(
            BINARY,
            (5, 6),
            ({}, {"alpha": 0.7, "gamma": 1.5}, {"alpha": None, "gamma": 0.0}, {"gamma": 0.5}),
            unit="inputs",
        ),
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
        stress=Stress(
            SCORED,
            (5, 6),
            ({}, {"alpha": 0.5, "gamma": 1.5}, {"alpha": [0.5, 2.0, 0.0, 1.5], "gamma": 0.0}),
            unit="row",
        ),
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
        stress=Stress(
            lambda options: apart(
                numbers((4,), -80) if options.get("from_logits", True) else numbers((4,), 0, 1), numbers((4,), 0, 1)
            )(options),
            (4, 5),
            ({"axis": -1}, {"axis": -1, "smooth": 1.0}, {"axis": -1, "from_logits": False}),
            unit="row",
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
            stress=Stress(draw_any_boxes, (4, 6), BOX_VARIANTS, unit="norm"),
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
            Bad((PROBABILITIES, PROBABILITIES), {}, "`pred` must hold log-probabilities.*log_softmax", plausible=True),
            Bad(
                (np.full((2, 4000), 1 / 4000, np.float32),) * 2,
                {},
                "`pred` must hold log-probabilities",
                plausible=True,
            ),
            Bad((np.log(PROBABILITIES), np.log(PROBABILITIES)), {}, "`target` must hold values in.*log_target=True"),
            Bad(
                (np.log(PROBABILITIES), PROBABILITIES),
                {"log_target": True},
                "`target` must hold log-probabilities",
                plausible=True,
            ),
            Bad((LOGITS - 9, PROBABILITIES), {}, "`pred` must hold distributions", plausible=True),
            Bad((np.log(PROBABILITIES), 2 * PROBABILITIES), {}, "`target` must hold distributions", plausible=True),
        ),
        stress=Stress(
            lambda options: apart(numbers((), high=0), numbers((), -80, 0) if options else numbers((), 0, 1))(options),
            (4, 4),
            ({}, {"log_target": True}),
            unit="inputs",
        ),
        extremes=(
            Extreme(([-INF, -1.0], [0.0, 0.0]), {}, [0.0, 0.0]),
            Extreme(([-INF, 0.0], [1.0, 1.0]), {}, [INF, 0.0]),
            Extreme(([-INF, -1e4], [-INF, 0.0]), {"log_target": True}, [0.0, 1e4]),
        ),
    ),
    Row(
        jaxloss.ctc_loss,
        draw_sequences,
        per_example(ctc_oracle),
        variants=({}, {"blank": 2, "zero_infinity": True}),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, 0, 2)),
        torch=torch_ctc,
        own_mean=lambda options: True,
        refuses=(
            Bad((FLOATS[0], LABELS), {}, "`pred` must be \\(..., time, classes\\)"),
            Bad((FLOATS, LABELS.astype(np.float32)), {}, "`target` must hold integer"),
            Bad((FLOATS, LABELS[None]), {}, "`target` must hold integer class indices of shape \\('labels',\\)"),
            Bad((FLOATS, LABELS), {"input_lengths": np.ones(1, np.int32)}, "`input_lengths` must hold integer lengths"),
            Bad((FLOATS, LABELS), {"target_lengths": np.float32(1)}, "`target_lengths` must hold integer lengths"),
            option("blank", 4, (FLOATS, LABELS + 1)),
            option("blank", -1, (FLOATS, LABELS + 1)),
        ),
        reports=(
            Bad((FLOATS, LABELS + 4), {}, "`target` must hold class indices in \\[0, 4\\), got values from 4"),
            Bad((FLOATS, LABELS), {}, "`target` must not hold the blank, 0"),
            Bad(
                (FLOATS, LABELS + 1), {"input_lengths": np.int32(4)}, "`input_lengths` must hold lengths in \\[0, 3\\]"
            ),
            Bad((FLOATS, LABELS + 1), {"target_lengths": np.int32(-1)}, "`target_lengths` must hold lengths"),
            Bad((PROBABILITIES, LABELS[:1] + 1), {}, "`pred` must hold logits, got probabilities", plausible=True),
        ),
        stress=Stress(
            apart(numbers((4, 4), -SUMMABLE, SUMMABLE), integers(1, 3, (2,))), (6, 6), unit="norm", examples=1
        ),
        extremes=(
            Extreme(([[1e4, -1e4], [-1e4, 1e4], [1e4, -1e4]], [1]), {}, 0.0),
            Extreme(([[0.0, -INF], [-INF, 0.0], [0.0, -INF]], [1]), {}, 0.0),
            Extreme(([[1e4, 0.0], [1e4, 0.0]], [1]), {}, 1e4 - math.log(2)),
            Extreme(([[0.0, 0.0]], [1, 1]), {}, INF),
            Extreme(([[0.0, 0.0]], [1, 1]), {"zero_infinity": True}, 0.0),
        ),
    ),
    Row(
        jaxloss.linear_cross_entropy,
        draw_features,
        per_example(linear_cross_entropy_oracle),
        variants=(
            {"chunk_size": 5},
            {},
            {"bias": [0.5, -1.0, 2.0, 0.1], "weight": [0.5, 2.0, 0.0, 1.5], "ignore_index": 1, "label_smoothing": 0.2},
            {"weight": [0.5, 2.0, 0.0, 1.5], "z_loss": 0.3, "chunk_size": 2},
            {
                "bias": [0.5, -1.0, 2.0, 0.1],
                "weight": [0.5, 2.0, 0.0, 1.5],
                "ignore_index": 1,
                "label_smoothing": 0.2,
                "z_loss": 0.1,
                "logit_softcap": 3.0,
                "chunk_size": 1,
            },
        ),
        own_mean=lambda options: "weight" in options and bool(options.keys() & {"label_smoothing", "z_loss"}),
        traced=("bias", "weight", "label_smoothing", "z_loss", "logit_softcap"),
        differentiable=(0, 1),
        shared=(1,),
        garbage=((NAN, INF, -INF, 1e30), (), (-1, 99, -(2**31))),
        torch=torch_linear,
        refuses=(
            Bad((LOGITS, LOGITS, LABELS), {}, "`kernel` must be floating, of shape .*transposed"),
            Bad((LOGITS, LOGITS.T, LOGITS), {}, "`target` must hold integer"),
            Bad((LOGITS, LOGITS.T, LABELS), {"bias": np.ones(5, np.float32)}, "`bias` must have one number a class"),
            Bad(
                (LOGITS, LOGITS.T, LABELS), {"weight": np.ones(5, np.float32)}, "`weight` must have one number a class"
            ),
            option("label_smoothing", 1.5, (LOGITS, LOGITS.T, LABELS)),
            option("z_loss", -1.0, (LOGITS, LOGITS.T, LABELS)),
            option("logit_softcap", 0.0, (LOGITS, LOGITS.T, LABELS)),
            option("chunk_size", 0, (LOGITS, LOGITS.T, LABELS)),
            option("chunk_size", 2.0, (LOGITS, LOGITS.T, LABELS)),
        ),
        reports=(
            Bad(
                (LOGITS, LOGITS.T, LABELS + 3), {}, "`target` must hold class indices in \\[0, 3\\), got values from 3"
            ),
            Bad((LOGITS, LOGITS.T, LABELS - 1), {}, "`target` must hold class indices"),
        ),
        stress=Stress(
            apart(numbers((3,), -1e17, 1e17), numbers((3, 4), -1e17, 1e17), integers(0, 3)), (6, 6), unit="norm"
        ),
        extremes=(Extreme(([[1e4, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [1]), {}, [1e4]),),
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
        stress=Stress(
            TRIPLETS,
            (6, 8),
            ({}, {"margin": 0.5, "p": 1.0, "swap": True}, {"p": 3.5, "eps": 1e-2}, {"p": INF}),
            unit="norm",
        ),
        extremes=(
            *(Extreme(([[1.0, 2.0]],) * 3, {"p": p, "eps": 0.0}, [1.0]) for p in (0.5, 1.0, 2.0, 3.0, INF)),
            Extreme(([[1e30, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]), {}, [1.0]),
            Extreme(([[0.0, 0.0]], [[1e30, 0.0]], [[0.0, 0.0]]), {}, [1e30]),
            Extreme(([[0.0, 0.0]], [[1e-30, 0.0]], [[0.0, 0.0]]), {"eps": 0.0}, [1.0]),
        ),
    ),
    Row(
        jaxloss.triplet_margin_with_distance_loss,
        draw_triplets,
        per_example(triplet_with_distance_oracle),
        variants=(
            {},
            {"distance_function": manhattan, "margin": 0.5},
            {"distance_function": squared_distance, "swap": True},
        ),
        traced=("margin",),
        differentiable=(0, 1, 2),
        garbage=((NAN, INF, -INF, 1e30),) * 3,
        torch=lambda nn, *tensors, **options: nn.triplet_margin_with_distance_loss(*tensors, **options),
        refuses=(
            option("margin", 0.0, (FLOATS,) * 3),
            Bad((np.float32(1),) * 3, {}, "`anchor` must have the features on its last axis"),
            Bad(
                (FLOATS,) * 3,
                {"distance_function": lambda x, y: abs(x - y)},
                "`distance_function` must .*\\(3,\\), got",
            ),
            Bad(
                (FLOATS,) * 3, {"distance_function": lambda x, y: (x == y).sum(-1)}, "`distance_function` must be float"
            ),
        ),
        stress=Stress(TRIPLETS, (6, 8), ({}, {"distance_function": manhattan, "margin": 0.5}), unit="norm"),
        extremes=(
            Extreme(([[1.0, 2.0]],) * 3, {}, [1.0]),
            Extreme(([[0.0, 0.0]], [[1e30, 0.0]], [[0.0, 0.0]]), {}, [1e30]),
        ),
    ),
    Row(
        jaxloss.cosine_embedding_loss,
        draw_pairs,
        per_example(cosine_oracle),
        variants=({}, {"margin": 0.3}, {"margin": -0.5}),
        traced=("margin",),
        differentiable=(0, 1),
        garbage=((NAN, INF, -INF, 1e30), (NAN, INF, -INF, 1e30), (NAN, INF, 0.0, 0.5)),
        torch=torch_cosine,
        refuses=(
            option("margin", 1.5, (FLOATS, FLOATS, FLOATS[:, 0])),
            option("margin", -1.5, (FLOATS, FLOATS, FLOATS[:, 0])),
            Bad((FLOATS, FLOATS, FLOATS), {}, "`target` must be floating, of shape \\(3,\\)"),
            Bad((np.float32(1),) * 3, {}, "`input1` must have the features on its last axis"),
        ),
        reports=(
            Bad((FLOATS, FLOATS, 0 * FLOATS[:, 0]), {}, "`target` must hold -1 or 1.*2 \\* target - 1"),
            Bad((FLOATS, FLOATS, 0.5 * FLOATS[:, 0]), {}, "`target` must hold -1 or 1"),
        ),
        stress=Stress(together(scaled((2, 3), (-40, 110)), SIGNS), (6, 6), ({}, {"margin": 0.3}), unit="norm"),
        extremes=(
            Extreme(([[0.0, 0.0]] * 2, [[1.0, 2.0]] * 2, [1.0, -1.0]), {}, [1, 0]),
            Extreme(([[0.0, 0.0]] * 2, [[0.0, 0.0]] * 2, [1.0, -1.0]), {}, [1, 0]),
            Extreme(([[1e30, 0.0]] * 2, [[1e30, 1e30]] * 2, [1.0, -1.0]), {}, [1 - math.sqrt(0.5), math.sqrt(0.5)]),
            Extreme(([[1e-30, 0.0]], [[1.0, 0.0]], [1.0]), {}, [1.0]),
            Extreme(([[1.0, 1e-4]], [[1.0, 0.0]], [1.0]), {}, [0.5e-8 + 1e-12]),
        ),
    ),
    Row(
        jaxloss.hinge_loss,
        draw_signs,
        per_example(lambda pred, target: np.maximum(1 - target * pred, 0)),
        refuses=SIGN_REFUSES,
        reports=SIGN_REPORTS,
        stress=Stress(SIGNED, (4, 4)),
        extremes=HINGE_EXTREMES,
    ),
    Row(
        jaxloss.squared_hinge_loss,
        draw_signs,
        per_example(lambda pred, target: np.maximum(1 - target * pred, 0) ** 2),
        refuses=SIGN_REFUSES,
        reports=SIGN_REPORTS,
        stress=Stress(SIGNED, (4, 4)),
        extremes=tuple(Extreme(e.args, {}, np.square(e.expected)) for e in HINGE_EXTREMES),
    ),
    Row(
        jaxloss.soft_margin_loss,
        draw_signs,
        per_example(lambda pred, target: np.log1p(np.exp(-target * pred))),
        torch=lambda nn, *tensors, **options: nn.soft_margin_loss(*tensors, **options),
        refuses=SIGN_REFUSES,
        reports=SIGN_REPORTS,
        stress=Stress(SIGNED, (4, 4), unit="inputs"),
        extremes=(
            Extreme(([1e4, -1e4, 1e4, -1e4], [1.0, -1.0, -1.0, 1.0]), {}, [0, 0, 1e4, 1e4]),
            Extreme(([INF, -INF], [1.0, -1.0]), {}, [0, 0]),
            Extreme(([50.0, -50.0], [1.0, -1.0]), {}, [math.exp(-50)] * 2),
        ),
    ),
    Row(
        jaxloss.hinge_embedding_loss,
        draw_signs,
        per_example(hinge_embedding_oracle),
        variants=({}, {"margin": 2.5}, {"margin": -0.5}),
        traced=("margin",),
        torch=lambda nn, *tensors, **options: nn.hinge_embedding_loss(*tensors, **options),
        refuses=(*SIGN_REFUSES, option("margin", NAN)),
        reports=SIGN_REPORTS,
        stress=Stress(SIGNED, (4, 4), ({}, {"margin": 2.5}, {"margin": -0.5})),
        extremes=(
            Extreme(([1e30, 1e30, 1.0, 0.0], [1.0, -1.0, -1.0, 1.0]), {}, [1e30, 0, 0, 0]),
            Extreme(([INF, -INF], [-1.0, 1.0]), {}, [0, -INF]),
        ),
    ),
    Row(
        jaxloss.margin_ranking_loss,
        draw_ranked,
        per_example(lambda input1, input2, target, margin=0.0: np.maximum(margin - target * (input1 - input2), 0)),
        variants=({}, {"margin": 0.7}, {"margin": -0.5}),
        traced=("margin",),
        differentiable=(0, 1),
        garbage=((NAN, INF, -INF, 1e30),) * 3,
        torch=lambda nn, *tensors, **options: nn.margin_ranking_loss(*tensors, **options),
        refuses=(
            option("margin", NAN, (FLOATS,) * 3),
            *(Bad((FLOATS, *bad.args), {}, bad.message) for bad in SIGN_REFUSES),
        ),
        reports=tuple(Bad((FLOATS, *bad.args), {}, bad.message) for bad in SIGN_REPORTS),
        stress=Stress(together(numbers((2,)), SIGNS), (4, 4), ({}, {"margin": 0.7}, {"margin": -0.5}), unit="inputs"),
        extremes=(
            Extreme(([1e30, 1e30, 2.0], [0.0, 0.0, 2.0], [1.0, -1.0, 1.0]), {}, [0, 1e30, 0]),
            Extreme(([INF, -INF], [0.0, 0.0], [1.0, -1.0]), {}, [0, 0]),
        ),
    ),
    Row(
        jaxloss.multi_margin_loss,
        draw_class_logits,
        per_example(multi_margin_oracle),
        variants=(
            {},
            {"axis": 1, "weight": [0.5, 2.0, 0.0, 1.5]},
            {"axis": 0, "margin": 2.5, "p": 2},
            {"weight": [0.5, 2.0, 0.0, 1.5], "margin": -0.5, "p": 2},
        ),
        traced=("margin", "weight"),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        torch=torch_multi_margin,
        refuses=(
            Bad((LOGITS, LOGITS), {}, "`target` must hold integer class indices of shape \\(3,\\)"),
            Bad((LOGITS, LOGITS.astype(np.int32)), {}, "`target` must hold integer .* use multilabel_margin_loss"),
            Bad((LOGITS, LABELS), {"weight": np.ones(4, np.float32)}, "`weight` must have one number a class"),
            Bad((np.float32(1), np.int32(0)), {}, "`pred` must have an axis of at least one class"),
            *(option("p", p, (LOGITS, LABELS)) for p in (0, 3, 1.5, True, "1", np.ones(1))),
            option("margin", NAN, (LOGITS, LABELS)),
            option("axis", 2, (LOGITS, LABELS)),
        ),
        reports=(
            *(bad for bad in CLASS_REPORTS[:2]),
            Bad((LOGITS, LABELS), {"weight": -np.ones(5, np.float32)}, "`weight` must be at least 0"),
        ),
        stress=Stress(SCORED, (4, 4), ({}, {"weight": [0.5, 2.0, 0.0, 1.5]}, {"margin": 2.5, "p": 2}), unit="row"),
        extremes=(
            Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {}, [0, 10001 / 3, 30002 / 3]),
            Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {"p": 2}, [0, 10001**2 / 3, (10001**2 + 20001**2) / 3]),
            Extreme(([[0.0, -INF, -INF], [INF, 0.0, -INF]], [0, 0]), {}, [0, 0]),
            Extreme(([[3.0]], [0]), {}, [0]),
            Extreme(([[1.0, 0.0, 3.0]], [0]), {}, [1]),
        ),
    ),
    Row(
        jaxloss.multilabel_margin_loss,
        draw_label_lists,
        per_example(multilabel_margin_oracle),
        garbage=((NAN, INF, -INF, 1e30), (99, -1, -(2**31))),
        torch=torch_multilabel_margin,
        refuses=(
            Bad((LOGITS, LOGITS), {}, "`target` must hold integer lists .* \\(3, 5\\), got float32 .* 0 and 1"),
            Bad((LOGITS, LABELS), {}, "`target` must hold integer .* got int32 .* use multi_margin_loss"),
            Bad((np.float32(1), np.int32(0)), {}, "`pred` must have an axis of at least one class"),
        ),
        reports=(
            Bad(
                (LOGITS, LOGITS.astype(np.int32) + 5), {}, "`target` must hold class indices in \\[0, 5\\), got .* to 5"
            ),
            Bad((LOGITS, LOGITS.astype(np.int32) - 100), {}, "`target` must hold class indices.*-100.*Pad with -1"),
        ),
        stress=Stress(apart(numbers((4,), -SUMMABLE, SUMMABLE), integers(-1, 3, (4,))), (4, 4), unit="row"),
        extremes=(
            Extreme(([[1e4, 0.0, -1e4]] * 2, [[0, 1, -1], [2, -1, -1]]), {}, [0, 30002 / 3]),
            Extreme(([[0.0, -INF, -INF], [INF, INF, 0.0]], [[0, -1, -1], [0, 1, -1]]), {}, [0, 0]),
            Extreme(([[1e4, 0.0, -1e4]] * 2, [[-1, 0, 0], [2, 1, 0]]), {}, [0, 0]),
            Extreme(([[1.0, 0.0, 0.0]], [[0, -1, -1]]), {}, [0]),
        ),
    ),
    Row(
        jaxloss.multilabel_soft_margin_loss,
        draw_many_labels,
        per_example(lambda pred, target, weight=None: bce_oracle(pred, target, weight).mean(-1)),
        variants=({}, {"weight": [0.5, 2.0, 0.0, 1.5, 1.0]}),
        traced=("weight",),
        differentiable=(0, 1),
        torch=lambda nn, *tensors, **options: nn.multilabel_soft_margin_loss(*tensors, **options),
        refuses=(
            Bad((LOGITS, LABELS), {}, "`target` must be floating, of shape .* for class indices, multi_margin_loss"),
            Bad((LOGITS, LOGITS), {"weight": np.ones(3, np.float32)}, "`weight` must have one number a class"),
            Bad((np.float32(1), np.float32(0)), {}, "`pred` must have an axis of at least one class"),
        ),
        reports=(
            *BINARY_REPORTS,
            Bad((LOGITS, LOGITS), {"weight": -np.ones(5, np.float32)}, "`weight` must be at least 0"),
        ),
        stress=Stress(
            apart(numbers((4,), -SUMMABLE, SUMMABLE), numbers((4,), 0, 1)),
            (4, 5),
            ({}, {"weight": [0.5, 2.0, 0.0, 1.5]}),
            unit="row",
        ),
        extremes=(
            Extreme(([[1e4, -1e4], [1e4, -1e4]], [[1.0, 0.0], [0.0, 1.0]]), {}, [0, 1e4]),
            Extreme(([[INF, -INF]], [[1.0, 0.0]]), {}, [0]),
        ),
    ),
)
