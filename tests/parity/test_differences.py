"""What differs from PyTorch on purpose and no sample of PyTorch's shows, as README's "Coming from PyTorch" says."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch  # pyright: ignore[reportMissingImports] an extra of its own

import jaxloss
from tests.parity.adapters import ADAPTERS

INF, NAN = math.inf, math.nan
LOG_HALF = np.full((3, 1, 2), math.log(0.5))


class Case(NamedTuple):
    """A call, and in each library the sum of the losses and the gradients to the first arrays of floats."""

    says: str
    name: str
    arrays: dict[str, Any]
    options: dict[str, Any]
    theirs: Any  # an exception, or None for a number that means nothing
    ours: Any


OUT_OF_RANGE = {"input": [[0.0, 1.0]], "target": [2]}
CASES = [
    Case("out of range is NaN", "cross_entropy", OUT_OF_RANGE, {}, IndexError, [NAN, [[NAN, NAN]]]),
    Case("out of range is NaN", "nll_loss", OUT_OF_RANGE, {}, IndexError, [NAN, [[NAN, NAN]]]),
    Case("out of range is NaN", "multi_margin_loss", OUT_OF_RANGE, {}, RuntimeError, [NAN, [[NAN, NAN]]]),
    Case(
        "out of range is NaN",
        "multilabel_margin_loss",
        {"input": [[0.0, 1.0]], "target": [[2, -1]]},
        {},
        RuntimeError,
        [NAN, [[NAN, NAN]]],
    ),
    Case(
        "a logit of -inf with probability 0 costs 0",
        "cross_entropy",
        {"input": [[0.0, -INF]], "target": [[1.0, 0.0]]},
        {},
        [NAN, [[0.0, 0.0]], [[0.0, INF]]],
        [0.0, [[0.0, 0.0]], [[0.0, 0.0]]],
    ),
    Case(
        "an infinite logit on the right side costs 0",
        "binary_cross_entropy_with_logits",
        {"input": [INF], "target": [1.0]},
        {},
        [NAN, [0.0], [-INF]],
        [0.0, [0.0], [-INF]],
    ),
    Case(
        "an infinite logit on the right side costs 0",
        "multilabel_soft_margin_loss",
        {"input": [[INF]], "target": [[1.0]]},
        {},
        [NAN, [[0.0]], [[-INF]]],
        [0.0, [[0.0]], [[-INF]]],
    ),
    Case(
        "the gradient to a target is at most 100",
        "binary_cross_entropy",
        {"input": [0.0, 1.0], "target": [0.0, 1.0]},
        {},
        [0.0, [0.0, 0.0], [INF, -INF]],
        [0.0, [0.0, 0.0], [100.0, -100.0]],
    ),
    Case(
        "what is no probability is NaN",
        "binary_cross_entropy",
        {"input": [1.5], "target": [1.0]},
        {},
        RuntimeError,
        [NAN, [NAN], [NAN]],
    ),
    Case(
        "a target out of range is NaN",
        "binary_cross_entropy",
        {"input": [0.5], "target": [2.0]},
        {},
        RuntimeError,
        [NAN, [NAN], [NAN]],
    ),
    Case(
        "a probability of 0 costs 0, with a finite gradient",
        "kl_div",
        {"input": [[-INF, 0.0]], "target": [[0.0, 1.0]]},
        {},
        [NAN, [[0.0, -1.0]], [[NAN, 1.0]]],
        [0.0, [[0.0, -1.0]], [[0.0, 1.0]]],
    ),
    Case(
        "a negative variance is NaN",
        "gaussian_nll_loss",
        {"input": [1.0], "target": [1.0], "var": [-1.0]},
        {},
        ValueError,
        [NAN, [NAN], [NAN], [NAN]],
    ),
    Case(
        "a count of 0 at a rate of 0 costs 0",
        "poisson_nll_loss",
        {"input": [0.0], "target": [0.0]},
        {"log_input": False, "eps": 0.0},
        [NAN, [NAN], [INF]],
        [0.0, [1.0], [0.0]],
    ),
    Case(
        "the full loss has a gradient to a count of 0",
        "poisson_nll_loss",
        {"input": [0.0], "target": [0.0]},
        {"full": True},
        [1.0, [1.0], [NAN]],
        [1.0, [1.0], [0.0]],
    ),
    Case(
        "a target that is neither -1 nor 1 is NaN",
        "cosine_embedding_loss",
        {"input1": [[1.0, 0.0]], "input2": [[0.0, 1.0]], "target": [0.0]},
        {},
        [0.0, [[0.0, 0.0]], [[0.0, 0.0]]],
        [NAN, [[NAN, NAN]], [[NAN, NAN]]],
    ),
    Case(
        "the gradient is 0 where the loss is",
        "cosine_embedding_loss",
        {"input1": [[1.0, 0.0]], "input2": [[0.0, 1.0]], "target": [-1.0]},
        {},
        [0.0, [[0.0, 1.0]], [[1.0, 0.0]]],
        [0.0, [[0.0, 0.0]], [[0.0, 0.0]]],
    ),
    Case(
        "the gradient is 0 where the loss is",
        "triplet_margin_loss",
        {"anchor": [[0.0]], "positive": [[1.0]], "negative": [[2.0]]},
        {"eps": 0.0},
        [0.0, [[0.0]], [[1.0]], [[-1.0]]],
        [0.0, [[0.0]], [[0.0]], [[0.0]]],
    ),
    Case(
        "a large logit has a finite loss",
        "soft_margin_loss",
        {"input": [-800.0], "target": [1.0]},
        {},
        [INF, [NAN]],
        [800.0, [-1.0]],
    ),
    Case(
        "a sequence too short for its labels has gradient 0",
        "ctc_loss",
        {"log_probs": LOG_HALF, "targets": [[1, 1, 1]], "input_lengths": [3], "target_lengths": [3]},
        {},
        [INF, 3 * [[[NAN, NAN]]]],
        [INF, 3 * [[[0.0, 0.0]]]],
    ),
    Case(
        "a label that is blank is NaN",
        "ctc_loss",
        {"log_probs": LOG_HALF, "targets": [[0]], "input_lengths": [3], "target_lengths": [1]},
        {},
        None,
        [NAN, 3 * [[[NAN, NAN]]]],
    ),
    Case(
        "logits are normalised",
        "ctc_loss",
        {"log_probs": LOG_HALF + 1, "targets": [[1]], "input_lengths": [3], "target_lengths": [1]},
        {},
        None,
        [-math.log(3 / 4), [[[0.0, 0.0]], [[1 / 6, -1 / 6]], [[0.0, 0.0]]]],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}: {case.says}" for case in CASES])
def test_each_library_does_what_the_table_says(case):
    arrays = {name: np.asarray(array) for name, array in case.arrays.items()}
    floats = [name for name, array in arrays.items() if array.dtype.kind == "f"][: len(case.ours) - 1]
    tensors = {name: torch.tensor(array, requires_grad=name in floats) for name, array in arrays.items()}

    def theirs():
        value = getattr(torch.nn.functional, case.name)(**tensors, **case.options, reduction="sum")
        gradients = torch.autograd.grad(value, [tensors[name] for name in floats])
        return [value.item(), *(gradient.numpy() for gradient in gradients)]

    def ours(*moving):
        given = arrays | dict(zip(floats, moving, strict=True))
        return ADAPTERS[case.name](**given, **case.options, reduction="sum")

    if isinstance(case.theirs, list):
        for actual, expected in zip(theirs(), case.theirs, strict=True):
            np.testing.assert_allclose(actual, expected)
    elif case.theirs:
        with pytest.raises(case.theirs):
            theirs()
    with jax.enable_x64(True):
        arrays = {name: jnp.asarray(array) for name, array in arrays.items()}
        value, gradients = jax.value_and_grad(ours, tuple(range(len(floats))))(*(arrays[name] for name in floats))
        for actual, expected in zip([value, *gradients], case.ours, strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_the_mean_over_nothing_is_0_with_gradient_0():
    empty = np.zeros((0, 3), np.float32)
    for name in ("mse_loss", "binary_cross_entropy", "hinge_embedding_loss", "multilabel_soft_margin_loss"):
        theirs = getattr(torch.nn.functional, name)(torch.tensor(empty), torch.tensor(empty), reduction="mean")
        assert theirs.isnan(), name
        assert ADAPTERS[name](input=jnp.asarray(empty), target=jnp.asarray(empty), reduction="mean") == 0, name


def test_half_precision_gives_float32():
    pred, target = np.ones((2, 2, 3), np.float16)
    assert torch.nn.functional.mse_loss(torch.tensor(pred), torch.tensor(target)).dtype == torch.float16
    assert jaxloss.mse_loss(pred, target).dtype == jnp.float32


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
def test_kl_div_is_a_batchmean_by_default():
    pred, target = np.log(np.full((2, 3), 1 / 3)), np.eye(3)[:2]
    theirs = torch.nn.functional.kl_div(torch.tensor(pred), torch.tensor(target))
    np.testing.assert_allclose(jaxloss.kl_div(pred.astype("float32"), target.astype("float32")), 3 * theirs, rtol=1e-5)


def test_class_indices_have_any_integer_dtype():
    """PyTorch takes int64 and uint8."""
    pred = np.array([[1.0, 2.0, 4.0]], np.float32)
    for dtype in ("int8", "int16", "int32", "uint8", "uint32"):
        theirs = torch.nn.functional.cross_entropy(torch.tensor(pred), torch.tensor([2]))
        np.testing.assert_allclose(jaxloss.cross_entropy(pred, np.array([2], dtype)), theirs, rtol=1e-6)
    with pytest.raises(RuntimeError, match="Long or Byte"):
        torch.nn.functional.cross_entropy(torch.tensor(pred), torch.tensor([2], dtype=torch.int32))


def test_no_index_is_ignored_unless_named():
    pred, target = np.zeros((2, 3), np.float32), np.array([0, -100])
    theirs = torch.nn.functional.cross_entropy(torch.tensor(pred), torch.tensor(target))
    assert np.isnan(jaxloss.cross_entropy(pred, target))
    np.testing.assert_allclose(jaxloss.cross_entropy(pred, target, ignore_index=-100), theirs, rtol=1e-6)
