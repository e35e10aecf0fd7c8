"""Regression: continuous targets."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float

from jaxloss._contracts import Contract
from jaxloss._numerics import fill_hidden
from jaxloss.reductions import Reduction, resolve


def mse_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Squared error, `(pred - target)^2`.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: unknown `reduction`.

    PyTorch: `torch.nn.functional.mse_loss`, `torch.nn.MSELoss`.

    Reference: C. F. Gauss, Theoria combinationis observationum erroribus minimis obnoxiae, 1823.

    >>> mse_loss(jnp.array([2.5, 0.0]), jnp.array([3.0, -0.5]))
    Array(0.25, dtype=float32)
    """
    contract = Contract("mse_loss")
    reduce = resolve(contract.function, reduction)
    error, where = _error(contract, pred, target, where)
    return reduce(jnp.square(error), where)


def l1_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Absolute error, `|pred - target|`; the gradient at 0 is 0.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: unknown `reduction`.

    PyTorch: `torch.nn.functional.l1_loss`, `torch.nn.L1Loss`.

    Reference: P.-S. Laplace, Sur quelques points du système du monde, 1793.

    >>> l1_loss(jnp.array([2.5, 0.0]), jnp.array([3.0, -0.5]))
    Array(0.5, dtype=float32)
    """
    contract = Contract("l1_loss")
    reduce = resolve(contract.function, reduction)
    error, where = _error(contract, pred, target, where)
    return reduce(_smooth_l1(error, 0.0), where)


def smooth_l1_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    beta: Float[ArrayLike, ""] | float = 1.0,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Squared error near 0, absolute error beyond, with d = pred - target:

        0.5 d^2 / beta    if |d| < beta
        |d| - 0.5 beta    otherwise

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        beta: where the two meet, at least 0, in the unit of `pred`; 0 is `l1_loss`. May be traced.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `beta` below 0, or an unknown `reduction`.

    PyTorch: `torch.nn.functional.smooth_l1_loss`, `torch.nn.SmoothL1Loss`.

    Reference: R. Girshick, Fast R-CNN, arXiv:1504.08083.

    >>> smooth_l1_loss(jnp.array([2.5, 0.0]), jnp.array([3.0, 2.0]), reduction="none")
    Array([0.125, 1.5  ], dtype=float32)
    """
    contract = Contract("smooth_l1_loss")
    reduce = resolve(contract.function, reduction)
    error, where = _error(contract, pred, target, where)
    beta = contract.nonnegative(error.dtype, beta=beta)
    return reduce(_smooth_l1(error, beta), where)


def huber_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    delta: Float[ArrayLike, ""] | float = 1.0,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Squared error near 0, a multiple of the absolute error beyond, with d = pred - target:

        0.5 d^2                     if |d| < delta
        delta (|d| - 0.5 delta)     otherwise

    It is `delta` times `smooth_l1_loss` with `beta = delta`.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        delta: where the two meet and the largest slope, greater than 0, in the unit of `pred`. May be traced.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `delta` not above 0, or an unknown `reduction`.

    PyTorch: `torch.nn.functional.huber_loss`, `torch.nn.HuberLoss`.

    Reference: P. J. Huber, Robust Estimation of a Location Parameter, 1964, doi:10.1214/aoms/1177703732.

    >>> huber_loss(jnp.array([2.5, 0.0]), jnp.array([3.0, 4.0]), delta=2.0, reduction="none")
    Array([0.125, 6.   ], dtype=float32)
    """
    contract = Contract("huber_loss")
    reduce = resolve(contract.function, reduction)
    error, where = _error(contract, pred, target, where)
    delta = contract.positive(error.dtype, delta=delta)
    return reduce(delta * _smooth_l1(error, delta), where)


def _error(contract: Contract, pred: Any, target: Any, where: Any) -> tuple[Array, Array | None]:
    """What every loss of the error does first; what is masked becomes an error of 0."""
    pred, target = contract.floats(pred=pred, target=target)
    where = contract.mask(pred.shape, where=where)
    pred, target = fill_hidden(where, 0.0, pred, target)
    return pred - target, where


@jax.custom_jvp
def _smooth_l1(error: Array, beta: ArrayLike) -> Array:
    slope = _smooth_l1_slope(error, beta)
    return slope * (error - 0.5 * beta * slope)


@_smooth_l1.defjvp
def _smooth_l1_jvp(primals, tangents):
    # Value and slope are each one expression of the inputs, so XLA keeps no intermediate between them.
    error, beta = primals
    error_dot, beta_dot = tangents
    slope = _smooth_l1_slope(error, beta)
    return _smooth_l1(error, beta), slope * error_dot - 0.5 * jnp.square(slope) * beta_dot


def _smooth_l1_slope(error: Array, beta: ArrayLike) -> Array:
    sharp = beta < jnp.finfo(error.dtype).tiny
    return jnp.where(sharp, jnp.sign(error), jnp.clip(error / jnp.where(sharp, 1.0, beta), -1.0, 1.0))
