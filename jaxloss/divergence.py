"""Divergences between distributions."""

import itertools
import math

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._contracts.values import SUM_TOLERANCE, count, size_as_float
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.safe import nan_unless, safe_multiply
from jaxloss._typing import ArrayLike
from jaxloss.reductions import ReductionOrBatchMean


@compiled_when_eager
def kl_div(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    log_target: bool = False,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: ReductionOrBatchMean = "batchmean",
) -> Float[Array, "*reduced"]:
    r"""Kullback-Leibler divergence KL(target || exp(pred)), element by element:

        loss = y (log y - x)              y = target
        loss = exp(y) (y - x)             with log_target=True

    where 0 log 0 = 0. Note the order, which is PyTorch's: `pred` are log-probabilities, `target` probabilities, and the
    divergence is from the target to the prediction. The sum over the classes is the divergence, so the mean over
    examples is "batchmean"; "mean" divides by all elements, as PyTorch's does.

    Args:
        pred: log-probabilities, floating (`jax.nn.log_softmax` of logits).
        target: probabilities, or log-probabilities with `log_target=True`; floating, of exactly the shape of `pred`.
        log_target: whether `target` holds log-probabilities.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored. With
            "batchmean" an example with nothing kept does not count.
        reduction: "batchmean", "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        A number, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, `pred` above 0 (probabilities or logits in place of log-probabilities),
            targets outside [0, 1], and, where no mask is given, values that sum to 1 over no choice of axes.

    PyTorch: `torch.nn.functional.kl_div`, `torch.nn.KLDivLoss`, whose default reduction is "mean".

    Reference: S. Kullback and R. A. Leibler, On Information and Sufficiency, 1951, doi:10.1214/aoms/1177729694.

    >>> pred = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    >>> print(f"{kl_div(pred, jnp.array([[0.5, 0.5, 0.0]])):.4f}")
    0.3466
    """
    call = Call("kl_div", sample_weight, where, reduction, ("batchmean", "mean", "sum", "none"))
    pred, target = call.elementwise(pred=pred, target=target)
    call.check_log_probabilities("Pass jax.nn.log_softmax of the logits.", pred=pred)
    if log_target:
        call.check_log_probabilities("For probabilities use log_target=False.", target=target)
    else:
        target = call.probabilities("For log-probabilities use log_target=True.", target=target)
    if call.keep is None:
        _check_distributions(call, True, pred=pred)
        _check_distributions(call, log_target, target=target)

    return call.reduce((_of_log_target if log_target else _of_target)(pred, target))


def _check_distributions(call: Call, is_log: bool, **arrays: Array) -> None:
    """It is unknown which axes form a distribution: for some choice the total must be the number of distributions."""
    ((name, array),) = arrays.items()
    relative, absolute = call.rounding(name, array)
    probabilities = jnp.exp(array) if is_log else array
    # The relative error of a logarithm, times the logarithm, is the relative error of the probability.
    off = jnp.where(probabilities == 0, 0.0, probabilities * (jnp.abs(array) if is_log else 1.0))
    total, slack, size = probabilities.sum(), relative * off.sum(), count(array)
    wrong = jnp.bool_(True)
    for choice in itertools.product((False, True), repeat=array.ndim):
        sizes = itertools.compress(map(size_as_float, array.shape), choice)
        distributions = math.prod(sizes, start=jnp.float32(1))
        everything = (distributions == size) & (size > 1)
        tolerance = SUM_TOLERANCE * distributions + slack + (0.0 if is_log else absolute * size)
        wrong &= everything | (jnp.abs(total - distributions) > tolerance)
    call.check(~wrong, f"`{name}` must hold distributions, got values that sum to 1 over no axes.")


def _log(target: Array) -> Array:
    """log y, and 0 at y = 0, as in 0 log 0 = 0."""
    return jnp.log(jnp.where(target == 0, 1.0, target))


def _derivative_to_target(pred: Array, target: Array) -> Array:
    """log q - log p + 1, but finite where q is 0."""
    impossible = target == 0
    return jnp.where(impossible, 0.0, _log(target) + 1) - jnp.where(impossible & jnp.isinf(pred), 0.0, pred)


@with_derivatives(lambda pred, target: -target * nan_unless(~jnp.isnan(pred)), _derivative_to_target)
def _of_target(pred: Array, target: Array) -> Array:
    return jnp.where((target == 0) & ~jnp.isnan(pred), 0.0, target * (jnp.log(target) - pred))


def _log_ratio(pred: Array, target: Array) -> Array:
    """log q - log p, 0 where q = 0."""
    impossible = (target == -jnp.inf) & ~jnp.isnan(pred)
    return jnp.where(impossible, 0.0, target) - jnp.where(impossible, 0.0, pred)


@with_derivatives(
    lambda pred, target: -jnp.exp(target) * nan_unless(~jnp.isnan(pred)),
    lambda pred, target: safe_multiply(jnp.exp(target), _log_ratio(pred, target) + 1),
)
def _of_log_target(pred: Array, target: Array) -> Array:
    return safe_multiply(jnp.exp(target), _log_ratio(pred, target))
