"""Functions whose derivatives are passes of their own: forwards, backwards, and to any order.

JAX transposes the tangent that a `custom_jvp` returns, and makes of a loop over the parts of an array one that adds a
whole array a step. A `custom_vjp` says how to go backwards, and has no forward mode. So the derivative is a primitive
here: a linear map that knows its transpose.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir


class Passes(NamedTuple):
    """A function of arrays, and of constants to which it has no derivative; `static` is what Python knows.

    Value checks (checkify) do not look into the passes, where there is nothing to check.

    `value(static, arrays, constants)` returns the outputs. `definition(static, arrays, constants, outputs)` returns
    them too, as a function of the arrays that JAX differentiates. `forward(static, arrays, constants, outputs,
    tangents)` returns the tangents of the outputs; one that is None is zero. `backward(static, arrays, constants,
    outputs, cotangents)` returns the cotangents of the arrays.
    """

    value: Callable[..., Any]
    definition: Callable[..., Any]
    forward: Callable[..., Any]
    backward: Callable[..., Any]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def by_passes(passes: Passes, static: Any, arrays: Any, constants: Any) -> Any:
    def value(arrays: Any, constants: Any) -> Any:
        return passes.value(static, arrays, constants)

    def definition(arrays: Any, constants: Any) -> Any:
        outputs = jax.lax.stop_gradient(passes.value(static, arrays, constants))
        return passes.definition(static, arrays, constants, outputs)

    return opaque(value, definition, arrays, constants)


def _jvp(passes: Passes, static: Any, primals: Any, tangents: Any) -> tuple[Any, Any]:
    outputs = by_passes(passes, static, *primals)
    given, given_tree = jax.tree.flatten((*primals, outputs))
    outputs_tree = jax.tree.structure(outputs)
    dots, dots_tree = jax.tree.flatten(tangents[0], is_leaf=_is_zero)
    moving = [place for place, dot in enumerate(dots) if not _is_zero(dot)]

    def put(leaves: Sequence[Any], some: Sequence[Any]) -> Any:
        """The arrays of the function, of which some are given."""
        at = dict(zip(moving, some, strict=True))
        return dots_tree.unflatten([at.get(place, leaf) for place, leaf in enumerate(leaves)])

    def forward(given: Sequence[Any], some: Sequence[Any]) -> list[Any]:
        return jax.tree.leaves(passes.forward(static, *given_tree.unflatten(given), put([None] * len(dots), some)))

    def backward(given: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        cotangents = outputs_tree.unflatten(cotangents)
        leaves = jax.tree.leaves(passes.backward(static, *given_tree.unflatten(given), cotangents))
        return [leaves[place] for place in moving]

    def of_moving(given: Sequence[Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        arrays, constants, outputs = given_tree.unflatten(given)
        leaves, outputs = jax.tree.leaves(arrays), jax.lax.stop_gradient(outputs)

        def definition(*some: Any) -> list[Any]:
            return jax.tree.leaves(passes.definition(static, put(leaves, some), constants, outputs))

        return definition, tuple(leaves[place] for place in moving)

    def forward_by_definition(given: Sequence[Any], some: Sequence[Any]) -> list[Any]:
        return jax.jvp(*of_moving(given), tuple(some))[1]

    def backward_by_definition(given: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        definition, some = of_moving(given)
        return list(jax.vjp(definition, *some)[1](list(cotangents)))

    there, back = _Map(forward, forward_by_definition), _Map(backward, backward_by_definition)
    return outputs, outputs_tree.unflatten(_apply(there, back, given, [dots[place] for place in moving]))


by_passes.defjvp(_jvp, symbolic_zeros=True)


def _is_zero(leaf: Any) -> bool:
    return isinstance(leaf, SymbolicZero)


def opaque(function: Callable[..., Any], definition: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments), into which no transformation looks; it is differentiated through its `definition`."""
    flat, tree = jax.tree.flatten(arguments)
    result = jax.tree.structure(jax.eval_shape(function, *arguments))

    def of_leaves(function: Callable[..., Any]) -> Callable[..., list[Any]]:
        return lambda given, _: jax.tree.leaves(function(*tree.unflatten(given)))

    there = _Map(of_leaves(function), of_leaves(definition))
    return result.unflatten(_apply(there, there, flat, []))


class _Map(NamedTuple):
    """function(given, arrays), linear in the arrays; and the same by what JAX differentiates to what is given."""

    function: Callable[..., list[Any]]
    definition: Callable[..., list[Any]]

    def __repr__(self) -> str:
        return "linear map"  # Where in memory the functions lie is not part of a program.


_linear_p = Primitive("linear_map")
_linear_p.multiple_results = True


def _apply(there: _Map, back: _Map, given: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
    """A linear map and its transpose."""
    program = jax.make_jaxpr(there.function)(list(given), list(arrays))
    return _linear_p.bind(*given, *arrays, program=program, there=there, back=back, first=len(given))


def _run(*operands: Any, program: Any, **_: Any) -> list[Any]:
    return jaxpr_as_fun(program)(*operands)


def _differentiate(primals: Sequence[Any], tangents: Sequence[Any], *, there: _Map, back: _Map, first: int, **_: Any):
    given, arrays = primals[:first], primals[first:]
    outputs = _apply(there, back, given, arrays)
    moving = [place for place, dot in enumerate(tangents[:first]) if not isinstance(dot, ad.Zero)]
    dots = [ad.instantiate_zeros(dot) for dot in tangents[first:]]
    if not moving:
        return outputs, _apply(there, back, given, dots)

    def definition(some: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
        at = list(given)
        for place, leaf in zip(moving, some, strict=True):
            at[place] = leaf
        return there.definition(at, arrays)

    at, dots_at = [given[place] for place in moving], [tangents[place] for place in moving]
    return outputs, jax.jvp(definition, (at, list(arrays)), (dots_at, dots))[1]


def _transpose(cotangents: Sequence[Any], *operands: Any, there: _Map, back: _Map, first: int, **_: Any):
    given, arrays = operands[:first], operands[first:]
    cotangents = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    gradients = _apply(back, there, given, cotangents)
    wanted = [
        gradient if ad.is_undefined_primal(array) else None for gradient, array in zip(gradients, arrays, strict=True)
    ]
    return [None] * first + wanted


def _map_over(operands: Sequence[Any], dims: Sequence[Any], *, there: _Map, back: _Map, first: int, **_: Any):
    (size,) = {operand.shape[dim] for operand, dim in zip(operands, dims, strict=True) if dim is not None}
    axes = list(dims[:first])
    arrays = [
        jnp.broadcast_to(array, (size, *array.shape)) if dim is None else jnp.moveaxis(array, dim, 0)
        for array, dim in zip(operands[first:], dims[first:], strict=True)
    ]

    def mapped(each: _Map) -> _Map:
        return _Map(*(jax.vmap(function, (axes, 0)) for function in each))

    outputs = _apply(mapped(there), mapped(back), operands[:first], arrays)
    return outputs, [0] * len(outputs)


_linear_p.def_impl(_run)
_linear_p.def_abstract_eval(lambda *_, program, **__: program.out_avals)
ad.primitive_jvps[_linear_p] = _differentiate
ad.primitive_transposes[_linear_p] = _transpose
batching.primitive_batchers[_linear_p] = _map_over
mlir.register_lowering(_linear_p, mlir.lower_fun(_run, multiple_results=True))
