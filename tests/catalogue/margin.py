"""Records of `jaxloss.margin`."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.catalogue.benchmarks import EMBEDDINGS, at, labelled, normal, plain_bce
from tests.catalogue.common import (
    BINARY_REPORTS,
    CLASS_REPORTS,
    FLOATS,
    LABELS,
    LOGITS,
    SCORED,
    SUMMABLE,
    axis_fits,
    bce_oracle,
    draw_binary_logits,
    draw_class_logits,
    fractions,
    option,
    signs,
)
from tests.catalogue.domains import SIGNS, apart, integers, numbers, together
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


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


def multiclass_hinge_oracle(pred, target, axis=-1, margin=1.0):
    pred = np.moveaxis(pred, axis, -1)
    is_label = np.arange(pred.shape[-1]) == target[..., None]
    return np.max(pred + np.where(is_label, 0, margin), -1) - pred[is_label].reshape(target.shape)


def multilabel_margin_oracle(pred, target):
    values = np.zeros(pred.shape[:-1], pred.dtype)
    for example in np.ndindex(values.shape):
        row, labels = pred[example], target[example].tolist()
        labels = labels[: labels.index(-1)] if -1 in labels else labels
        others = [j for j in range(len(row)) if j not in labels]
        values[example] = sum(max(1 - row[k] + row[j], 0) for k in labels for j in others) / len(row)
    return values


def torch_multi_margin(nn, pred, target, *, axis=-1, reduction, **options):
    """PyTorch takes no more than one axis of examples."""
    rows = pred.movedim(axis, -1).flatten(0, -2)
    values = nn.multi_margin_loss(rows, target.flatten(), reduction=reduction, **options)
    return values.reshape(target.shape) if reduction == "none" else values


def torch_multilabel_margin(nn, pred, target, *, reduction):
    values = nn.multilabel_margin_loss(pred.flatten(0, -2), target.flatten(0, -2), reduction=reduction)
    return values.reshape(pred.shape[:-1]) if reduction == "none" else values


def label_lists(rng: np.random.Generator, *size: int) -> Arrays:
    """Up to eight labels an example, then -1."""
    lists = rng.permuted(np.broadcast_to(np.arange(size[-1], dtype=np.int32), size), axis=-1)
    ends = rng.integers(1, min(8, size[-1]), (*size[:-1], 1))
    return normal(rng, *size), np.where(np.arange(size[-1]) < ends, lists, np.int32(-1))


def plain_multi_margin(xp: Any, scores: Any, labels: Any) -> Any:
    others = jnp.arange(scores.shape[-1]) != labels[:, None]
    return (jnp.clip(1 - at(scores, labels)[:, None] + scores, 0) * others).mean()


def plain_multiclass_hinge(xp: Any, scores: Any, labels: Any) -> Any:
    return ((scores + (jnp.arange(scores.shape[-1]) != labels[:, None])).max(-1) - at(scores, labels)).mean()


def plain_multilabel_margin(xp: Any, scores: Any, labels: Any) -> Any:
    classes = scores.shape[-1]
    listed = (labels[:, :, None] == jnp.arange(classes)).any(1)
    hinges = jnp.clip(1 - scores[:, :, None] + scores[:, None, :], 0)
    return (hinges * listed[:, :, None] * ~listed[:, None, :]).sum((1, 2)).mean() / classes


SIGNED = apart(numbers(infinite=True), SIGNS)
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
LABELLED_REFUSES = (
    Bad((LOGITS, LOGITS), {}, "`target` must hold integer class indices of shape \\(3,\\)"),
    Bad((LOGITS, LOGITS.astype(np.int32)), {}, "`target` must hold integer .* use multilabel_margin_loss"),
    Bad((np.float32(1), np.int32(0)), {}, "`pred` must have an axis of at least one class"),
    option("axis", 2, (LOGITS, LABELS)),
)
HINGE_EXTREMES = (
    Extreme(([1e4, -1e4, 1e4, -1e4, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0, 1.0, -1.0]), {}, [0, 0, 10001, 10001, 0, 0]),
    Extreme(([INF, -INF], [1.0, -1.0]), {}, [0, 0]),
)

RECORDS = (
    Record(
        jaxloss.hinge_loss,
        draw_signs,
        per_example(lambda pred, target: np.maximum(1 - target * pred, 0)),
        about=About(
            "Two classes, by a margin",
            "scores",
            "floats, -1 or 1, of the same shape",
            optax="hinge_loss",
            keras="Hinge",
        ),
        elementwise=True,
        refuses=SIGN_REFUSES,
        reports=SIGN_REPORTS,
        stress=Stress(SIGNED, (4, 4)),
        extremes=HINGE_EXTREMES,
        benchmark=Benchmark(
            lambda xp, pred, target: xp.clip(1 - target * pred, 0).mean(),
            optax=lambda losses, *arrays: losses.hinge_loss(*arrays).mean(),
            kernels=3.0,
        ),
    ),
    Record(
        jaxloss.perceptron_loss,
        draw_signs,
        per_example(lambda pred, target: np.maximum(-target * pred, 0)),
        like="hinge_loss",
        about=About("Two classes", "scores", "floats, -1 or 1, of the same shape", optax="perceptron_loss"),
        elementwise=True,
        refuses=SIGN_REFUSES,
        reports=SIGN_REPORTS,
        stress=Stress(SIGNED, (4, 4)),
        extremes=(
            Extreme(([1e4, -1e4, 1e4, -1e4, 0.0], [1.0, -1.0, -1.0, 1.0, 1.0]), {}, [0, 0, 1e4, 1e4, 0]),
            Extreme(([INF, -INF, INF], [1.0, -1.0, -1.0]), {}, [0, 0, INF]),
        ),
        benchmark=Benchmark(
            lambda xp, pred, target: xp.clip(-target * pred, 0).mean(),
            optax=lambda losses, *arrays: losses.perceptron_loss(*arrays).mean(),
            kernels=3.0,
        ),
    ),
    Record(
        jaxloss.squared_hinge_loss,
        draw_signs,
        per_example(lambda pred, target: np.maximum(1 - target * pred, 0) ** 2),
        like="hinge_loss",
        about=About("Two classes, by a margin", "scores", "floats, -1 or 1, of the same shape", keras="SquaredHinge"),
        elementwise=True,
        refuses=SIGN_REFUSES,
        reports=SIGN_REPORTS,
        stress=Stress(SIGNED, (4, 4)),
        extremes=tuple(Extreme(e.args, {}, np.square(e.expected)) for e in HINGE_EXTREMES),
        benchmark=Benchmark(
            lambda xp, pred, target: (xp.clip(1 - target * pred, 0) ** 2).mean(),
            optax=lambda losses, *arrays: (losses.hinge_loss(*arrays) ** 2).mean(),
            kernels=3.0,
        ),
    ),
    Record(
        jaxloss.soft_margin_loss,
        draw_signs,
        per_example(lambda pred, target: np.log1p(np.exp(-target * pred))),
        about=About("Two classes, by a margin", "logits", "floats, -1 or 1, of the same shape", torch="SoftMarginLoss"),
        elementwise=True,
        torch_target=signs,
        refuses=SIGN_REFUSES,
        reports=SIGN_REPORTS,
        stress=Stress(SIGNED, (4, 4), unit="inputs"),
        extremes=(
            Extreme(([1e4, -1e4, 1e4, -1e4], [1.0, -1.0, -1.0, 1.0]), {}, [0, 0, 1e4, 1e4]),
            Extreme(([INF, -INF], [1.0, -1.0]), {}, [0, 0]),
            Extreme(([50.0, -50.0], [1.0, -1.0]), {}, [math.exp(-50)] * 2),
        ),
        benchmark=Benchmark(lambda xp, pred, target: xp.log1p(xp.exp(-target * pred)).mean(), kernels=3.0),
    ),
    Record(
        jaxloss.hinge_embedding_loss,
        draw_signs,
        per_example(hinge_embedding_oracle),
        about=About(
            "Pairs, alike or not",
            "distances",
            "floats, 1 if alike, -1 if not, of the same shape",
            shown="margin",
            torch="HingeEmbeddingLoss",
        ),
        elementwise=True,
        variants=({}, {"margin": 2.5}, {"margin": -0.5}),
        traced=("margin",),
        torch_target=signs,
        refuses=(*SIGN_REFUSES, option("margin", NAN)),
        reports=SIGN_REPORTS,
        stress=Stress(SIGNED, (4, 4), ({}, {"margin": 2.5}, {"margin": -0.5})),
        extremes=(
            Extreme(([1e30, 1e30, 1.0, 0.0], [1.0, -1.0, -1.0, 1.0]), {}, [1e30, 0, 0, 0]),
            Extreme(([INF, -INF], [-1.0, 1.0]), {}, [0, -INF]),
        ),
        benchmark=Benchmark(
            lambda xp, pred, target: xp.where(target == 1, pred, xp.clip(1 - pred, 0)).mean(), kernels=3.0
        ),
    ),
    Record(
        jaxloss.margin_ranking_loss,
        draw_ranked,
        per_example(lambda input1, input2, target, margin=0.0: np.maximum(margin - target * (input1 - input2), 0)),
        about=About(
            "Ranking",
            "two scores: input1, input2",
            "floats: 1 if input1 must be higher, -1 if input2",
            shown="margin",
            torch="MarginRankingLoss",
        ),
        arrays=("input1", "input2", "target"),
        inner=(0, 0, 0),
        variants=({}, {"margin": 0.7}, {"margin": -0.5}),
        traced=("margin",),
        differentiable=(0, 1),
        garbage=((NAN, INF, -INF, 1e30),) * 3,
        torch_target=signs,
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
        benchmark=Benchmark(
            lambda xp, input1, input2, target: xp.clip(-target * (input1 - input2), 0).mean(), kernels=3.0
        ),
    ),
    Record(
        jaxloss.multi_margin_loss,
        draw_class_logits,
        per_example(multi_margin_oracle),
        two_ways=True,
        about=About(
            "Classes, by a margin",
            "scores (..., classes)",
            "integer indices (...)",
            shown="margin, p",
            torch="MultiMarginLoss",
        ),
        inner=(1, 0),
        class_axis=True,
        fits=axis_fits,
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
        benchmark=Benchmark(plain_multi_margin, draw=labelled, kernels=3.0),
    ),
    Record(
        jaxloss.multiclass_hinge_loss,
        draw_class_logits,
        per_example(multiclass_hinge_oracle),
        two_ways=True,
        about=About(
            "Classes, by a margin",
            "scores (..., classes)",
            "integer indices (...)",
            note="of the best other class",
            optax="multiclass_hinge_loss",
        ),
        inner=(1, 0),
        class_axis=True,
        fits=axis_fits,
        variants=({}, {"axis": 1}),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=LABELLED_REFUSES,
        reports=CLASS_REPORTS[:2],
        stress=Stress(SCORED, (4, 4), unit="row"),
        extremes=(
            Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {}, [0, 10001, 20001]),
            Extreme(([[0.0, -INF, -INF], [INF, 0.0, -INF], [0.0, -INF, 0.0]], [0, 0, 1]), {}, [0, 0, INF]),
            Extreme(([[3.0]], [0]), {}, [0]),
            Extreme(([[1.0, 0.0, 3.0], [2.0, 2.0, 2.0]], [0, 1]), {}, [3, 1]),
        ),
        benchmark=Benchmark(
            plain_multiclass_hinge,
            draw=labelled,
            optax=lambda losses, *arrays: losses.multiclass_hinge_loss(*arrays).mean(),
        ),
    ),
    Record(
        jaxloss.multiclass_perceptron_loss,
        draw_class_logits,
        per_example(lambda pred, target, axis=-1: multiclass_hinge_oracle(pred, target, axis, 0.0)),
        two_ways=True,
        like="multiclass_hinge_loss",
        about=About("Classes", "scores (..., classes)", "integer indices (...)", optax="multiclass_perceptron_loss"),
        inner=(1, 0),
        class_axis=True,
        fits=axis_fits,
        variants=({}, {"axis": 1}),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=LABELLED_REFUSES,
        reports=CLASS_REPORTS[:2],
        stress=Stress(SCORED, (4, 4), unit="row"),
        extremes=(
            Extreme(([[1e4, 0.0, -1e4]] * 3, [0, 1, 2]), {}, [0, 1e4, 2e4]),
            Extreme(([[0.0, -INF, -INF], [INF, 0.0, -INF], [0.0, -INF, 0.0]], [0, 0, 1]), {}, [0, 0, INF]),
            Extreme(([[3.0]], [0]), {}, [0]),
            Extreme(([[2.0, 2.0, 2.0]], [1]), {}, [0]),
        ),
        benchmark=Benchmark(
            lambda xp, scores, labels: (scores.max(-1) - at(scores, labels)).mean(),
            draw=labelled,
            optax=lambda losses, *arrays: losses.multiclass_perceptron_loss(*arrays).mean(),
        ),
    ),
    Record(
        jaxloss.multilabel_margin_loss,
        draw_label_lists,
        per_example(multilabel_margin_oracle),
        two_ways=True,
        about=About(
            "Many labels, by a margin",
            "scores (..., classes)",
            "integer lists of labels, padded with -1, of the same shape",
            torch="MultiLabelMarginLoss",
        ),
        inner=(1, 1),
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
        benchmark=Benchmark(
            plain_multilabel_margin,
            sizes=EMBEDDINGS[:1],
            draw=label_lists,
        ),
    ),
    Record(
        jaxloss.multilabel_soft_margin_loss,
        draw_many_labels,
        per_example(lambda pred, target, weight=None: bce_oracle(pred, target, weight).mean(-1)),
        about=About(
            "Many labels, one loss an example",
            "logits (..., classes), no sigmoid",
            "floats in [0, 1] of the same shape",
            torch="MultiLabelSoftMarginLoss",
        ),
        inner=(1, 1),
        variants=({}, {"weight": [0.5, 2.0, 0.0, 1.5, 1.0]}),
        traced=("weight",),
        differentiable=(0, 1),
        torch_target=fractions,
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
        benchmark=Benchmark(
            lambda xp, *arrays: plain_bce(xp, *arrays).mean(-1).mean(),
            draw=lambda rng, *size: draw_binary_logits(rng, size, {}),
            optax=lambda losses, *arrays: losses.sigmoid_binary_cross_entropy(*arrays).mean(-1).mean(),
            kernels=3.0,
        ),
    ),
)
