"""Divergences between distributions."""

import itertools
import math
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._contracts.values import SUM_TOLERANCE, count, size_as_float
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.jensen_shannon import log_mixed, surplus
from jaxloss._numerics.safe import nan_unless, safe_multiply
from jaxloss._numerics.xla import fuse_whole
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
    pred, target = _distributions(call, log_target, pred, target)
    return call.reduce((_of_log_target if log_target else _of_target)(pred, target))


@compiled_when_eager
def generalized_kl_div(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    log_target: bool = False,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: ReductionOrBatchMean = "batchmean",
) -> Float[Array, "*reduced"]:
    r"""Kullback-Leibler divergence of positive numbers that need not sum to 1, element by element:

        loss = y (log y - x) - y + exp(x)              y = target
        loss = exp(y) (y - x) - exp(y) + exp(x)        with log_target=True

    where 0 log 0 = 0. No element is negative, and one is 0 only where prediction and target agree; near there, where
    the terms cancel, a series keeps the digits. The order is that of `kl_div`: `pred` are logarithms. Of two
    distributions both losses have the same sum. The divergence is the sum over an example, so the mean over examples is
    "batchmean".

    Args:
        pred: logarithms of the predicted numbers, any number, floating.
        target: numbers at least 0, or their logarithms with `log_target=True`; floating, of exactly the shape of
            `pred`. Negative numbers give NaN in value and gradient.
        log_target: whether `target` holds logarithms.
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
        JaxRuntimeError: under `chex.chexify`, a negative target without `log_target`.

    PyTorch: none; `poisson_nll_loss` is the same up to a constant of the target.

    Elsewhere: `optax.losses.generalized_kl_divergence`, summed over an axis, whose targets must be above 0.

    Reference: L. M. Bregman, The relaxation method of finding the common point of convex sets, 1967,
    doi:10.1016/0041-5553(67)90040-7.

    >>> pred = jnp.log(jnp.array([[0.5, 1.0, 3.0]]))
    >>> print(f"{generalized_kl_div(pred, jnp.array([[0.5, 2.0, 0.0]])):.4f}")
    3.3863
    """
    call = Call("generalized_kl_div", sample_weight, where, reduction, ("batchmean", "mean", "sum", "none"))
    pred, target = call.elementwise(pred=pred, target=target)
    if not log_target:
        target = call.nonnegative_values("For logarithms use log_target=True.", target=target)
    generalized = _generalized_of_log_target if log_target else _generalized_of_target
    return call.reduce(fuse_whole(generalized(pred, target)))


@compiled_when_eager
def jensen_shannon_div(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    log_target: bool = False,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: ReductionOrBatchMean = "batchmean",
) -> Float[Array, "*reduced"]:
    r"""Jensen-Shannon divergence of two distributions, from their mixture m, element by element:

        p    = exp(pred)
        m    = (p + y) / 2                                        y = target, or exp(target) with log_target=True
        loss = p (log p - log m) / 2 + y (log y - log m) / 2

    where 0 log 0 = 0. It is symmetric, finite where one of the two is 0, and at most log 2 when summed over a
    distribution. Each element is at least 0: where prediction and target nearly agree a series keeps the digits. The
    order and the means are those of `kl_div`; `generalized_jsd_loss` takes logits, and weighs the two.

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

    PyTorch: none.

    Reference: J. Lin, Divergence measures based on the Shannon entropy, 1991, doi:10.1109/18.61115.

    >>> pred = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    >>> print(f"{jensen_shannon_div(pred, jnp.array([[0.5, 0.5, 0.0]])):.4f}")
    0.1079
    """
    call = Call("jensen_shannon_div", sample_weight, where, reduction, ("batchmean", "mean", "sum", "none"))
    pred, target = _distributions(call, log_target, pred, target)
    mixed = _mixed_with_log_target if log_target else _mixed_with_target
    return call.reduce(fuse_whole(mixed(pred, target)))


def _distributions(call: Call, log_target: bool, pred: Any, target: Any) -> tuple[Array, Array]:
    """Log-probabilities, and probabilities or log-probabilities."""
    pred, target = call.elementwise(pred=pred, target=target)
    call.check_log_probabilities("Pass jax.nn.log_softmax of the logits.", pred=pred)
    if log_target:
        call.check_log_probabilities("For probabilities use log_target=False.", target=target)
    else:
        target = call.probabilities("For log-probabilities use log_target=True.", target=target)
    if call.keep is None:
        _check_distributions(call, True, pred=pred)
        _check_distributions(call, log_target, target=target)
    return pred, target


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


def _below(pred: Array, log_target: Array) -> Array:
    """x - log y, infinite where y is 0."""
    impossible = log_target == -jnp.inf
    return jnp.where(impossible, jnp.inf, pred - jnp.where(impossible, 0.0, log_target))


def _difference(pred: Array, target: Array, log_target: Array) -> Array:
    """exp(x) - y, with digits of its own where both nearly agree."""
    below = _below(pred, log_target)
    near = jnp.abs(below) < 1
    return jnp.where(near, target * jnp.expm1(jnp.where(near, below, 0.0)), jnp.exp(pred) - target)


def _generalized_to_target(pred: Array, target: Array) -> Array:
    """log q - log p, but finite where q is 0."""
    impossible = target == 0
    return _log(target) - jnp.where(impossible & jnp.isinf(pred), 0.0, pred)


@with_derivatives(lambda pred, target: _difference(pred, target, jnp.log(target)), _generalized_to_target)
def _generalized_of_target(pred: Array, target: Array) -> Array:
    return surplus(target, _below(pred, jnp.log(target)), jnp.exp(pred))


@with_derivatives(
    lambda pred, target: _difference(pred, jnp.exp(target), target),
    lambda pred, target: safe_multiply(jnp.exp(target), -_below(pred, target)),
)
def _generalized_of_log_target(pred: Array, target: Array) -> Array:
    return surplus(jnp.exp(target), _below(pred, target), jnp.exp(pred))


def _below_mixture(pred: Array, log_target: Array) -> tuple[Array, Array]:
    """log m - log p, and log m - log q, which is infinite where q is 0; p is at least as good as 0."""
    possible = jnp.maximum(pred, jnp.finfo(pred.dtype).min / 4)
    return log_mixed(possible, log_target, jnp.asarray(0.5, pred.dtype))


def _mixed(pred: Array, target: Array, log_target: Array) -> Array:
    """Of p and of q what is left of m - p - p log(m / p): the sum of both is the divergence, as 2 m = p + q."""
    p_below, q_below = _below_mixture(pred, log_target)
    p = jnp.exp(pred)
    mixture = 0.5 * p + 0.5 * target
    return 0.5 * surplus(p, p_below, mixture) + 0.5 * surplus(target, q_below, mixture)


def _mixed_to_pred(pred: Array, log_target: Array) -> Array:
    return -0.5 * jnp.exp(pred) * _below_mixture(pred, log_target)[0]


def _mixed_to_target(pred: Array, target: Array) -> Array:
    """(log q - log m) / 2, but without log q where q is 0 and p is not, as in `kl_div`."""
    of_mixture = math.log(2) - jnp.where(jnp.exp(pred) == 0, 0.0, pred)
    return 0.5 * jnp.where(target == 0, of_mixture, -_below_mixture(pred, _log(target))[1])


@with_derivatives(lambda pred, target: _mixed_to_pred(pred, jnp.log(target)), _mixed_to_target)
def _mixed_with_target(pred: Array, target: Array) -> Array:
    return _mixed(pred, target, jnp.log(target))


@with_derivatives(
    _mixed_to_pred, lambda pred, target: safe_multiply(-0.5 * jnp.exp(target), _below_mixture(pred, target)[1])
)
def _mixed_with_log_target(pred: Array, target: Array) -> Array:
    return _mixed(pred, jnp.exp(target), target)
