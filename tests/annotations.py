"""The tests run with the annotations of the public functions enforced: what a function accepts, they admit."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype

import jaxloss
from jaxloss import reductions


def enforce() -> None:
    """From here on each call of a public function, and what it returns, is held against the annotations."""
    for name in jaxloss.__all__:
        if inspect.isfunction(function := getattr(jaxloss, name)):
            setattr(jaxloss, name, enforced(function))
            setattr(sys.modules[function.__module__], name, getattr(jaxloss, name))
    for name, function in reductions.NAMED.items():
        reductions.NAMED[name] = enforced(function)
        setattr(reductions, name, reductions.NAMED[name])


def enforced(function: Callable[..., Any]) -> Callable[..., Any]:
    checked = jaxtyping.jaxtyped(typechecker=beartype)(function)

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return checked(*args, **options)
        except jaxtyping.TypeCheckError:
            function(*args, **options)  # What they exclude it refuses, in its own words.
            raise

    return call
