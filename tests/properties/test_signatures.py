"""The package as a whole: what is public, how it is spelled, what its documentation says."""

import graphlib
import inspect
import itertools

import pytest

import jaxloss
from tests.catalogue import TABLE

every_record = pytest.mark.parametrize("record", TABLE, ids=[record.name for record in TABLE])


def options_of(loss):
    return [p.name for p in inspect.signature(loss).parameters.values() if p.kind is p.KEYWORD_ONLY]


def test_every_public_loss_has_a_record():
    public = {name for name in jaxloss.__all__ if inspect.isfunction(getattr(jaxloss, name))}
    # They are no losses, but a sum of them and what one takes.
    others = {
        "weighted_sum",
        "group_advantages",
        "dino_center",
        "token_log_probs",
        "linear_token_log_probs",
        "signed_distance",
    }
    assert public - others == {record.name for record in TABLE}
    assert len(TABLE) == len({record.name for record in TABLE})


@every_record
def test_signatures_are_of_one_form(record):
    parameters = inspect.signature(record.loss).parameters
    options = options_of(record.loss)
    assert tuple(parameters)[: len(record.arrays)] == record.arrays
    assert len(record.arrays) + len(options) == len(parameters)
    assert options[-2:] == ["where", "reduction"]
    assert options[-3:-2] == ["sample_weight"] or "sample_weight" not in options
    assert all(p.annotation is not p.empty for p in parameters.values())
    assert all(p.default is None for name, p in parameters.items() if name in ("where", "sample_weight"))
    assert parameters["reduction"].default == record.default_reduction
    assert ("class_axis_name" in options) == bool(record.sharded_classes)


def test_options_have_one_order():
    """A reader who knows one function knows all: no two order the same options differently."""
    before = {}
    for record in TABLE:
        for one, other in itertools.pairwise(options_of(record.loss)):
            before.setdefault(other, set()).add(one)
    list(graphlib.TopologicalSorter(before).static_order())  # which raises for a cycle


@every_record
def test_docstrings_are_complete(record):
    loss = record.loss
    text = inspect.getdoc(loss) or ""
    for part in ("Args:", "Returns:", "Raises:", "PyTorch:", "Reference:", ">>> "):
        assert part in text
    for name in inspect.signature(loss).parameters:
        assert f"\n    {name}: " in text
    family = getattr(jaxloss, loss.__module__.split(".")[-1])
    assert getattr(family, loss.__name__) is loss
