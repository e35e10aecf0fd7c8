"""Type checkers read `tests/typing/calls.py`; here it runs, with the annotations enforced."""

import inspect
import operator
import pathlib
import re
import types
import typing

import jax
import pytest

import jaxloss
from jaxloss import reductions
from tests.typing import calls


@pytest.mark.parametrize("family", [calls.regression, calls.classification, calls.margin, calls.others])
def test_what_type_checkers_accept_is_accepted(family):
    """Traced, because it is their numbers that other tests judge, and compiling takes long."""
    assert jax.eval_shape(family)


def test_every_kind_of_parameter_is_among_the_calls():
    """Losses whose parameters are typed alike are one to a type checker: one call stands for all of them."""
    called = set(re.findall(r"\bjaxloss\.([\w.]+)\(", pathlib.Path(calls.__file__).read_text()))
    public = {name for name in jaxloss.__all__ if inspect.isfunction(getattr(jaxloss, name))}
    assert parameters(called) == parameters(public | {f"reductions.{name}" for name in reductions.NAMED})


def parameters(names):
    functions = (operator.attrgetter(name)(jaxloss) for name in names)
    return {seen(each.annotation) for function in functions for each in inspect.signature(function).parameters.values()}


def seen(annotation):
    """The types of which an annotation is a union. Shapes and dtypes are jaxtyping's: no type checker sees them."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return frozenset().union(*map(seen, typing.get_args(annotation)))
    return frozenset([getattr(annotation, "array_type", str(annotation))])
