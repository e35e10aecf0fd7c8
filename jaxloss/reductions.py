"""From one loss an element to one number: what `reduction` names.

A reduction is a function `(values, weights) -> Array`. `values` are the unreduced losses; `weights` say how much each
counts, as booleans where there is only a mask, as numbers where there are class weights. A weight of zero (or False)
hides its value, NaN included. Inside `shard_map` name the mesh axis, and the mean over the mesh is the global sum by
the global count, not a mean of means:

    reduction=functools.partial(jaxloss.reductions.mean, axis_name="data")
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._contracts import Contract
from jaxloss._numerics import divide, in_one_piece, weigh
from jaxloss._typing import ArrayLike

AxisName = Hashable | Sequence[Hashable]
Reduction: TypeAlias = Literal["mean", "sum", "none"] | Callable[[Array, Array], Array]
ReductionOrBatchMean: TypeAlias = Reduction | Literal["batchmean"]


def none(
    values: Float[ArrayLike, "*batch"],
    weights: Real[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    *,
    axis_name: AxisName | None = None,
) -> Float[Array, "*batch"]:
    """No reduction: `weights * values`, and 0 where the weight is 0.

    Args:
        values: the unreduced losses, floating.
        weights: booleans or numbers at least 0 that broadcast to `values`.
        axis_name: accepted so that the three reductions are interchangeable; each device keeps its own values.

    >>> none(jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True]))
    Array([1., 0., 3.], dtype=float32)
    """
    del axis_name
    values, weights = _checked("none", values, weights)
    return values if weights is None else weigh(weights.astype(values.dtype), values)


def sum(  # noqa: A001 the public name is the reduction's
    values: Float[ArrayLike, "*batch"],
    weights: Real[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    *,
    axis_name: AxisName | None = None,
) -> Float[Array, ""]:
    """The weighted sum, `sum_i w_i v_i`.

    Args:
        values: the unreduced losses, floating.
        weights: booleans or numbers at least 0 that broadcast to `values`.
        axis_name: mesh axis, or several, to sum over inside `shard_map`.

    >>> sum(jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True]))
    Array(4., dtype=float32)
    """
    weighted = none(values, weights)
    return _over_mesh(jnp.sum(weighted if weights is None else in_one_piece(weighted)), axis_name)


def mean(
    values: Float[ArrayLike, "*batch"],
    weights: Real[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    *,
    axis_name: AxisName | None = None,
) -> Float[Array, ""]:
    """The weighted mean, `sum_i w_i v_i / sum_i w_i`; 0, with gradient 0, where nothing is kept.

    Args:
        values: the unreduced losses, floating.
        weights: booleans or numbers at least 0 that broadcast to `values`.
        axis_name: mesh axis, or several, over which sum and count are taken inside `shard_map`.

    >>> mean(jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True]))
    Array(2., dtype=float32)
    """
    values, weights = _checked("mean", values, weights)
    count = jnp.asarray(values.size, values.dtype) if weights is None else jnp.sum(weights, dtype=values.dtype)
    return divide(sum(values, weights, axis_name=axis_name), _over_mesh(count, axis_name))


def batchmean(
    values: Float[ArrayLike, "*batch"],
    weights: Real[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    *,
    axis_name: AxisName | None = None,
) -> Float[Array, ""]:
    """The weighted sum by the number of examples: entries of the first axis of which something is kept.

    Args:
        values: the unreduced losses, floating; a scalar is a batch of one.
        weights: booleans or numbers at least 0 that broadcast to `values`.
        axis_name: mesh axis, or several, over which sum and count are taken inside `shard_map`.

    >>> batchmean(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
    Array(5., dtype=float32)
    """
    values, weights = _checked("batchmean", values, weights)
    kept = jnp.ones(values.shape) if weights is None else weights.astype(values.dtype)
    count = jnp.sum(jnp.any(kept > 0, axis=tuple(range(1, kept.ndim))), dtype=values.dtype)
    return divide(sum(values, weights, axis_name=axis_name), _over_mesh(count, axis_name))


NAMED: dict[str, Callable[..., Array]] = {"mean": mean, "sum": sum, "none": none, "batchmean": batchmean}


def resolve(
    function: str, reduction: ReductionOrBatchMean, names: Sequence[str] = ("mean", "sum", "none")
) -> Callable[..., Array]:
    """How a name becomes a reduction; a callable always gets weights, and 0 for what they hide."""
    if isinstance(reduction, str) and reduction in names:
        return NAMED[reduction]
    if not callable(reduction):
        raise ValueError(f"{function}: `reduction` must be one of {', '.join(names)} or a callable, got {reduction!r}.")

    def with_weights(values: Array, weights: Array | None) -> Array:
        if weights is None:
            return reduction(values, jnp.ones(values.shape, bool))
        return reduction(jnp.where(weights == jnp.zeros((), weights.dtype), 0.0, values), weights)

    return with_weights


def is_mean(reduction: Reduction) -> bool:
    """Whether a reduction is the mean, by name or as the function, on an axis or not."""
    return getattr(reduction, "func", reduction) in ("mean", mean)


def is_sum(reduction: Reduction) -> bool:
    """Whether a reduction is the sum, by name or as the function, on an axis or not."""
    return getattr(reduction, "func", reduction) in ("sum", sum)


def reduce_weighted(
    function: str, reduction: Reduction, weighted: Array, weights: Array, where: Array | None
) -> Float[Array, "*reduced"]:
    """Of losses times their weights, where one may be left at a weight of 0: the mean divides by the weights alone."""
    reduce = resolve(function, reduction)
    if is_mean(reduction):
        return divide(reduce(weighted, where), reduce(weights, where))
    if is_sum(reduction) or getattr(reduction, "func", reduction) in ("none", none):
        return reduce(weighted, where)
    # Others take losses and weights: a weight of 0 becomes one too small to count.
    weights = jnp.where(weights == 0, 2.0**-64, weights)
    return reduce(weighted / weights, weights if where is None else jnp.where(where, weights, 0.0))


def _checked(function: str, values: Any, weights: Any) -> tuple[Array, Array | None]:
    """Values in float32 or better; weights of their shape, booleans or numbers of their dtype."""
    contract = Contract(f"reductions.{function}")
    (values,) = contract.floats(values=values)
    if weights is None:
        return values, None
    weights = contract.array("weights", weights)
    if weights.dtype == bool:
        return values, contract.mask(values.shape, weights=weights)
    return values, contract.factor(values.shape, values.dtype, weights=weights)


def _over_mesh(local: Array, axis_name: AxisName | None) -> Array:
    return local if axis_name is None else jax.lax.psum(local, axis_name)
