"""All samples of PyTorch's own tests of its losses, through both libraries."""

import inspect

import pytest
import torch  # pyright: ignore[reportMissingImports] an extra of its own

import jaxloss
from tests.parity.compare import compare
from tests.parity.differences import DIFFERENCES
from tests.parity.samples import FUNCTION_OF, NAMES, RECORDS


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_agrees_or_differs_for_a_listed_reason(name):
    outcomes = compare(name)
    assert any(kind == "passed" or kind == "refused" for kind, _ in outcomes)


def test_every_loss_that_pytorch_has_takes_part():
    functions = {name for name in jaxloss.__all__ if inspect.isfunction(getattr(torch.nn.functional, name, None))}
    modules = {name for name in dir(torch.nn) if name.endswith("Loss")}
    not_ours = {"AdaptiveLogSoftmaxWithLoss", "NLLLoss2d"}  # a layer; a name of the past for NLLLoss
    assert functions == RECORDS.keys()
    assert modules - not_ours == FUNCTION_OF.keys()
    assert {name for each in DIFFERENCES for name in each.names} <= set(NAMES)
