"""What the records of several families share: draws, formulas, wrong calls."""

from typing import Any

import numpy as np

from tests.catalogue.domains import LARGEST, apart, integers, numbers
from tests.catalogue.record import INF, NAN, Arrays, Bad


def insert(batch: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    axis %= len(batch) + 1
    return (*batch[:axis], size, *batch[axis:])


def axis_fits(options: dict[str, Any], batch: tuple[int, ...]) -> bool:
    """A class axis stands among the axes of the batch, or before or behind them."""
    return -len(batch) - 1 <= options.get("axis", -1) <= len(batch)


def weights_fit(options: dict[str, Any], batch: tuple[int, ...]) -> bool:
    """Weights of elements broadcast to the batch."""
    shapes = [np.shape(value) for value in options.values()]
    return all(
        size in (1, of) for shape in shapes for size, of in zip(shape, batch[-len(shape) :], strict=False)
    ) and all(len(shape) <= len(batch) for shape in shapes)


def draw_class_logits(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    classes = len(options["weight"]) if "weight" in options else 5
    target = rng.integers(0, classes, size=batch)
    if "ignore_index" in options:
        target = np.where(rng.random(size=batch) < 0.3, options["ignore_index"], target)
    return 3 * rng.normal(size=insert(batch, options.get("axis", -1), classes)), target


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
    return np.where(keep, -(smooth * weight * log_p).sum(-1), 0), keep * (one_hot * weight).sum(-1)


def draw_binary_logits(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    target = np.where(rng.random(size=batch) < 0.5, rng.integers(0, 2, size=batch), rng.random(size=batch))
    return 3 * rng.normal(size=batch), target


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce_oracle(pred, target, weight=None, pos_weight=None):
    positive = -np.log(sigmoid(pred)) * np.asarray(1.0 if pos_weight is None else pos_weight)
    values = target * positive - (1 - target) * np.log(sigmoid(-pred))
    return values * np.asarray(1.0 if weight is None else weight)


def fractions(numbers: np.ndarray) -> np.ndarray:
    """Probabilities stay as they are if all are; class indices always do."""
    is_outside = numbers.dtype.kind == "f" and ((numbers < 0) | (numbers > 1)).any()
    return numbers - np.floor(numbers) if is_outside else numbers


def signs(numbers: np.ndarray) -> np.ndarray:
    return np.where(numbers < 0, -1, 1).astype(numbers.dtype)


def torch_classes(nn, pred, target, *, axis=-1, **options):
    return nn.cross_entropy(pred.movedim(axis, min(1, pred.ndim - 1)), target, **options)


# What garbage may stand under a mask.
ANYTHING = (NAN, INF, -INF, 1e30)
# Where a loss adds and subtracts a few numbers before it is done, none of these overflows on the way.
SUMMABLE = LARGEST / 32
SCORED = apart(numbers((4,), -SUMMABLE, SUMMABLE), integers(0, 3))
FLOATS = np.ones((3, 4), np.float32)
LIKELY = -FLOATS
LOGITS = np.zeros((3, 5), np.float32)
LABELS = np.zeros(3, np.int32)
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


def above_0(name: str, position: int, how_many: int, more: tuple[Any, ...] = ()) -> Bad:
    """Of the wrong sign. Single numbers may round to one above 0: they are computed as they are."""
    args = [LIKELY] * how_many
    args[position] = 3 * FLOATS
    return Bad(
        (*args, *more), {}, f"`{name}` must hold log-probabilities, at most 0, got values from 3", plausible=True
    )
