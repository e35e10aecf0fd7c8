"""From one loss an element to one number: what `reduction` names.

A reduction is a function `(values, weights) -> Array`. `values` are the unreduced losses; `weights` say how much each
counts, as booleans where there is only a mask, as numbers where there are class weights. A weight of zero (or False)
hides its value, NaN included. Where a loss adds to the weighted cross-entropy what does not count with the label's
weight (label smoothing, z-loss), no pair can say both: a callable then gets the losses that "none" returns, with their
class weights in them, and the mask; `mean`, by name, as the function or as a partial of it, divides by the sum of the
class weights all the same. Inside `shard_map` name the mesh axis, and the mean over the mesh is the global sum by the
global count, not a mean of means:

    reduction=functools.partial(jaxloss.reductions.mean, axis_name="data")

Where a batch is a part of an optimizer step, `count` says what the whole step counts: tokens, examples, or the sum of
their weights. The parts then add up to the step's mean, in value and gradient; a mean of means does not:

    reduction=functools.partial(jaxloss.reductions.mean, count=tokens_of_the_step)
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._contracts import Contract
from jaxloss._numerics.safe import safe_divide
from jaxloss._numerics.xla import fuse_whole
from jaxloss._typing import ArrayLike, AxisName

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
    if weights is None:
        return values
    weights = weights.astype(values.dtype)
    return jnp.where((weights == 0) & ~jnp.isfinite(values), 0.0, values) * weights


def sum(  # noqa: A001 the public name is the reduction's
    values: Float[ArrayLike, "*batch"],
    weights: Real[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    *,
    axis_name: AxisName | None = None,
    count: Real[ArrayLike, ""] | None = None,
) -> Float[Array, ""]:
    """The weighted sum, `sum_i w_i v_i`, by `count` if that is given.

    Args:
        values: the unreduced losses, floating.
        weights: booleans or numbers at least 0 that broadcast to `values`.
        axis_name: mesh axis, or several, to sum over inside `shard_map`.
        count: a number at least 0 to divide by, as `mean` does; None for 1. May be traced.

    >>> sum(jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True]))
    Array(4., dtype=float32)
    """
    weighted = none(values, weights)
    total = _over_mesh(jnp.sum(weighted if weights is None else fuse_whole(weighted)), axis_name)
    return total if count is None else safe_divide(total, _count("sum", count, total, axis_name))


def mean(
    values: Float[ArrayLike, "*batch"],
    weights: Real[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    *,
    axis_name: AxisName | None = None,
    count: Real[ArrayLike, ""] | None = None,
) -> Float[Array, ""]:
    """The weighted mean, `sum_i w_i v_i / sum_i w_i`; 0, with gradient 0, where nothing is kept.

    Args:
        values: the unreduced losses, floating.
        weights: booleans or numbers at least 0 that broadcast to `values`.
        axis_name: mesh axis, or several, over which sum and count are taken inside `shard_map`.
        count: what to divide by instead, a number at least 0, where this batch is a part of an optimizer step: what the
            whole step counts, on all devices. 0 gives 0. None for what this batch counts. May be traced.

    >>> mean(jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True]))
    Array(2., dtype=float32)
    >>> mean(jnp.array([1.0, 3.0]), count=8)
    Array(0.5, dtype=float32)
    """
    values, weights = _checked("mean", values, weights)
    own = jnp.asarray(values.size, values.dtype) if weights is None else jnp.sum(weights, dtype=values.dtype)
    return safe_divide(sum(values, weights, axis_name=axis_name), _count("mean", count, own, axis_name))


def sequence_mean(
    values: Float[ArrayLike, "*batch"],
    weights: Real[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    *,
    axis: int | Sequence[int] = -1,
    axis_name: AxisName | None = None,
    count: Real[ArrayLike, ""] | None = None,
) -> Float[Array, ""]:
    """The mean over sequences of the mean over the tokens that a sequence keeps.

    Every sequence counts the same, be it short or long, and whatever its weights sum to: they weigh its tokens against
    each other. A sequence that keeps nothing does not count.

    Args:
        values: the unreduced losses, floating, with at least one axis.
        weights: booleans or numbers at least 0 that broadcast to `values`.
        axis: the axis of the tokens, or several.
        axis_name: mesh axis, or several, over which the sequences lie inside `shard_map`; each lies on one device.
        count: how many sequences to divide by instead, a number at least 0: those of the whole optimizer step, on all
            devices, or of the whole batch, if those that keep nothing shall count. 0 gives 0. None for those of this
            batch that keep something. May be traced.

    >>> sequence_mean(jnp.array([[1.0, 3.0], [4.0, 0.0]]), jnp.array([[True, True], [True, False]]))
    Array(3., dtype=float32)
    """
    values, weights = _checked("sequence_mean", values, weights)
    axes = Contract("reductions.sequence_mean").axes(axis, values.ndim, "values")
    weights = jnp.ones(values.shape, bool) if weights is None else weights
    lengths = jnp.sum(weights, axes, dtype=values.dtype)
    means = safe_divide(jnp.sum(fuse_whole(none(values, weights)), axes), lengths)
    return mean(means, lengths != 0, axis_name=axis_name, count=count)


def batchmean(
    values: Float[ArrayLike, "*batch"],
    weights: Real[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    *,
    axis_name: AxisName | None = None,
    count: Real[ArrayLike, ""] | None = None,
) -> Float[Array, ""]:
    """The weighted sum by the number of examples: entries of the first axis of which something is kept.

    Args:
        values: the unreduced losses, floating; a scalar is a batch of one.
        weights: booleans or numbers at least 0 that broadcast to `values`.
        axis_name: mesh axis, or several, over which sum and count are taken inside `shard_map`.
        count: what to divide by instead, a number at least 0, where this batch is a part of an optimizer step: what the
            whole step counts, on all devices. 0 gives 0. None for what this batch counts. May be traced.

    >>> batchmean(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
    Array(5., dtype=float32)
    """
    values, weights = _checked("batchmean", values, weights)
    kept = jnp.ones(values.shape) if weights is None else weights.astype(values.dtype)
    own = jnp.sum(jnp.any(kept != 0, axis=tuple(range(1, kept.ndim))), dtype=values.dtype)
    return safe_divide(sum(values, weights, axis_name=axis_name), _count("batchmean", count, own, axis_name))


# All of them by their names; which of these a loss takes in place of a function, `resolve` is told.
NAMED: dict[str, Callable[..., Array]] = {
    "mean": mean,
    "sum": sum,
    "none": none,
    "batchmean": batchmean,
    "sequence_mean": sequence_mean,
}


def resolve(
    function: str, reduction: ReductionOrBatchMean, names: Sequence[str] = ("mean", "sum", "none")
) -> Callable[..., Array]:
    """How a name becomes a reduction; a callable always gets weights, and 0 for what they hide."""
    if isinstance(reduction, str) and reduction in names:
        return NAMED[reduction]
    if not callable(reduction):
        raise ValueError(f"{function}: `reduction` must be one of {', '.join(names)} or a callable, got {reduction!r}.")
    if not _takes_values_and_weights(reduction):
        raise ValueError(
            f"{function}: `reduction` must take two arrays, (values, weights), got {reduction!r}. Name it, "
            'reduction="mean", or say what the weights do: reduction=lambda values, weights: jnp.max(values).'
        )

    def with_weights(values: Array, weights: Array | None) -> Array:
        if weights is None:
            return reduction(values, jnp.ones(values.shape, bool))
        return reduction(jnp.where(weights == jnp.zeros((), weights.dtype), 0.0, values), weights)

    return with_weights


def _takes_values_and_weights(reduction: Callable[..., Array]) -> bool:
    """Not so `jnp.mean` and its like, whose second argument is an axis."""
    try:
        parameters = inspect.signature(reduction).parameters.values()
    except (TypeError, ValueError):  # What has no signature is believed.
        return True
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [parameter.name for parameter in parameters if parameter.kind in kinds]
    variadic = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    return variadic or (len(positional) >= 2 and positional[1] not in ("axis", "dim"))


def is_mean(reduction: ReductionOrBatchMean) -> bool:
    """Whether a reduction is the mean, by name or as the function, on an axis or not, by a given count or not."""
    return getattr(reduction, "func", reduction) in ("mean", mean)


def is_sum(reduction: ReductionOrBatchMean) -> bool:
    """Whether a reduction is the sum, by name or as the function, on an axis or not, by a given count or not."""
    return getattr(reduction, "func", reduction) in ("sum", sum)


def on_axes(reduction: ReductionOrBatchMean, axis_name: AxisName | None) -> ReductionOrBatchMean:
    """A mean or a sum over axes of the mesh, where the loss is told of them and the reduction is not."""
    keywords = getattr(reduction, "keywords", {})
    if axis_name is None or keywords.get("axis_name") is not None:
        return reduction
    function = mean if is_mean(reduction) else sum if is_sum(reduction) else None
    return reduction if function is None else functools.partial(function, **(keywords | {"axis_name": axis_name}))


def count_of(reduction: ReductionOrBatchMean) -> Any:
    """What a partial of a reduction is told to divide by; None if nothing."""
    return getattr(reduction, "keywords", {}).get("count")


def over_mesh(reduction: ReductionOrBatchMean) -> Callable[[Array], Array]:
    """What adds up over the mesh what the mean or the sum of each device has added up."""
    return functools.partial(sum, axis_name=getattr(reduction, "keywords", {}).get("axis_name"))


def _checked(function: str, values: Any, weights: Any) -> tuple[Array, Array | None]:
    """Values in float32 or better; weights of their shape, booleans or numbers of their dtype."""
    contract = Contract(f"reductions.{function}")
    (values,) = contract.floats(values=values)
    if weights is None:
        return values, None
    weights = contract.array("weights", weights)
    if weights.dtype == bool:
        return values, contract.mask(values.shape, weights=weights)
    contract.dtype = values.dtype
    return values, contract.factor(values.shape, weights=weights)


def _count(function: str, given: Any, own: Array, axis_name: AxisName | None) -> Array:
    """What to divide by: the number that is given, or what this batch counts, on all devices."""
    if given is None:
        return _over_mesh(own, axis_name)
    contract = Contract(f"reductions.{function}")
    contract.dtype = own.dtype
    return jnp.asarray(contract.nonnegative(count=given), own.dtype)


def _over_mesh(local: Array, axis_name: AxisName | None) -> Array:
    return local if axis_name is None else jax.lax.psum(local, axis_name)
