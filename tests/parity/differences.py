"""What differs from PyTorch on purpose, in its own samples. README, "Coming from PyTorch", says the same to users."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from tests.parity.adapters import (
    Loss,
    batch_of_one,
    broadcast,
    cast,
    in_two_steps,
    one_class,
    padded,
    weighted_elements,
)
from tests.parity.samples import Sample, differentiable


class Refused(NamedTuple):
    """A call that jaxloss refuses; what to write instead gives PyTorch's numbers."""

    reason: str
    names: tuple[str, ...]
    holds: Callable[[Sample], bool]
    instead: Callable[[Loss], Loss]


class Different(NamedTuple):
    """A call whose result is another: of the sample, a reduction and PyTorch's value and gradients, it makes ours."""

    reason: str
    names: tuple[str, ...]
    holds: Callable[[Sample], bool]
    ours: Callable[[Sample, str, list[np.ndarray]], list[np.ndarray]]


def shape_of(sample: Sample, name: str) -> tuple[int, ...]:
    return tuple(sample.tensors[name].shape)


def integer_target(sample: Sample) -> bool:
    return not sample.tensors["target"].is_floating_point()


def nothing_is_kept(sample: Sample) -> bool:
    index = sample.options.get("ignore_index")
    return bool((sample.tensors["target"] == (-100 if index is None else index)).all())


def nan_predictions(sample: Sample) -> np.ndarray:
    """Where an input that is no target is NaN."""
    inputs = [tensor.detach().numpy() for name, tensor in sample.tensors.items() if name != "target"]
    return np.logical_or.reduce(np.broadcast_arrays(*map(np.isnan, inputs)))


DIFFERENCES: list[Refused | Different] = [
    Refused(
        "nothing broadcasts",
        ("gaussian_nll_loss", "hinge_embedding_loss"),
        lambda sample: shape_of(sample, "target") != shape_of(sample, "input"),
        broadcast("target"),
    ),
    Refused(
        "nothing broadcasts",
        ("margin_ranking_loss",),
        lambda sample: shape_of(sample, "target") != shape_of(sample, "input1"),
        broadcast("input2", "target"),
    ),
    Refused(
        "targets of -1 and 1, or of 0 and 1, are floats",
        ("MarginRankingLoss", "MultiLabelSoftMarginLoss"),
        integer_target,
        cast,
    ),
    Refused(
        "scores have a class axis",
        ("multi_margin_loss", "multilabel_margin_loss"),
        lambda sample: shape_of(sample, "input") == (),
        one_class,
    ),
    Refused(
        "the target of a single example is one index, not a list of one",
        ("multi_margin_loss",),
        lambda sample: len(shape_of(sample, "input")) == 1 and shape_of(sample, "target") == (1,),
        batch_of_one,
    ),
    Refused(
        "`weight` has one number a class",
        ("multilabel_soft_margin_loss",),
        lambda sample: "weight" in sample.tensors and len(shape_of(sample, "weight")) > 1,
        weighted_elements,
    ),
    Refused(
        "a kernel has two axes",
        ("linear_cross_entropy", "LinearCrossEntropyLoss"),
        lambda sample: len(shape_of(sample, "linear_weight")) > 2,
        in_two_steps,
    ),
    Refused(
        "indices only; soft_target_cross_entropy takes probabilities",
        ("linear_cross_entropy", "LinearCrossEntropyLoss"),
        lambda sample: not integer_target(sample),
        in_two_steps,
    ),
    Refused(
        "targets are padded, not concatenated",
        ("CTCLoss",),
        lambda sample: len(shape_of(sample, "targets")) == 1,
        padded,
    ),
    Different(
        "a mean over nothing is 0, with gradient 0",
        ("nll_loss", "CrossEntropyLoss", "LinearCrossEntropyLoss"),
        nothing_is_kept,
        lambda sample, reduction, theirs: [
            np.nan_to_num(array, nan=0.0) if reduction == "mean" else array for array in theirs
        ],
    ),
    Different(
        "the gradient of a prediction that is NaN is NaN",
        ("hinge_embedding_loss", "margin_ranking_loss", "KLDivLoss"),
        lambda sample: bool((nan_predictions(sample) & ~sample.tensors["target"].isnan().numpy()).any()),
        lambda sample, reduction, theirs: [
            theirs[0],
            *(
                gradient if name == "target" else np.where(nan_predictions(sample), np.nan, gradient)
                for name, gradient in zip(differentiable(sample), theirs[1:], strict=True)
            ),
        ],
    ),
]


Kind = TypeVar("Kind", Refused, Different)


def difference_of(kind: type[Kind], sample: Sample) -> Kind | None:
    """The first in the table."""
    found = (
        each for each in DIFFERENCES if isinstance(each, kind) and sample.name in each.names and each.holds(sample)
    )
    return next(found, None)
