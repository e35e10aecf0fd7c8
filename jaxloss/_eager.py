"""Eager calls at the price of one dispatch."""

import enum
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.sharding import PartitionSpec

from jaxloss._contracts.arrays import asserting, python_number, saturated
from jaxloss._contracts.options import Demands, Number
from jaxloss.reductions import NAMED

P = ParamSpec("P")
R = TypeVar("R")


def compiled_when_eager(loss: Callable[P, R]) -> Callable[P, R]:
    """Compiles each call on concrete arrays as a whole, under `jax.grad` too; in `jit` and `vmap` it changes nothing.

    The program takes as arguments arrays, whatever JAX makes arrays of, and the Python numbers of options that may be
    traced, which are those whose annotation admits a `float`: a number that is new at each call compiles nothing. The
    numbers 0, 1, 2 and those that are not finite belong to the program instead, because they may select another formula
    (the norm of degree 2, no smoothing). So do the values of the other options, and a reduction that is given by name,
    as a function of `jaxloss.reductions` or as a partial of one; but the `count` of a partial is such a number. What
    the contract demands of a number is returned with the result and checked at each call.

    Anything else that may be new at each call, such as a lambda, would be compiled at each call: such calls run
    operation by operation.
    """
    parameters = inspect.signature(loss).parameters
    positional = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    admitted = {name: _union(one.annotation) for name, one in parameters.items()}
    may_be_traced = {"count"} | {name for name, kinds in admitted.items() if float in kinds}
    may_be_lists = {name for name, kinds in admitted.items() if Sequence in kinds}

    @functools.lru_cache(maxsize=128, typed=True)
    def program(asserting: bool, **static: Any) -> Callable[..., tuple[R, Demands]]:
        # A program that was compiled while chex did not assert must not be used when it does.
        def compiled(arrays: dict[str, Any], numbers: dict[str, Any]) -> tuple[R, Demands]:
            demands = Demands()
            known = {name: Number(value, demands, name) for name, value in numbers.items()}
            return typing.cast(Any, loss)(**_with_count({**arrays, **known, **static})), demands

        compiled.__name__ = loss.__name__
        return jax.jit(compiled)

    @functools.wraps(loss)
    def call(*args: P.args, **options: P.kwargs) -> R:
        given: dict[str, Any] = {**dict(zip(positional, args, strict=False)), **options}
        if len(given) < len(args) + len(options):
            return loss(*args, **options)  # Python refuses it: an argument is given twice, or there is one too many.
        given = _with_count_apart(given)
        arrays, numbers, static = {}, {}, {}
        for name, value in given.items():
            first = name in positional
            value = _plain(value, name in may_be_traced and not first, name in may_be_lists)
            if name in may_be_traced and _is_number(value) and (first or not _is_special(value)):
                numbers[name] = value
            elif not first and _is_static(value):
                static[name] = value
            elif _is_array(value) or (first and _is_number(value)):
                arrays[name] = value
            else:
                return loss(*args, **options)
        result, demands = program(asserting(), **static)(arrays, numbers)
        demands.check(given)
        return result

    return call


class _Partial(functools.partial[Array]):
    """A partial that equals another of the same function and arguments, so that it can be looked up."""

    def _key(self) -> tuple[Any, ...]:
        return self.func, self.args, *sorted((name, type(value), value) for name, value in self.keywords.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Partial) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def _with_count_apart(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments with the `count` of a partial reduction, which may be new at each call, as one of its own."""
    reduction = given.get("reduction")
    if not isinstance(reduction, functools.partial) or reduction.keywords.get("count") is None:
        return given
    keywords = dict(reduction.keywords)
    count = keywords.pop("count")
    return {**given, "reduction": functools.partial(reduction.func, *reduction.args, **keywords), "count": count}


def _with_count(given: dict[str, Any]) -> dict[str, Any]:
    """The same, put together again."""
    if "count" not in given:
        return given
    others = {name: value for name, value in given.items() if name != "count"}
    return {**others, "reduction": functools.partial(given["reduction"], count=given["count"])}


def _union(annotation: Any) -> set[Any]:
    """The kinds that a union admits; none of what is no union."""
    kinds = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else ()
    return {typing.get_origin(kind) or kind for kind in kinds}


def _plain(value: Any, is_a_number: bool, may_be_a_list: bool) -> Any:
    """Other libraries' arrays as JAX's, NumPy's numbers as Python's, and lists and partials as hashables."""
    if isinstance(value, Array):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.ndarray | np.generic):
        return python_number(value) if is_a_number else saturated(value)
    if isinstance(value, functools.partial):
        return _Partial(value.func, *value.args, **value.keywords)
    if isinstance(value, list) and may_be_a_list:
        return tuple(value)
    as_array = getattr(value, "__jax_array__", None)
    return value if as_array is None else as_array()


def _is_array(value: Any) -> bool:
    """Whether it is an array whose value is known."""
    if isinstance(value, Tracer):
        # A tracer has a value only under `grad` and `jvp`. If JAX drops the method, calls under these are not compiled.
        return getattr(value, "to_concrete_value", lambda: None)() is not None
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biuf" or jnp.issubdtype(value.dtype, np.floating)  # bfloat16 is of kind V
    return isinstance(value, Array)


def _is_number(value: Any) -> bool:
    """Whether it is a number that JAX can make an array of; an integer may be too large."""
    return isinstance(value, float | np.floating) or (type(value) is int and -(2**31) <= value < 2**31)


def _is_special(value: int | float) -> bool:
    return value in (0, 1, 2) or not math.isfinite(value)


def _is_static(value: Any) -> bool:
    """Whether it can be part of a program and be looked up."""
    if isinstance(value, tuple):
        return all(map(_is_static, value))
    if isinstance(value, _Partial):
        return value.func in NAMED.values() and all(map(_is_static, (*value.args, *value.keywords.values())))
    if isinstance(value, Array | np.ndarray):
        return False
    kinds = int | float | str | np.generic | enum.Enum | PartitionSpec
    return value is None or isinstance(value, kinds) or value in NAMED.values()
