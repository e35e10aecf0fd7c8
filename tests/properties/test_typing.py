"""Type checkers read `tests/typing/calls.py`; here it runs, with the annotations enforced."""

import inspect
import pathlib
import re

import jax
import pytest

import jaxloss
from jaxloss import reductions
from tests.typing import calls


@pytest.mark.parametrize("family", [calls.regression, calls.classification, calls.margin, calls.others])
def test_what_type_checkers_accept_is_accepted(family):
    """Traced, because it is their numbers that other tests judge, and compiling takes long."""
    assert jax.eval_shape(family)


def test_every_public_function_is_among_the_calls():
    called = set(re.findall(r"\bjaxloss\.([\w.]+)\(", pathlib.Path(calls.__file__).read_text()))
    public = {name for name in jaxloss.__all__ if inspect.isfunction(getattr(jaxloss, name))}
    assert called == public | {f"reductions.{name}" for name in reductions.NAMED}
