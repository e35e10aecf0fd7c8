"""Against PyTorch, in float64 and float32. Collected only where torch is installed (the `parity` extra)."""

import functools
import inspect

import jax
import numpy as np
import pytest
import torch  # pyright: ignore[reportMissingImports] an extra of its own

from tests.support import CASES, as_arrays, as_option, assert_close, values_and_gradients

IN_TORCH = [case for case in CASES if case.record.about.torch]


def in_torch(record):
    nn = torch.nn.functional
    return functools.partial(record.torch, nn) if record.torch else getattr(nn, record.name)


def as_torch(value):
    """Lists of numbers become tensors, as they become arrays in JAX."""
    array = as_option(value)
    return value if array is value else torch.tensor(value, dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("case", IN_TORCH, ids=[case.name for case in IN_TORCH])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_value_and_gradient_agree_with_pytorch(case, dtype, tolerance):
    drawn = [array.astype(dtype) if array.dtype.kind == "f" else array for array in case.draw()]
    tensors = [torch.tensor(array.astype(np.float64) if array.dtype.kind == "f" else array) for array in drawn]
    options = {name: as_torch(value) for name, value in case.options.items()}
    for name, value in options.items():
        if name in ("weight", "pos_weight") and isinstance(value, float):
            options[name] = torch.tensor(value, dtype=torch.float64)
    with jax.enable_x64(dtype == "float64"):
        values, gradients = values_and_gradients(case, as_arrays(drawn, dtype))
        for reduction, value in values.items():
            theirs = in_torch(case.record)(*tensors, reduction=reduction, **options)
            assert_close(value, theirs.numpy(), tolerance)
        for position in case.record.differentiable:
            tensors[position].requires_grad_()
        in_torch(case.record)(*tensors, reduction=case.record.default_reduction, **options).backward()
        for position, gradient in zip(case.record.differentiable, gradients, strict=True):
            assert_close(gradient, tensors[position].grad.numpy(), tolerance)


def test_every_loss_that_pytorch_has_is_compared():
    ours = {case.record.name for case in CASES}
    theirs = {name for name in ours if inspect.isfunction(getattr(torch.nn.functional, name, None))}
    compared = {case.record.name for case in IN_TORCH}
    assert theirs <= compared
