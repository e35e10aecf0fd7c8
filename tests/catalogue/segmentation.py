"""Records of `jaxloss.segmentation`."""

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis.extra import numpy as hnp

import jaxloss
from tests.catalogue.benchmarks import normal
from tests.catalogue.common import BINARY_REPORTS, FLOATS, SPREAD, SUMMABLE, insert, log_softmax, option, sigmoid
from tests.catalogue.domains import apart, integers, numbers
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress


def draw_masks(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    if options.get("class_axis") is not None:
        return draw_classes(rng, batch, options)
    pred = 3 * rng.normal(size=batch) if options.get("from_logits", True) else rng.random(size=batch)
    return pred, rng.integers(0, 2, size=batch).astype(float)


def draw_labels(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """Four classes, and some labels that are ignored."""
    target = rng.integers(0, 4, size=batch)
    if "ignore_index" in options:
        target = np.where(rng.random(size=batch) < 0.2, options["ignore_index"], target)
    return 2 * rng.normal(size=insert(batch, options.get("class_axis", -1), 4)), target


def draw_classes(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """The same, with a probability for each class."""
    pred, target = draw_labels(rng, batch, options)
    target = np.moveaxis(0.8 * np.eye(4)[target] + 0.1, -1, options["class_axis"])
    return pred, target


def members(pred, target, where: Any, from_logits=True, class_axis: Any = None, ignore_index=None):
    """Probabilities, membership and which elements count: arrays of one shape."""
    keep = np.asarray(where)
    if class_axis is not None:
        keep = np.broadcast_to(where, np.delete(pred.shape, class_axis))
        if target.dtype.kind == "i":
            keep = keep & (target != ignore_index) if ignore_index is not None else keep
            index = np.where(keep, target, 0)
            target = np.moveaxis(np.eye(pred.shape[class_axis])[index], -1, class_axis)
        keep = np.expand_dims(keep, class_axis)
    keep = np.broadcast_to(keep, pred.shape)
    pred, target = np.where(keep, pred, 0), np.where(keep, target, 0)
    if not from_logits:
        p = pred
    elif class_axis is None:
        p = sigmoid(pred)
    else:
        p = np.exp(np.moveaxis(log_softmax(np.moveaxis(pred, class_axis, -1)), -1, class_axis))
    return np.where(keep, p, 0), target, keep


def over(axis: Any, class_axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(i for i in range(ndim) if class_axis is None or i != class_axis % ndim)
    return tuple(i % ndim for i in np.atleast_1d(axis))


def set_oracle(formula: Callable[..., Any], classes: Any = None) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Of a formula of the sums of p y, p and y."""

    def oracle(
        pred,
        target,
        where: Any = True,
        from_logits=True,
        class_axis: Any = classes,
        axis: Any = None,
        weight: Any = None,
        ignore_index=None,
        soft="product",
        **options,
    ):
        p, target, keep = members(pred, target, where, from_logits, class_axis, ignore_index)
        axis = over(axis, class_axis, pred.ndim)
        overlap = p * target if soft == "product" else np.minimum(p, target)
        values = formula(*((part).sum(axis) for part in (overlap, p, target)), **options)
        kept = np.broadcast_to(keep.any(axis), values.shape) if keep.size else np.ones(values.shape, bool)
        weights = np.ones(values.shape)
        if weight is not None:
            left = np.delete(np.arange(pred.ndim), axis)
            place = list(left).index(class_axis % pred.ndim)
            weights = np.broadcast_to(np.expand_dims(weight, tuple(range(1, len(left) - place))), values.shape)
        return np.where(kept, values * weights, 0), np.where(kept, weights, 0)

    return oracle


def quotient(numerator: Any, denominator: Any) -> Any:
    return np.where(denominator == 0, 0, numerator / np.where(denominator == 0, 1, denominator))


def dice(overlap, pred, target, smooth=1e-5):
    return quotient(pred + target - 2 * overlap, pred + target + smooth)


def jaccard(overlap, pred, target, smooth=1e-5):
    return quotient(pred + target - 2 * overlap, pred + target - overlap + smooth)


def tversky(overlap, pred, target, alpha=0.5, beta=0.5, gamma=1.0, smooth=1e-5):
    wrong = alpha * (pred - overlap) + beta * (target - overlap)
    return quotient(wrong, overlap + wrong + smooth) ** gamma


def generalized_dice_oracle(pred, target, where: Any = True, class_axis=-1, axis: Any = None, **options):
    """One loss of all classes."""
    given = {name: options.pop(name) for name in ("from_logits", "ignore_index") if name in options}
    p, y, keep = members(pred, target, where, class_axis=class_axis, **given)
    axis = over(axis, class_axis, pred.ndim)
    place = class_axis % pred.ndim - sum(other < class_axis % pred.ndim for other in axis)
    power = {"square": 2, "simple": 1, "uniform": 0}[options.get("weighting", "square")]
    size = y.sum(axis)
    weight = np.where(size > 0, quotient(1.0, size) ** power, 0)
    wrong, total = ((weight * part.sum(axis)).sum(place) for part in (p + y - 2 * p * y, p + y))
    kept = np.broadcast_to(keep.any(axis).any(place), wrong.shape) if keep.size else np.ones(wrong.shape, bool)
    return np.where(kept, quotient(wrong, total + options.get("smooth", 1e-5)), 0), kept.astype(float)


def lovasz(errors: np.ndarray, members: np.ndarray) -> Any:
    """Of one set: the Jaccard losses of sets that grow by one error."""
    order = np.argsort(-errors, kind="stable")
    members = members[order]
    overlap = members.sum() - np.cumsum(members)
    union = members.sum() + np.cumsum(1 - members)
    losses = np.concatenate([[0], 1 - quotient(overlap.astype(errors.dtype), union)])
    return (errors[order] * np.diff(losses)).sum()


def of_sets(errors: np.ndarray, members: np.ndarray, keep: np.ndarray, axis: tuple[int, ...]) -> Any:
    """The losses of all sets, and which of them keep an element, and which a member."""
    kept = [i for i in range(errors.ndim) if i not in axis]
    shape = tuple(errors.shape[i] for i in kept)
    rows = [part.transpose(*kept, *axis).reshape(*shape, -1) for part in (errors, members, keep)]
    values, some, present = np.zeros(shape, errors.dtype), np.zeros(shape, bool), np.zeros(shape, bool)
    for at in np.ndindex(shape):
        error, member, seen = (row[at] for row in rows)
        values[at] = lovasz(error[seen], member[seen]) if seen.any() else 0
        some[at], present[at] = seen.any(), (member[seen] == 1).any()
    return values, some, present


def lovasz_hinge_oracle(pred, target, where: Any = True, axis: Any = None):
    keep, axis = np.broadcast_to(where, pred.shape), over(axis, None, pred.ndim)
    pred, target = np.where(keep, pred, 0), np.where(keep, target, 0)
    values, some, _ = of_sets(np.maximum(1 - pred * (2 * target - 1), 0), target, keep, axis)
    return np.where(some, values, 0), some.astype(float)


def lovasz_softmax_oracle(
    pred, target, where: Any = True, class_axis=-1, axis: Any = None, ignore_index=None, classes="present"
):
    p, y, keep = members(pred, target, where, class_axis=class_axis, ignore_index=ignore_index)
    values, some, present = of_sets(abs(p - y), y, keep, over(axis, class_axis, pred.ndim))
    counts = present if classes == "present" else some
    return np.where(counts, values, 0), counts.astype(float)


def draw_distances(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    shape = insert(batch, -1, 3) if "class_axis" in options else batch
    pred = 2 * rng.normal(size=shape) if options.get("from_logits", True) else rng.random(size=shape)
    return pred, 3 * rng.normal(size=shape)


def boundary_oracle(pred, target, where: Any = True, from_logits=True, class_axis: Any = None):
    p, distance, keep = members(pred, target, where, from_logits, class_axis)
    values, keep = p * distance, keep.astype(float)
    if class_axis is not None:
        values, keep = values.sum(class_axis), keep.max(class_axis)
    return values, keep


def draw_tubes(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """Soft targets: of hard ones the skeleton has a kink at every element."""
    pred, _ = draw_masks(rng, batch, options)
    return pred, rng.random(size=batch)


def neighbours(image: np.ndarray, axis: int, fill: float) -> list[np.ndarray]:
    lanes = np.moveaxis(image, axis, 0)
    beside = np.full_like(lanes[:1], fill)
    both = np.concatenate([beside, lanes[:-1]]), lanes, np.concatenate([lanes[1:], beside])
    return [np.moveaxis(each, 0, axis) for each in both]


def skeleton(image: np.ndarray, keep: np.ndarray, axes: tuple[int, ...], iterations: int) -> np.ndarray:
    joined = np.zeros_like(image)
    for _ in range(iterations + 1):
        whole = np.where(keep, image, 1)
        eroded = np.min([np.min(neighbours(whole, axis, 1), 0) for axis in axes], 0)
        opened = np.where(keep, eroded, 0)
        for axis in axes:
            opened = np.max(neighbours(opened, axis, 0), 0)
        joined = joined + np.maximum(image - opened, 0) * (1 - joined)
        image = eroded
    return joined


def cldice_oracle(
    pred,
    target,
    where: Any = True,
    from_logits=True,
    spatial_axes: Any = (-2, -1),
    iterations=3,
    axis: Any = None,
    smooth=1.0,
):
    p, y, keep = members(pred, target, where, from_logits)
    axes, axis = over(spatial_axes, None, pred.ndim), over(axis, None, pred.ndim)

    def quality(image, other):
        thin = np.where(keep, skeleton(image, keep, axes, iterations), 0)
        whole = thin.sum(axis) + smooth
        return np.where(whole == 0, 1, quotient((thin * other).sum(axis) + smooth, whole))

    precision, sensitivity = quality(p, y), quality(y, p)
    kept = keep.any(axis) if keep.size else np.ones(precision.shape, bool)
    return np.where(kept, 1 - quotient(2 * precision * sensitivity, precision + sensitivity), 0), kept.astype(float)


def plain_dice(xp: Any, logits: Any, target: Any) -> Any:
    p = 1 / (1 + xp.exp(-logits))
    overlap, total = (p * target).sum((1, 2)), (p + target).sum((1, 2))
    return (1 - (2 * overlap + 1e-5) / (total + 1e-5)).mean()


def optax_dice(losses: Any, logits: Any, target: Any) -> Any:
    """It takes one class."""
    return jax.vmap(lambda *masks: losses.binary_dice_loss(*masks, smooth=1e-5), in_axes=-1)(logits, target).mean()


def set_fits(options: dict[str, Any], batch: tuple[int, ...]) -> bool:
    """The axes that form a set are there, and the class axis stands among, before or behind those of the batch."""
    classes = options.get("class_axis")
    axes = np.atleast_1d(options.get("axis", [])).astype(int)
    ndim = len(batch) + (classes is not None)
    if classes is not None and not -ndim <= classes < ndim:
        return False
    return len(batch) >= len(axes) and bool(np.all((axes >= -ndim) & (axes < ndim)))


# Where classes are, they are three.
SCORES, INDICES = np.zeros((4, 3), np.float32), np.zeros(4, np.int32)
REFUSES = (
    option("axis_name", "data"),
    option("axis", 2),
    option("axis", (0, 0)),
    option("soft", "half"),
    option("ignore_index", 1),
    option("weight", np.ones(3, np.float32)),
    option("class_axis", 2, (SCORES, INDICES)),
    Bad((SCORES, INDICES), {"class_axis": -1, "axis": 1}, "`axis` must not name `class_axis`", ValueError),
    Bad((SCORES, INDICES), {}, "`target` must be floating.*Class indices need `class_axis`"),
    Bad((SCORES[:, :1], INDICES), {"class_axis": -1}, "`pred` must have at least two classes"),
    Bad((SCORES, INDICES), {"class_axis": -1, "weight": np.ones(2, np.float32)}, "`weight` must have one number a"),
)
REPORTS = (
    *BINARY_REPORTS,
    Bad((FLOATS + 1, FLOATS), {"from_logits": False}, "`pred` must hold values in \\[0, 1\\].*from_logits=True"),
    Bad((SCORES, INDICES + 3), {"class_axis": -1}, "`target` must hold class indices in \\[0, 3\\)"),
    Bad((SCORES + 1 / 3, INDICES), {"class_axis": -1}, "`pred` must hold logits, got probabilities", plausible=True),
)


def rows(options: dict[str, Any]) -> Any:
    """Logits of -80 and more, or probabilities; and targets."""
    pred = numbers((4,), -80) if options.get("from_logits", True) else numbers((4,), 0, 1)
    return apart(pred, numbers((4,), 0, 1))(options)


def set_record(loss: Any, formula: Any, plain: Any, variants: Any, **more: Any) -> Record:
    """What losses that are a formula of a set's sums have in common."""
    names = {name: more.pop(name, "") for name in ("shown", "note", "optax", "keras")}
    benchmark = {name: more.pop(name) for name in ("optax_peer", "options") if name in more}
    options = benchmark.pop("options", {})
    common: dict[str, Any] = {
        "traced": ("smooth",),
        "refuses": (option("smooth", -1.0), *REFUSES),
        "extremes": (
            Extreme(([1e4, -1e4], [1.0, 0.0]), {}, 0.0),
            Extreme(([INF, -INF], [1.0, 0.0]), {}, 0.0),
            Extreme(([0.0, 0.0], [0.0, 0.0]), {"from_logits": False, "smooth": 0.0}, 0.0),
            Extreme(([[1e4, -1e4, -INF]], [0]), {"class_axis": -1, "smooth": 0.0}, [0.0, 0.0, 0.0]),
        ),
        "stress": Stress(
            rows, (4, 5), ({"axis": -1}, {"axis": -1, "smooth": 1.0}, {"axis": -1, "from_logits": False}), unit="row"
        ),
    }
    return Record(
        loss,
        draw_masks,
        set_oracle(formula),
        about=About(
            "Segmentation",
            "logits, no sigmoid or softmax (or `from_logits=False`)",
            "floats in [0, 1] of the same shape; with `class_axis` integer indices too",
            **names,
        ),
        like="" if loss is jaxloss.dice_loss else "dice_loss",
        sets=True,
        inner_with_classes=(1, 1),
        fits=set_fits,
        in_a_shard={"axis": -1},
        variants=({}, *variants),
        differentiable=(0, 1),
        reports=REPORTS,
        benchmark=Benchmark(
            plain,
            sizes=((8, 128, 128, 16),),
            optax=benchmark.get("optax_peer"),
            call=lambda *arrays: loss(*arrays, axis=(1, 2), **options),
            kernels=3.0,
        ),
        **(common | more),
    )


def plain_jaccard(xp: Any, logits: Any, target: Any) -> Any:
    p = 1 / (1 + xp.exp(-logits))
    overlap, total = (p * target).sum((1, 2)), (p + target).sum((1, 2))
    return (1 - (overlap + 1e-5) / (total - overlap + 1e-5)).mean()


def plain_tversky(xp: Any, logits: Any, target: Any) -> Any:
    p = 1 / (1 + xp.exp(-logits))
    overlap = (p * target).sum((1, 2))
    extra, missing = (p * (1 - target)).sum((1, 2)), ((1 - p) * target).sum((1, 2))
    return (1 - (overlap + 1e-5) / (overlap + 0.3 * extra + 0.7 * missing + 1e-5)).mean()


def plain_generalized_dice(xp: Any, logits: Any, labels: Any) -> Any:
    p, y = jax.nn.softmax(logits), jax.nn.one_hot(labels, logits.shape[-1])
    size = y.sum((1, 2))
    weight = xp.where(size > 0, 1 / xp.maximum(size, 1) ** 2, 0.0)
    overlap, total = (p * y).sum((1, 2)), (p + y).sum((1, 2))
    return (1 - 2 * (weight * overlap).sum(-1) / (weight * total).sum(-1)).mean()


def plain_lovasz(errors: Any, members: Any) -> Any:
    """Of one set, as its authors write it."""
    order = jnp.argsort(-errors)
    errors, members = errors[order], members[order]
    overlap, union = members.sum() - jnp.cumsum(members), members.sum() + jnp.cumsum(1 - members)
    losses = 1 - overlap / union
    return jnp.dot(errors, jnp.concatenate([losses[:1], losses[1:] - losses[:-1]]))


def plain_lovasz_hinge(xp: Any, logits: Any, target: Any) -> Any:
    errors = jax.nn.relu(1 - logits * (2 * target - 1))
    sets = [xp.moveaxis(part, -1, 1).reshape(-1, part.shape[1] * part.shape[2]) for part in (errors, target)]
    return jax.vmap(plain_lovasz)(*sets).mean()


def lovasz_hinge_of_images(logits: Any, target: Any) -> Any:
    return jaxloss.lovasz_hinge_loss(logits, target, axis=(1, 2))


def plain_lovasz_softmax(xp: Any, logits: Any, labels: Any) -> Any:
    """All classes are present."""
    classes = logits.shape[-1]
    p, y = jax.nn.softmax(logits).reshape(-1, classes), jax.nn.one_hot(labels.reshape(-1), classes)
    return jax.vmap(plain_lovasz, 1)(abs(p - y), y).mean()


def plain_boundary(xp: Any, logits: Any, distance: Any) -> Any:
    return (distance / (1 + xp.exp(-logits))).mean()


def on_a_grid(low: int, high: int, parts: int) -> Any:
    steps = hnp.arrays(np.int32, (4,), elements=st.integers(low, high), unique=True)
    return steps.map(lambda steps: (steps / parts).astype(np.float32))


def quarters(high: int) -> Any:
    steps = hnp.arrays(np.int32, (4, 3), elements=st.integers(-4 * high, 4 * high))
    return steps.map(lambda steps: (steps / 4).astype(np.float32))


def plain_skeleton(image: Any) -> Any:
    """As its authors write it, with pools."""

    def largest(image: Any, *window: int) -> Any:
        return jax.lax.reduce_window(image, -jnp.inf, jax.lax.max, (1, *window, 1), (1, 1, 1, 1), "SAME")

    joined = jnp.zeros_like(image)
    for _ in range(3):
        eroded = jnp.minimum(-largest(-image, 3, 1), -largest(-image, 1, 3))
        ridge = jax.nn.relu(image - largest(eroded, 3, 3))
        joined, image = joined + jax.nn.relu(ridge - joined * ridge), eroded
    return joined


def plain_cldice(xp: Any, logits: Any, target: Any) -> Any:
    p = 1 / (1 + xp.exp(-logits))
    thin, thin_target = plain_skeleton(p), plain_skeleton(target)
    precision = ((thin * target).sum((1, 2)) + 1) / (thin.sum((1, 2)) + 1)
    sensitivity = ((thin_target * p).sum((1, 2)) + 1) / (thin_target.sum((1, 2)) + 1)
    return (1 - 2 * precision * sensitivity / (precision + sensitivity)).mean()


RECORDS = (
    set_record(
        jaxloss.dice_loss,
        dice,
        plain_dice,
        (
            {"axis": -1, "smooth": 1.0},
            {"axis": [0, -1], "from_logits": False, "smooth": 0.0},
            {"class_axis": -1, "weight": [0.5, 2.0, 0.0, 1.0], "axis": 0},
            {"soft": "difference"},
        ),
        optax="binary_dice_loss",
        keras="Dice",
        optax_peer=optax_dice,
    ),
    set_record(jaxloss.jaccard_loss, jaccard, plain_jaccard, ({"class_axis": 1, "soft": "difference"},), note="IoU"),
    set_record(
        jaxloss.tversky_loss,
        tversky,
        plain_tversky,
        (
            {"alpha": 0.3, "beta": 0.7, "gamma": 0.75, "axis": -1},
            {"class_axis": -1, "axis": 0, "beta": 0.8, "soft": "difference"},
        ),
        traced=("alpha", "beta", "gamma", "smooth"),
        refuses=(option("alpha", -1.0), option("beta", -1.0), option("gamma", 0.0), option("smooth", -1.0), *REFUSES),
        options={"alpha": 0.3, "beta": 0.7},
        shown="alpha, beta, gamma",
        keras="Tversky",
    ),
    Record(
        jaxloss.generalized_dice_loss,
        draw_labels,
        generalized_dice_oracle,
        about=About(
            "Segmentation",
            "logits (..., classes), no softmax (or `from_logits=False`)",
            "integer indices (...), or floats in [0, 1] of the same shape",
            shown="weighting",
            optax="multiclass_generalized_dice_loss",
        ),
        sets=True,
        inner=(1, 0),
        two_ways=True,
        fits=lambda options, batch: bool(batch) or "axis" not in options,
        in_a_shard={"axis": -2},
        variants=(
            {"weighting": "simple"},
            {"axis": -2, "smooth": 0.0},
            {"weighting": "uniform", "smooth": 1.0},
        ),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        traced=("smooth",),
        refuses=(
            option("smooth", -1.0, (SCORES, INDICES)),
            option("weighting", "cubic", (SCORES, INDICES)),
            option("axis_name", "data", (SCORES, INDICES)),
            Bad((SCORES[:, :1], INDICES), {}, "`pred` must have at least two classes"),
        ),
        reports=(
            Bad((SCORES, INDICES + 3), {}, "`target` must hold class indices in \\[0, 3\\)"),
            Bad((SCORES, SCORES - 1), {}, "`target` must hold values in \\[0, 1\\]"),
            Bad((SCORES + 2, INDICES), {"from_logits": False}, "`pred` must hold values in \\[0, 1\\]"),
        ),
        stress=Stress(
            # Where each element is sure of a wrong class, all slopes are small beside what cancels in a softmax's.
            apart(numbers((4, 3), -4, 4), integers(0, 2, (4,))),
            (8, 16),
            ({"axis": -2}, {"axis": -2, "smooth": 0.0}),
            unit="row",
        ),
        extremes=(
            Extreme(([[1e4, -1e4], [-1e4, 1e4]], [0, 1]), {}, 0.0),
            Extreme(([[1e4, -INF], [-INF, 1e4]], [0, 1]), {"weighting": "simple"}, 0.0),
            Extreme(([[0.0, 1.0]], [[0.0, 0.0]]), {"from_logits": False, "smooth": 0.0}, 0.0),
            Extreme(([[0.5, 0.5], [0.25, 0.75]], [[1e-30, 0.0], [0.0, 0.0]]), {"from_logits": False}, 1.0),
        ),
        benchmark=Benchmark(
            plain_generalized_dice,
            sizes=((8, 128, 128, 16),),
            draw=lambda rng, *size: (3 * normal(rng, *size), rng.integers(0, size[-1], size[:-1], np.int32)),
            call=lambda *arrays: jaxloss.generalized_dice_loss(*arrays, axis=(1, 2), smooth=0.0),
            # 1 - p is a number of its own here, so that it has digits next to p = 1; the peer stores p alone.
            behind={"bfloat16 tpu": "bytes", "float32 gpu": "bytes and memory", "bfloat16 gpu": "bytes and memory"},
        ),
    ),
    Record(
        jaxloss.lovasz_hinge_loss,
        draw_masks,
        lovasz_hinge_oracle,
        about=About("Segmentation", "logits, no sigmoid", "floats, 0 or 1, of the same shape"),
        sets=True,
        fits=lambda options, batch: bool(batch) or "axis" not in options,
        variants=({"axis": -1}, {}),
        refuses=(option("axis", 2), option("axis", (0, 0))),
        reports=(
            Bad((FLOATS, FLOATS + 1), {}, "`target` must hold values in \\[0, 1\\]"),
            Bad((FLOATS, FLOATS / 2), {}, "`target` must hold 0 or 1, got values from 0.5"),
            Bad((SPREAD, np.ones(40, np.float32)), {}, "`pred` must hold logits", plausible=True),
        ),
        stress=Stress(
            apart(numbers((4,), -SUMMABLE, SUMMABLE), integers(0, 1, (4,)).map(np.float32)),
            (8, 8),
            ({"axis": -1},),
            unit="row",
        ),
        extremes=(
            Extreme(([1e4, -1e4], [1.0, 0.0]), {}, 0.0),
            Extreme(([INF, -INF], [1.0, 0.0]), {}, 0.0),
            Extreme(([1e4, -1e4], [0.0, 1.0]), {}, 10001.0),
            Extreme(([0.5, 0.25], [0.0, 0.0]), {}, 1.5),
        ),
        benchmark=Benchmark(
            plain_lovasz_hinge,
            sizes=((8, 128, 128, 4),),
            large=(16, 64, 32, 8),
            call=lovasz_hinge_of_images,
            # The peer sorts bfloat16, and counts in it.
            behind={"bfloat16 tpu": "bytes", "bfloat16 gpu": "bytes"},
        ),
    ),
    Record(
        jaxloss.lovasz_softmax_loss,
        draw_labels,
        lovasz_softmax_oracle,
        about=About("Segmentation", "logits (..., classes), no softmax", "integer indices (...)", shown="classes"),
        sets=True,
        inner=(1, 0),
        fits=lambda options, batch: bool(batch) or "axis" not in options,
        two_ways=True,
        variants=({"axis": -2}, {"classes": "all"}),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, -(2**31))),
        refuses=(
            option("classes", "some", (SCORES, INDICES)),
            option("class_axis", 2, (SCORES, INDICES)),
            Bad((SCORES, SCORES), {}, "`target` must hold integer class indices.*argmax"),
            Bad((SCORES[:, :1], INDICES), {}, "`pred` must have at least two classes"),
        ),
        reports=(
            Bad((SCORES, INDICES + 3), {}, "`target` must hold class indices in \\[0, 3\\)"),
            Bad((SCORES, INDICES - 1), {}, "`target` must hold class indices in \\[0, 3\\)"),
            Bad((SCORES + 1 / 3, INDICES), {}, "`pred` must hold logits, got probabilities", plausible=True),
        ),
        stress=Stress(
            # Two errors that are equal but for rounding come in either order: here they are equal, or apart.
            apart(quarters(4), integers(0, 2, (4,))),
            (8, 16),
            ({"axis": -2},),
            unit="row",
            examples=4,
        ),
        extremes=(
            Extreme(([[1e4, -1e4], [-1e4, 1e4]], [0, 1]), {}, [0.0, 0.0]),
            Extreme(([[1e4, -INF], [-INF, 1e4]], [0, 1]), {"classes": "all"}, [0.0, 0.0]),
            Extreme(([[1e4, -1e4], [-1e4, 1e4]], [0, 0]), {}, [0.5, 0.0]),
            Extreme(([[1e4, -1e4], [-1e4, 1e4]], [0, 0]), {"classes": "all"}, [0.5, 1.0]),
        ),
        benchmark=Benchmark(
            plain_lovasz_softmax,
            sizes=((2, 128, 128, 19),),
            # A compiler takes minutes for a sort of more.
            large=(4, 64, 32, 19),
            # As for the generalized Dice loss.
            behind={"float32 gpu": "bytes", "bfloat16 gpu": "bytes"},
            draw=lambda rng, *size: (3 * normal(rng, *size), rng.integers(0, size[-1], size[:-1], np.int32)),
        ),
    ),
    Record(
        jaxloss.boundary_loss,
        draw_distances,
        boundary_oracle,
        about=About(
            "Segmentation, boundaries",
            "logits, no sigmoid or softmax (or `from_logits=False`)",
            "the target's `signed_distance`",
        ),
        inner_with_classes=(1, 1),
        fits=lambda options, batch: True,
        variants=({}, {"class_axis": -1}, {"from_logits": False}),
        differentiable=(0, 1),
        elementwise=True,
        refuses=(
            option("class_axis", 2),
            Bad((FLOATS, FLOATS > 0), {}, "`target` must be floating.*signed_distance"),
        ),
        reports=(
            Bad((SPREAD, np.ones(40, np.float32)), {}, "`pred` must hold logits", plausible=True),
            Bad((FLOATS + 1, FLOATS), {"from_logits": False}, "`pred` must hold values in \\[0, 1\\]"),
        ),
        stress=Stress(
            lambda options: st.tuples(
                numbers((), -80) if options.get("from_logits", True) else numbers((), 0, 1),
                numbers((), -SUMMABLE, SUMMABLE),
            ),
            (4, 4),
            ({}, {"from_logits": False}),
        ),
        extremes=(
            Extreme(([1e4, -1e4, INF, -INF], [-3.0, 5.0, 2.0, 2.0]), {}, [-3.0, 0.0, 2.0, 0.0]),
            Extreme(([[1e4, -1e4, -INF]], [[-3.0, 5.0, 2.0]]), {"class_axis": -1}, [-3.0]),
        ),
        benchmark=Benchmark(plain_boundary, sizes=((8, 128, 128, 16),)),
    ),
    Record(
        jaxloss.soft_cldice_loss,
        draw_tubes,
        cldice_oracle,
        about=About(
            "Segmentation, thin structures",
            "logits, no sigmoid or softmax (or `from_logits=False`)",
            "floats in [0, 1] of the same shape; with `class_axis` integer indices too",
            shown="iterations",
        ),
        sets=True,
        fits=lambda options, batch: bool(batch),
        variants=(
            {"spatial_axes": -1, "axis": -1},
            {"spatial_axes": -1, "iterations": 1, "smooth": 0.0, "from_logits": False},
        ),
        traced=("smooth",),
        refuses=(
            option("smooth", -1.0),
            option("iterations", -1),
            option("spatial_axes", ()),
            option("spatial_axes", 2),
            Bad((SCORES, INDICES), {"class_axis": -1}, "`spatial_axes`.*none of them `class_axis`", ValueError),
        ),
        reports=(
            Bad((FLOATS, FLOATS + 1), {}, "`target` must hold values in \\[0, 1\\], got values from 2"),
            Bad((FLOATS + 1, FLOATS), {"from_logits": False}, "`pred` must hold values in \\[0, 1\\]"),
        ),
        stress=Stress(
            # A skeleton is a difference of neighbours, and so is every choice of the least: they are apart.
            apart(on_a_grid(-40, 40, 5), on_a_grid(0, 20, 20)),
            (16, 32),
            ({"spatial_axes": -1, "axis": -1},),
            unit="row",
            examples=8,
        ),
        extremes=(
            Extreme(([1e4, -1e4, 1e4], [1.0, 0.0, 1.0]), {"spatial_axes": 0}, 0.0),
            Extreme(([INF, -INF, -INF], [1.0, 0.0, 0.0]), {"spatial_axes": 0}, 0.0),
            Extreme(([1.0, 0.0, 0.0], [0.0, 0.0, 1.0]), {"spatial_axes": 0, "smooth": 0.0, "from_logits": False}, 1.0),
            Extreme(([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]), {"spatial_axes": 0, "smooth": 0.0, "from_logits": False}, 0.0),
        ),
        benchmark=Benchmark(
            plain_cldice,
            sizes=((8, 128, 128, 4),),
            # With 3 iterations a GPU holds 13 times what is read and written, in bfloat16; its peer 16 times.
            call=lambda *arrays: jaxloss.soft_cldice_loss(*arrays, spatial_axes=(1, 2), iterations=2, axis=(1, 2)),
            # In float32; the peer's images are bfloat16. A TPU has windows, which have no derivative forwards.
            behind={"float32 tpu": "bytes", "bfloat16 tpu": "bytes and memory", "bfloat16 gpu": "bytes"},
        ),
    ),
)
