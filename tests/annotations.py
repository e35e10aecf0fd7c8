"""The tests run with the annotations of the public functions enforced: what a function accepts, they admit."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jax.export import is_symbolic_dim

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


def fits(function: Callable[..., Any], args: Any, options: Any) -> bool:
    try:
        inspect.signature(function).bind(*args, **options)
    except TypeError:
        return False
    return True


def has_symbolic_size(value: Any) -> bool:
    return any(map(is_symbolic_dim, getattr(value, "shape", ())))


def enforced(function: Callable[..., Any]) -> Callable[..., Any]:
    # Not as jaxtyping's `typechecker`: it would make up a function for each argument of a call that is refused.
    checked = jaxtyping.jaxtyped(typechecker=None)(beartype(function))

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **options)
        if any(map(has_symbolic_size, (*args, *options.values()))) or not fits(function, args, options):
            # Whether two symbols are equal jaxtyping cannot always say, and what Python refuses it does not name.
            return function(*args, **options)
        try:
            return checked(*args, **options)
        except BeartypeCallHintViolation:
            function(*args, **options)  # What they exclude it refuses, in its own words.
            raise

    return call
