"""The reports of the wall that PyTorch itself still shows. Collected only where torch is installed."""

import functools

import numpy as np
import pytest
import torch  # pyright: ignore[reportMissingImports] an extra of its own

import jaxloss
from tests.wall.test_known_bugs import INF, NAN, graded, holds

PYTORCH = "https://github.com/pytorch/pytorch/issues/"
REDUCED = {"reduction": "sum"}
IGNORED = {"ignore_index": -100}


def graded_by_torch(loss, pred, *rest, **options):
    pred = torch.tensor(pred, requires_grad=True)
    value = loss(pred, *map(torch.tensor, rest), **options)
    return value.detach().numpy(), torch.autograd.grad(value, pred)[0].numpy()


@pytest.mark.parametrize(
    ("report", "loss", "arrays", "options", "value", "gradient"),
    [
        (PYTORCH + "116349", "cross_entropy", ([[1.0, 2.0]], [-100]), IGNORED, 0, [[0, 0]]),
        (PYTORCH + "49844", "binary_cross_entropy_with_logits", ([-INF], [0.0]), {}, 0, [0]),
        (PYTORCH + "102894", "binary_cross_entropy_with_logits", ([INF], [1.0]), {}, 0, [0]),
        (
            "https://github.com/google-deepmind/optax/pull/1786",
            "kl_div",
            ([-INF, 0.0], [0.0, 1.0]),
            REDUCED,
            0,
            [0, -1],
        ),
        ("https://github.com/tracel-ai/burn/issues/5373", "soft_margin_loss", ([200.0], [-1.0]), {}, 200, [1]),
        (
            PYTORCH + "184036",
            "triplet_margin_loss",
            ([[0.0, 0.0]], [[0.0, 4.0]], [[0.0, 3.0]]),
            {"p": 100.0, "eps": 0.0},
            2,
            [[0, 0]],
        ),
    ],
)
def test_what_is_not_finite_in_pytorch_is_right_here(report, loss, arrays, options, value, gradient):
    """One report a row."""
    theirs = graded_by_torch(getattr(torch.nn.functional, loss), *arrays, **options)
    assert not all(np.isfinite(part).all() for part in theirs), report
    holds(graded(getattr(jaxloss, loss), *arrays, **options), value, gradient)


def test_what_broadcasts_in_pytorch_is_refused_here():
    """https://github.com/pytorch/pytorch/issues/16413"""
    row, column = np.array([1.0, 2.0, 3.0], np.float32), np.array([[1.0], [2.0], [3.0]], np.float32)
    with pytest.warns(UserWarning, match="target size"):
        theirs = torch.nn.functional.mse_loss(torch.tensor(row), torch.tensor(column))
    np.testing.assert_allclose(theirs, 4 / 3, rtol=1e-6)
    with pytest.raises(AssertionError, match="target"):
        jaxloss.mse_loss(row, column)


def test_a_missing_target_that_pytorch_masks_afterwards():
    """https://github.com/pytorch/pytorch/issues/121416"""
    keep, arrays = np.array([True, False]), ([1.0, 0.0], [0.0, NAN])
    rows = functools.partial(torch.nn.functional.mse_loss, reduction="none")
    value, gradient = graded_by_torch(lambda x, y: rows(x, y)[torch.tensor(keep)].sum(), *arrays)
    assert value == 1
    assert np.isnan(gradient[1])
    holds(graded(jaxloss.mse_loss, *arrays, where=keep), 1, [2, 0])


def test_a_large_batch_in_float16_that_overflows_in_pytorch():
    """https://github.com/pytorch/pytorch/issues/85791"""
    logits, target = np.zeros((1, 3, 70_000), np.float16), np.zeros((1, 70_000), int)
    assert not np.isfinite(graded_by_torch(torch.nn.functional.cross_entropy, logits, target)[0])
    gradient = np.tile([[-2 / 3], [1 / 3], [1 / 3]], 70_000)[None] / 70_000
    holds(graded(jaxloss.cross_entropy, logits, target, axis=1), np.log(3), gradient, 0.01)


def test_the_mean_divergence_that_pytorch_divides_by_elements():
    """https://github.com/pytorch/pytorch/issues/2259"""
    target, p = np.array([[0.5, 0.5], [0.0, 1.0]], np.float32), np.full((2, 2), 0.5, np.float32)
    with pytest.warns(UserWarning, match="batchmean"):
        theirs = torch.nn.functional.kl_div(torch.tensor(np.log(p)), torch.tensor(target))
    np.testing.assert_allclose(theirs, np.log(2) / 4, rtol=1e-6)
    holds(graded(jaxloss.kl_div, np.log(p), target), np.log(2) / 2, -target / 2)
