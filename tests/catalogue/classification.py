"""Records of `jaxloss.classification`."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.catalogue.benchmarks import CLASSES, at, labelled, normal, plain_bce, plain_cross_entropy
from tests.catalogue.common import (
    BINARY_REPORTS,
    CLASS_REPORTS,
    FLOATS,
    LABELS,
    LOGITS,
    PROBABILITIES,
    SCORED,
    SPREAD,
    SUMMABLE,
    axis_fits,
    bce_oracle,
    cross_entropy_oracle,
    draw_binary_logits,
    draw_class_logits,
    fractions,
    insert,
    log_softmax,
    option,
    sigmoid,
    torch_classes,
    weights_fit,
)
from tests.catalogue.domains import HARD, apart, integers, numbers, one_of
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


def draw_soft_targets(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    classes = len(options["weight"]) if "weight" in options else 5
    shape = insert(batch, options.get("axis", -1), classes)
    target = rng.random(size=shape) + 1e-2
    return 3 * rng.normal(size=shape), target / target.sum(options.get("axis", -1), keepdims=True)


def draw_class_log_probabilities(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    logits, target = draw_class_logits(rng, batch, options)
    axis = options.get("axis", -1)
    return np.moveaxis(log_softmax(np.moveaxis(logits, axis, -1)), -1, axis), target


def nll_oracle(pred, target, axis=-1, weight=None, ignore_index=None):
    keep = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    index = np.where(keep, target, 0)
    log_p = np.take_along_axis(np.moveaxis(pred, axis, -1), index[..., None], -1)[..., 0]
    weights = keep * (np.ones(pred.shape[axis]) if weight is None else np.asarray(weight))[index]
    return np.where(keep, -weights * log_p, 0), weights


def soft_target_oracle(pred, target, axis=-1, weight=None, label_smoothing=0.0):
    log_p, target = log_softmax(np.moveaxis(pred, axis, -1)), np.moveaxis(target, axis, -1)
    classes = log_p.shape[-1]
    smooth = (1 - label_smoothing) * target + label_smoothing / classes
    return -(smooth * (1.0 if weight is None else np.asarray(weight)) * log_p).sum(-1)


def draw_probabilities(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return 0.05 + 0.9 * rng.random(size=batch), draw_binary_logits(rng, batch, options)[1]


def bce_of_probabilities_oracle(pred, target, weight=1.0):
    log_p, log_q = (
        np.maximum(np.log(np.maximum(pred, 1e-60 + 0 * pred)), -100),
        np.maximum(np.log(np.maximum(1 - pred, 1e-60 + 0 * pred)), -100),
    )
    return -(target * log_p + (1 - target) * log_q) * np.asarray(weight)


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
    return np.where(keep, -alpha * (1 - np.exp(log_p)) ** gamma * log_p, 0), keep.astype(float)


def asymmetric_oracle(pred, target, gamma_neg=4.0, gamma_pos=1.0, clip=0.05):
    p, rest = sigmoid(pred), sigmoid(-pred)
    p_m, rest_m = np.maximum(p - clip, 0 * p), np.minimum(rest + clip, 1 + 0 * p)
    return -target * rest**gamma_pos * np.log(p) - (1 - target) * p_m**gamma_neg * np.log(rest_m)


def draw_ordinal(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """Of four thresholds, so five classes."""
    target = rng.integers(0, 5, size=batch)
    if "ignore_index" in options:
        target = np.where(rng.random(size=batch) < 0.3, options["ignore_index"], target)
    return 3 * rng.normal(size=insert(batch, options.get("axis", -1), 4)), target


def ordinal_tasks(pred, target, axis, ignore_index):
    """The cross-entropies of thresholds, on the last axis; which of them are asked; and which rows count."""
    keep = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    thresholds, y = np.arange(pred.shape[axis]), np.where(keep, target, 0)[..., None]
    tasks = bce_oracle(np.moveaxis(pred, axis, -1), np.where(y > thresholds, 1, 0))
    return tasks, y >= thresholds, keep


def coral_oracle(pred, target, axis=-1, importance_weights=1.0, ignore_index=None):
    tasks, _, keep = ordinal_tasks(pred, target, axis, ignore_index)
    return np.where(keep, (np.asarray(importance_weights) * tasks).sum(-1), 0), keep.astype(float)


def corn_oracle(pred, target, axis=-1, ignore_index=None):
    tasks, asked, keep = ordinal_tasks(pred, target, axis, ignore_index)
    return np.where(keep, np.where(asked, tasks, 0 * tasks).sum(-1), 0), keep * asked.sum(-1)


def logit_adjusted_oracle(pred, target, log_prior, tau=1.0, axis=-1, **options):
    moved = np.moveaxis(pred, axis, -1) + (tau * np.asarray(log_prior) if np.any(tau) else 0)
    return cross_entropy_oracle(moved, target, **options)


def of_likelihood(loss):
    """A function of log p_y, with class weights that the mean divides by."""

    def oracle(pred, target, axis=-1, weight=None, ignore_index=None, **options):
        ce, keep = cross_entropy_oracle(pred, target, axis, None, ignore_index)
        weights = (
            keep
            * (np.ones(pred.shape[axis]) if weight is None else np.asarray(weight))[
                np.where(keep, target, 0).astype(int)
            ]
        )
        return np.where(keep, weights * loss(-ce, **options), 0), weights

    return per_example(oracle)


def poly1(log_p, epsilon=2.0):
    return epsilon * (1 - np.exp(log_p)) - log_p


def generalized(log_p, q=0.7):
    return (1 - np.exp(q * log_p)) / q if np.all(q) else -log_p


def cross_entropy_from_torch(*, input, target, ignore_index=-100, **given):
    """PyTorch's function takes class probabilities too."""
    given["axis"] = min(1, input.ndim - 1)
    if jnp.issubdtype(target.dtype, jnp.integer):
        return jaxloss.cross_entropy(input, target, ignore_index=ignore_index, **given)
    if ignore_index != -100:
        given["ignore_index"] = ignore_index  # which is refused: probabilities have no index
    return jaxloss.soft_target_cross_entropy(input, target, **given)


def torch_nll(nn, pred, target, *, axis=-1, **options):
    return nn.nll_loss(pred.movedim(axis, min(1, pred.ndim - 1)), target, **options)


def torch_soft_targets(nn, pred, target, *, axis=-1, **options):
    channels = min(1, pred.ndim - 1)
    return nn.cross_entropy(pred.movedim(axis, channels), target.movedim(axis, channels), **options)


def log_labelled(rng: np.random.Generator, *size: int) -> Arrays:
    logits, labels = labelled(rng, *size)
    return log_softmax(logits), labels


def soft_labelled(rng: np.random.Generator, *size: int) -> Arrays:
    return 3 * normal(rng, *size), np.exp(log_softmax(normal(rng, *size)))


def plain_focal(xp: Any, logits: Any, target: Any) -> Any:
    values = plain_bce(xp, logits, target)
    return (0.25 * (1 - xp.exp(-values)) ** 2 * values).mean()


def plain_sigmoid_focal(xp: Any, logits: Any, target: Any) -> Any:
    p = 1 / (1 + xp.exp(-logits))
    p_t = p * target + (1 - p) * (1 - target)
    alpha_t = 0.25 * target + 0.75 * (1 - target)
    return (alpha_t * (1 - p_t) ** 2 * plain_bce(xp, logits, target)).mean()


def plain_softmax_focal(xp: Any, logits: Any, labels: Any) -> Any:
    log_p = at(jax.nn.log_softmax(logits), labels)
    return -((1 - jnp.exp(log_p)) ** 2 * log_p).mean()


def many_labels(rng: np.random.Generator, *size: int) -> Arrays:
    return 3 * normal(rng, *size), rng.integers(0, 2, size).astype(np.float32)


def plain_asymmetric(xp: Any, logits: Any, target: Any) -> Any:
    """As the authors have it."""
    p = 1 / (1 + xp.exp(-logits))
    rest = xp.clip(1.05 - p, 0, 1)
    values = target * xp.log(xp.clip(p, 1e-8, 1)) + (1 - target) * xp.log(xp.clip(rest, 1e-8, 1))
    p_t = p * target + rest * (1 - target)
    return -(values * (1 - p_t) ** (target + 4 * (1 - target))).mean()


def plain_coral(xp: Any, logits: Any, labels: Any, **device: Any) -> Any:
    above = labels[..., None] > xp.arange(logits.shape[-1], **device)
    return plain_bce(xp, logits, above).sum(-1).mean()


def plain_corn(xp: Any, logits: Any, labels: Any, **device: Any) -> Any:
    thresholds = xp.arange(logits.shape[-1], **device)
    asked = labels[..., None] >= thresholds
    return (asked * plain_bce(xp, logits, labels[..., None] > thresholds)).sum() / asked.sum()


def plain_logit_adjusted(xp: Any, logits: Any, labels: Any) -> Any:
    return plain_cross_entropy(xp, logits + even_prior(xp, logits), labels)


def even_prior(xp: Any, logits: Any) -> Any:
    """Of a size that tells, and the same to all peers."""
    return xp.zeros_like(logits[0]) - math.log(logits.shape[-1])


def logit_adjusted_in_torch(torch: Any, logits: Any, labels: Any) -> Any:
    return torch.nn.functional.cross_entropy(logits + even_prior(torch, logits), labels)


def plain_poly1(xp: Any, logits: Any, labels: Any) -> Any:
    log_p = at(jax.nn.log_softmax(logits), labels)
    return (2 * (1 - jnp.exp(log_p)) - log_p).mean()


def poly1_in_torch(torch: Any, logits: Any, labels: Any) -> Any:
    values = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return (values + 2 * (1 - torch.exp(-values))).mean()


def plain_generalized(xp: Any, logits: Any, labels: Any) -> Any:
    return ((1 - at(jax.nn.softmax(logits), labels) ** 0.7) / 0.7).mean()


def generalized_in_torch(torch: Any, logits: Any, labels: Any) -> Any:
    p = torch.softmax(logits, -1).gather(-1, labels[..., None])
    return ((1 - p**0.7) / 0.7).mean()


def softmax_focal_in_torch(torch: Any, logits: Any, labels: Any) -> Any:
    values = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return ((1 - torch.exp(-values)) ** 2 * values).mean()


LOG_PRIOR = [-0.5, -1.5, -2.5, -3.0, -4.0]
NO_PRIOR = {"log_prior": np.zeros(5, np.float32)}
ORDINAL_REPORTS = (
    Bad((LOGITS, LABELS + 6), {}, "`target` must hold class indices in \\[0, 6\\), got values from 6"),
    Bad((LOGITS, LABELS - 1), {}, "`target` must hold class indices in \\[0, 6\\), got values from -1"),
    Bad((SPREAD.reshape(10, 4), np.zeros(10, np.int32)), {}, "`pred` must hold logits", plausible=True),
)
BINARY = one_of(apart(numbers(), numbers((), 0, 1)), apart(numbers(infinite=True), HARD))
BINARY_EXTREMES = (
    Extreme(([1e4, -1e4, 1e4, -1e4], [1.0, 0.0, 0.0, 1.0]), {"gamma": 2.0, "alpha": 1.0}, [0, 0, 1e4, 1e4]),
    Extreme(([INF, -INF], [1.0, 0.0]), {"gamma": 2.0, "alpha": 1.0}, [0, 0]),
    Extreme(([1e4, -1e4, 60.0, -60.0], [1.0, 0.0, 1.0, 0.0]), {"gamma": 0.5, "alpha": 1.0}, [0, 0, 0, 0]),
    Extreme(([1e4, -1e4], [1.0, 0.0]), {"gamma": 0.0, "alpha": 1.0}, [0, 0]),
    Extreme(([0.5, -3.0, 20.0, -1e4], [1.0, 1.0, 1.0, 1.0]), {"gamma": INF, "alpha": 1.0}, [0, 0, 0, 1e4]),
)
CLASS_EXTREMES = (
    Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {}, [0, 1e4, 2e4]),
    Extreme(([[0.0, -INF, -INF], [0.0, 0.0, -INF]], [0, 1]), {}, [0, math.log(2)]),
    Extreme(([[3.0]], [0]), {}, [0]),
    Extreme(([[40.0, 0.0]], [0]), {}, [math.log1p(math.exp(-40))]),
)


def entmax_oracle(pred, target, axis=-1, ignore_index=None, power=1):
    """From sorted logits: of as many as are in the support the threshold has a closed form. Relative to the label."""
    pred = np.moveaxis(pred, axis, -1)
    keep = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    index = np.where(keep, target, 0)[..., None]
    x = (pred - pred.max(-1, keepdims=True)) / power
    ordered, size = -np.sort(-x, -1), np.arange(1, x.shape[-1] + 1)
    mean, total = np.cumsum(ordered, -1) / size, np.cumsum(ordered**2, -1)
    spread = np.maximum(1 - (total - size * mean**2), 0) / size
    thresholds = (size * mean - 1) / size if power == 1 else mean - spread**0.5
    support = (thresholds <= ordered).sum(-1, keepdims=True)
    p = np.maximum(x - np.take_along_axis(thresholds, support - 1, -1), 0) ** power
    above = pred - np.take_along_axis(pred, index, -1)
    entropy = (1 - (p**2).sum(-1)) / 2 if power == 1 else (1 - (p**1.5).sum(-1)) * 4 / 3
    return np.where(keep, (p * above).sum(-1) + entropy, 0), keep


def fenchel_young_oracle(pred, target, max_function, axis=-1):
    pred, target = np.moveaxis(pred, axis, -1), np.moveaxis(target, axis, -1)
    largest = pred.max(-1)
    return largest + np.log(np.exp(pred - largest[..., None]).sum(-1)) - (target * pred).sum(-1)


def plain_sparsemax(xp: Any, logits: Any, labels: Any) -> Any:
    ordered, size = -jnp.sort(-logits, -1), jnp.arange(1, logits.shape[-1] + 1)
    total = jnp.cumsum(ordered, -1)
    support = (1 + size * ordered > total).sum(-1, keepdims=True)
    p = jnp.clip(logits - (jnp.take_along_axis(total, support - 1, -1) - 1) / support, 0)
    p = jax.lax.stop_gradient(p)
    return ((p * logits).sum(-1) + (1 - (p**2).sum(-1)) / 2 - at(logits, labels)).mean()


def plain_entmax(xp: Any, logits: Any, labels: Any) -> Any:
    ordered, size = -jnp.sort(-logits / 2, -1), jnp.arange(1, logits.shape[-1] + 1)
    mean, total = jnp.cumsum(ordered, -1) / size, jnp.cumsum(ordered**2, -1)
    thresholds = mean - jnp.sqrt(jnp.clip((1 - (total - size * mean**2)) / size, 0))
    support = (thresholds <= ordered).sum(-1, keepdims=True)
    p = jax.lax.stop_gradient(jnp.clip(logits / 2 - jnp.take_along_axis(thresholds, support - 1, -1), 0) ** 2)
    return ((p * logits).sum(-1) + (1 - (p**1.5).sum(-1)) * 4 / 3 - at(logits, labels)).mean()


RECORDS = (
    Record(
        jaxloss.cross_entropy,
        draw_class_logits,
        per_example(cross_entropy_oracle),
        two_ways=True,
        about=About(
            "Classes",
            "logits (..., classes), no softmax",
            "integer indices (...)",
            torch="CrossEntropyLoss",
            optax="softmax_cross_entropy_with_integer_labels",
            keras="SparseCategoricalCrossentropy",
        ),
        inner=(1, 0),
        class_axis=True,
        sharded_classes=(0,),
        fits=axis_fits,
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
        from_torch=cross_entropy_from_torch,
        torch_target=fractions,
        refuses=(
            option("class_axis_name", "model", (LOGITS, LABELS)),
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
            # Smoothed, the derivative to the likeliest logit is 1 less a share that is rounded next to 1.
            (4, 12),
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
        benchmark=Benchmark(
            plain_cross_entropy,
            sizes=CLASSES,
            draw=labelled,
            optax=lambda losses, *arrays: losses.softmax_cross_entropy_with_integer_labels(*arrays).mean(),
        ),
    ),
    Record(
        jaxloss.nll_loss,
        draw_class_log_probabilities,
        per_example(nll_oracle),
        about=About(
            "Classes, log-probabilities", "log-probabilities (..., classes)", "integer indices (...)", torch="NLLLoss"
        ),
        inner=(1, 0),
        class_axis=True,
        sharded_classes=(0,),
        fits=axis_fits,
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
            option("class_axis_name", "model", (LOGITS, LABELS)),
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
        benchmark=Benchmark(lambda xp, log_p, labels: -at(log_p, labels).mean(), sizes=CLASSES, draw=log_labelled),
    ),
    Record(
        jaxloss.soft_target_cross_entropy,
        draw_soft_targets,
        per_example(soft_target_oracle),
        two_ways=True,
        about=About(
            "Classes, soft or one-hot targets",
            "logits, no softmax",
            "probabilities of the same shape",
            torch="CrossEntropyLoss",
            optax="softmax_cross_entropy",
            keras="CategoricalCrossentropy",
        ),
        inner=(1, 1),
        class_axis=True,
        sharded_classes=(0, 1),
        fits=axis_fits,
        unstored_sums=("float32",),
        variants=(
            {},
            {"axis": 1, "weight": [0.5, 2.0, 0.0, 1.5]},
            {"axis": 0, "label_smoothing": 0.2},
        ),
        traced=("label_smoothing", "weight"),
        differentiable=(0, 1),
        torch=torch_soft_targets,
        refuses=(
            option("class_axis_name", "model", (LOGITS, PROBABILITIES)),
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
        benchmark=Benchmark(
            lambda xp, logits, target: -(target * jax.nn.log_softmax(logits)).sum(-1).mean(),
            sizes=CLASSES,
            draw=soft_labelled,
            optax=lambda losses, *arrays: losses.softmax_cross_entropy(*arrays).mean(),
            torch=lambda torch, *tensors: torch.nn.functional.cross_entropy(*tensors),
        ),
    ),
    Record(
        jaxloss.binary_cross_entropy_with_logits,
        draw_binary_logits,
        per_example(bce_oracle),
        about=About(
            "Two classes, many labels",
            "logits, no sigmoid",
            "floats in [0, 1] of the same shape",
            torch="BCEWithLogitsLoss",
            optax="sigmoid_binary_cross_entropy",
            keras="BinaryCrossentropy",
        ),
        elementwise=True,
        fits=weights_fit,
        variants=({}, {"pos_weight": 3.0}, {"weight": 0.5, "pos_weight": [[0.5], [2.0], [3.0]]}),
        traced=("weight", "pos_weight"),
        differentiable=(0, 1),
        torch_target=fractions,
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
        benchmark=Benchmark(
            lambda xp, *arrays: plain_bce(xp, *arrays).mean(),
            optax=lambda losses, *arrays: losses.sigmoid_binary_cross_entropy(*arrays).mean(),
            kernels=3.0,
        ),
    ),
    Record(
        jaxloss.binary_cross_entropy,
        draw_probabilities,
        per_example(bce_of_probabilities_oracle),
        about=About(
            "Two classes, probabilities",
            "probabilities, after a sigmoid",
            "floats in [0, 1] of the same shape",
            torch="BCELoss",
            keras="BinaryCrossentropy",
        ),
        elementwise=True,
        fits=weights_fit,
        variants=({}, {"weight": 0.5}, {"weight": [[0.5], [2.0], [3.0]]}),
        traced=("weight",),
        differentiable=(0, 1),
        torch_target=fractions,
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
        benchmark=Benchmark(
            lambda xp, p, target: -(target * xp.log(p) + (1 - target) * xp.log(1 - p)).mean(), kernels=3.0
        ),
    ),
    Record(
        jaxloss.focal_loss,
        draw_binary_logits,
        per_example(focal_oracle),
        about=About(
            "Imbalance, two classes",
            "logits, no sigmoid",
            "floats in [0, 1] of the same shape",
            note="one alpha for all",
            keras="BinaryFocalCrossentropy",
        ),
        elementwise=True,
        variants=({}, {"alpha": 0.7, "gamma": 1.5}, {"gamma": 0.0}),
        traced=("alpha", "gamma"),
        refuses=(option("gamma", -1.0), option("alpha", -1.0)),
        reports=BINARY_REPORTS,
        stress=Stress(
            BINARY, (5, 6), ({}, {"alpha": 0.7, "gamma": 1.5}, {"gamma": 0.0}, {"gamma": 0.5}), unit="inputs"
        ),
        extremes=BINARY_EXTREMES,
        benchmark=Benchmark(plain_focal, kernels=4.0),
    ),
    Record(
        jaxloss.sigmoid_focal_loss,
        draw_binary_logits,
        per_example(sigmoid_focal_oracle),
        like="focal_loss",
        about=About(
            "Imbalance, detectors",
            "logits, no sigmoid",
            "floats in [0, 1] of the same shape",
            note="RetinaNet's",
            torchvision="sigmoid_focal_loss",
            optax="sigmoid_focal_loss",
        ),
        elementwise=True,
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
        benchmark=Benchmark(
            plain_sigmoid_focal,
            optax=lambda losses, *arrays: losses.sigmoid_focal_loss(*arrays, alpha=0.25, gamma=2.0).mean(),
            kernels=4.0,
        ),
    ),
    Record(
        jaxloss.softmax_focal_loss,
        draw_class_logits,
        per_example(softmax_focal_oracle),
        two_ways=True,
        about=About(
            "Imbalance, classes",
            "logits (..., classes), no softmax",
            "integer indices (...)",
            keras="CategoricalFocalCrossentropy",
        ),
        inner=(1, 0),
        class_axis=True,
        sharded_classes=(0,),
        fits=axis_fits,
        variants=(
            {},
            {"axis": 1, "alpha": 0.5, "gamma": 1.5},
            {"axis": 0, "alpha": [0.5, 2.0, 0.0, 1.5, 1.0], "ignore_index": 2, "gamma": 0.0},
        ),
        traced=("alpha", "gamma"),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=(
            option("class_axis_name", "model", (LOGITS, LABELS)),
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
            Extreme(([[0.5, -3.0], [1.0, 200.0]], [0, 0]), {"gamma": INF}, [0, 199]),
        ),
        benchmark=Benchmark(
            plain_softmax_focal, sizes=CLASSES, draw=labelled, torch=softmax_focal_in_torch, kernels=4.0
        ),
    ),
    Record(
        jaxloss.poly1_cross_entropy_loss,
        draw_class_logits,
        of_likelihood(poly1),
        like="softmax_focal_loss",
        two_ways=True,
        about=About(
            "Classes, more or less weight on the sure ones",
            "logits (..., classes), no softmax",
            "integer indices (...)",
            note="Poly-1",
        ),
        inner=(1, 0),
        class_axis=True,
        sharded_classes=(0,),
        fits=axis_fits,
        variants=({}, {"axis": 0, "weight": [0.5, 2.0, 0.0, 1.5], "epsilon": -1.0, "ignore_index": 1}),
        traced=("epsilon", "weight"),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=(
            Bad((LOGITS, LOGITS), {}, "`target` must hold integer .*target.argmax"),
            Bad((LOGITS, LABELS), {"weight": np.ones(4, np.float32)}, "`weight` must have one number a class"),
            option("epsilon", NAN, (LOGITS, LABELS)),
            option("axis", 2, (LOGITS, LABELS)),
        ),
        reports=CLASS_REPORTS[:4],
        stress=Stress(SCORED, (4, 4), unit="row"),
        extremes=(
            Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {}, [0, 1e4 + 2, 2e4 + 2]),
            Extreme(([[0.0, -INF, -INF], [0.0, 0.0, -INF]], [0, 1]), {}, [0, math.log(2) + 1]),
            Extreme(([[40.0, 0.0]], [0]), {}, [3 * math.log1p(math.exp(-40))]),
        ),
        benchmark=Benchmark(plain_poly1, sizes=CLASSES, draw=labelled, torch=poly1_in_torch),
    ),
    Record(
        jaxloss.generalized_cross_entropy_loss,
        draw_class_logits,
        of_likelihood(generalized),
        like="softmax_focal_loss",
        two_ways=True,
        about=About("Classes, noisy labels", "logits (..., classes), no softmax", "integer indices (...)"),
        inner=(1, 0),
        class_axis=True,
        sharded_classes=(0,),
        fits=axis_fits,
        variants=({}, {"axis": 0, "weight": [0.5, 2.0, 0.0, 1.5], "q": 0.05, "ignore_index": 1}),
        traced=("q", "weight"),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=(
            Bad((LOGITS, LOGITS), {}, "`target` must hold integer .*target.argmax"),
            Bad((LOGITS, LABELS), {"weight": np.ones(4, np.float32)}, "`weight` must have one number a class"),
            option("q", -0.1, (LOGITS, LABELS)),
            option("q", 1.1, (LOGITS, LABELS)),
            option("axis", 2, (LOGITS, LABELS)),
        ),
        reports=CLASS_REPORTS[:4],
        stress=Stress(SCORED, (4, 6), ({}, {"q": 0.05}, {"q": 0.0}), unit="row"),
        extremes=(
            Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {"q": 0.0}, [0, 1e4, 2e4]),
            Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {"q": 0.5}, [0, 2, 2]),
            Extreme(([[-INF, 0.0, 1.0], [0.0, -INF, -INF]], [0, 0]), {"q": 0.5}, [2, 0]),
            Extreme(([[-INF, 0.0, 1.0], [40.0, 0.0, -INF]], [0, 0]), {"q": 0.0}, [INF, math.log1p(math.exp(-40))]),
            Extreme(([[40.0, 0.0]], [0]), {"q": 1.0}, [math.exp(-40)]),
        ),
        benchmark=Benchmark(plain_generalized, sizes=CLASSES, draw=labelled, torch=generalized_in_torch),
    ),
    Record(
        jaxloss.logit_adjusted_cross_entropy_loss,
        draw_class_logits,
        per_example(logit_adjusted_oracle),
        like="cross_entropy",
        two_ways=True,
        about=About(
            "Classes, a long tail",
            "logits (..., classes), no softmax",
            "integer indices (...)",
            shown="log_prior",
        ),
        inner=(1, 0),
        class_axis=True,
        sharded_classes=(0,),
        fits=axis_fits,
        variants=(
            {"log_prior": LOG_PRIOR},
            {
                "log_prior": LOG_PRIOR[:4],
                "tau": 0.7,
                "axis": 0,
                "weight": [0.5, 2.0, 0.0, 1.5],
                "ignore_index": 1,
                "label_smoothing": 0.2,
            },
        ),
        own_mean=lambda options: {"weight", "label_smoothing"} <= options.keys(),
        traced=("log_prior", "tau", "label_smoothing", "weight"),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=(
            Bad((LOGITS, LOGITS), NO_PRIOR, "`target` must hold integer .*target.argmax"),
            Bad(
                (LOGITS, LABELS), {"log_prior": np.zeros(4, np.float32)}, "`log_prior` must be floating, of .*\\(5,\\)"
            ),
            Bad((LOGITS, LABELS), NO_PRIOR | {"weight": np.ones(4, np.float32)}, "`weight` must have one number"),
            Bad((LOGITS, LABELS), NO_PRIOR | {"tau": -1.0}, "`tau`", ValueError),
            Bad((LOGITS, LABELS), NO_PRIOR | {"axis": 2}, "`axis`", ValueError),
        ),
        reports=(
            *(Bad(bad.args, bad.options | NO_PRIOR, bad.message, plausible=bad.plausible) for bad in CLASS_REPORTS[:4]),
            Bad(
                (LOGITS, LABELS),
                {"log_prior": np.full(5, 0.2, np.float32)},
                "`log_prior` must hold log-probabilities, at most 0, .*jnp.log",
                plausible=True,
            ),
        ),
        stress=Stress(SCORED, (4, 5), ({"log_prior": [0.0, 0.0, 0.0, 0.0]},), unit="row"),
        extremes=(
            *(
                Extreme(extreme.args, {"log_prior": [0.0, 0.0, 0.0]}, extreme.expected)
                for extreme in CLASS_EXTREMES[:2]
            ),
            Extreme(([[2.0, 5.0, 2.0]], [0]), {"log_prior": [-1.0, -INF, -1.0]}, [math.log(2)]),
            Extreme(([[2.0, 2.0, 2.0]], [0]), {"log_prior": [-1.0, -INF, -1.0], "tau": 0.0}, [math.log(3)]),
        ),
        benchmark=Benchmark(
            plain_logit_adjusted,
            sizes=CLASSES,
            draw=labelled,
            torch=logit_adjusted_in_torch,
            call=lambda logits, labels: jaxloss.logit_adjusted_cross_entropy_loss(
                logits, labels, log_prior=even_prior(jnp, logits)
            ),
        ),
    ),
    Record(
        jaxloss.asymmetric_loss,
        draw_binary_logits,
        per_example(asymmetric_oracle),
        about=About("Imbalance, many labels", "logits, no sigmoid", "floats in [0, 1] of the same shape"),
        elementwise=True,
        variants=({}, {"gamma_neg": 1.5, "gamma_pos": 0.5, "clip": 0.0}),
        traced=("gamma_neg", "gamma_pos", "clip"),
        differentiable=(0, 1),
        refuses=(option("gamma_neg", -1.0), option("gamma_pos", -1.0), option("clip", -0.1), option("clip", 1.1)),
        reports=BINARY_REPORTS,
        # Next to `clip`, which is rounded, what is left of p is a difference.
        stress=Stress(BINARY, (10, 9), ({}, {"gamma_neg": 1.5, "clip": 0.0}), unit="inputs"),
        extremes=(
            Extreme(([1e4, -1e4], [1.0, 0.0]), {}, [0, 0]),
            Extreme(([INF, -INF, -INF], [1.0, 0.0, 1.0]), {}, [0, 0, INF]),
            Extreme(([1e4, INF, -1e4], [0.0, 0.0, 1.0]), {}, [-(0.95**4) * math.log(0.05)] * 2 + [1e4]),
            Extreme(([1e4, -1e4, 60.0], [0.0, 0.0, 0.0]), {"gamma_neg": 0.0, "clip": 0.0}, [1e4, 0, 60]),
            Extreme(([3.0, 1e4], [0.0, 0.0]), {"gamma_neg": INF, "clip": 0.0}, [0, 1e4]),
        ),
        benchmark=Benchmark(plain_asymmetric, draw=many_labels),
    ),
    Record(
        jaxloss.coral_loss,
        draw_ordinal,
        per_example(coral_oracle),
        about=About(
            "Ordered classes, all thresholds", "logits (..., K - 1), no sigmoid", "integer indices (...), of K classes"
        ),
        inner=(1, 0),
        class_axis=True,
        fits=axis_fits,
        variants=({}, {"axis": 0, "importance_weights": [0.5, 2.0, 0.0, 1.5], "ignore_index": -1}),
        traced=("importance_weights",),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=(
            Bad((LOGITS, LOGITS), {}, "`target` must hold integer .*target.argmax"),
            Bad(
                (LOGITS, LABELS), {"importance_weights": np.ones(4, np.float32)}, "`importance_weights` must broadcast"
            ),
            option("axis", 2, (LOGITS, LABELS)),
        ),
        reports=ORDINAL_REPORTS,
        stress=Stress(apart(numbers((4,), -SUMMABLE, SUMMABLE), integers(0, 4)), (4, 4), unit="row"),
        extremes=(
            Extreme(([[1e4, -1e4]] * 3, [0, 1, 2]), {}, [1e4, 0, 1e4]),
            Extreme(([[INF, -INF], [INF, -INF]], [1, 0]), {}, [0, INF]),
            Extreme(([[50.0, -50.0]], [1]), {}, [2 * math.exp(-50)]),
        ),
        benchmark=Benchmark(
            plain_coral, draw=labelled, torch=lambda torch, x, y: plain_coral(torch, x, y, device=x.device)
        ),
    ),
    Record(
        jaxloss.corn_loss,
        draw_ordinal,
        per_example(corn_oracle),
        like="coral_loss",
        about=About(
            "Ordered classes, thresholds in turn",
            "logits (..., K - 1), no sigmoid",
            "integer indices (...), of K classes",
        ),
        inner=(1, 0),
        class_axis=True,
        fits=axis_fits,
        variants=({}, {"axis": 0, "ignore_index": -1}),
        own_mean=lambda options: True,
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=(
            Bad((LOGITS, LOGITS), {}, "`target` must hold integer .*target.argmax"),
            option("axis", 2, (LOGITS, LABELS)),
        ),
        reports=ORDINAL_REPORTS[:2],
        stress=Stress(apart(numbers((4,), -SUMMABLE, SUMMABLE), integers(0, 4)), (5, 4), unit="row"),
        extremes=(
            Extreme(([[1e4, -1e4]] * 3, [0, 1, 2]), {}, [1e4, 0, 1e4]),
            Extreme(([[-INF, INF], [1e4, -INF], [INF, -INF]], [0, 0, 1]), {}, [0, 1e4, 0]),
            Extreme(([[0.0, 50.0]], [2]), {}, [math.log(2) + math.exp(-50)]),
        ),
        benchmark=Benchmark(
            plain_corn, draw=labelled, torch=lambda torch, x, y: plain_corn(torch, x, y, device=x.device)
        ),
    ),
    Record(
        jaxloss.sparsemax_loss,
        draw_class_logits,
        per_example(entmax_oracle),
        two_ways=True,
        about=About(
            "Classes, sparse probabilities",
            "logits (..., classes)",
            "integer indices (...)",
            optax="multiclass_sparsemax_loss",
        ),
        inner=(1, 0),
        class_axis=True,
        fits=axis_fits,
        variants=({}, {"axis": 1, "ignore_index": 2}),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=(
            Bad((LOGITS, LOGITS), {}, "`target` must hold integer .*target.argmax"),
            option("axis", 2, (LOGITS, LABELS)),
        ),
        reports=CLASS_REPORTS,
        stress=Stress(SCORED, (5, 5), unit="row"),
        extremes=(
            Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {}, [0, 1e4, 2e4]),
            Extreme(([[0.0, -INF, -INF], [INF, 0.0, -INF], [0.0, -INF, 0.0]], [0, 0, 1]), {}, [0, 0, INF]),
            Extreme(([[3.0]], [0]), {}, [0]),
            Extreme(([[1.0, 1.0, -INF], [0.5, 0.5, 0.5]], [1, 2]), {}, [0.25, 1 / 3]),
        ),
        benchmark=Benchmark(
            plain_sparsemax,
            draw=labelled,
            optax=lambda losses, logits, labels: losses.multiclass_sparsemax_loss(
                logits.astype(jnp.float32), labels
            ).mean(),
        ),
    ),
    Record(
        jaxloss.entmax15_loss,
        draw_class_logits,
        per_example(lambda *arrays, **options: entmax_oracle(*arrays, **options, power=2)),
        like="sparsemax_loss",
        two_ways=True,
        about=About(
            "Classes, sparse probabilities",
            "logits (..., classes)",
            "integer indices (...)",
            note="smooth",
        ),
        inner=(1, 0),
        class_axis=True,
        fits=axis_fits,
        variants=({}, {"axis": 1, "ignore_index": 2}),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=(
            Bad((LOGITS, LOGITS), {}, "`target` must hold integer .*target.argmax"),
            option("axis", 2, (LOGITS, LABELS)),
        ),
        reports=CLASS_REPORTS,
        stress=Stress(SCORED, (6, 6), unit="row"),
        extremes=(
            Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {}, [0, 1e4, 2e4]),
            Extreme(([[0.0, -INF, -INF], [INF, 0.0, -INF], [0.0, -INF, 0.0]], [0, 0, 1]), {}, [0, 0, INF]),
            Extreme(([[3.0]], [0]), {}, [0]),
            Extreme(([[1.0, 1.0, -INF]], [1]), {}, [4 / 3 * (1 - math.sqrt(0.5))]),
        ),
        benchmark=Benchmark(plain_entmax, draw=labelled),
    ),
    Record(
        jaxloss.fenchel_young_loss,
        draw_soft_targets,
        per_example(fenchel_young_oracle),
        about=About(
            "Whatever has a regularised maximum",
            "scores (..., classes)",
            "floats of the same shape",
            optax="make_fenchel_young_loss",
        ),
        inner=(1, 1),
        class_axis=True,
        fits=axis_fits,
        variants=({"max_function": jax.nn.logsumexp}, {"max_function": jax.nn.logsumexp, "axis": 1}),
        differentiable=(0, 1),
        refuses=(
            Bad((LOGITS, LABELS), {"max_function": jax.nn.logsumexp}, "`target` must be floating.*one_hot"),
            Bad((LOGITS, LOGITS), {"max_function": jax.nn.logsumexp, "axis": 2}, "`axis`", ValueError),
        ),
        admits_any_value=True,
        stress=Stress(
            apart(numbers((4,), -100, 100), numbers((4,), 0, 1)),
            (8, 8),
            ({"max_function": jax.nn.logsumexp},),
            unit="row",
        ),
        extremes=(
            Extreme(
                ([[1e4, -INF], [1e4, -1e4]], [[1.0, 0.0], [0.0, 1.0]]), {"max_function": jax.nn.logsumexp}, [0, 2e4]
            ),
        ),
        benchmark=Benchmark(
            lambda xp, scores, target: (jax.nn.logsumexp(scores, -1) - (scores * target).sum(-1)).mean(),
            draw=soft_labelled,
            optax=lambda losses, *arrays: losses.make_fenchel_young_loss(jax.nn.logsumexp)(*arrays).mean(),
            call=lambda *arrays: jaxloss.fenchel_young_loss(*arrays, max_function=jax.nn.logsumexp),
        ),
    ),
)
