"""Divergences between distributions."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jaxloss._contracts import Contract
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics import fill_hidden, weigh, with_slopes
from jaxloss._typing import ArrayLike
from jaxloss.reductions import ReductionOrBatchMean, resolve


@compiled_when_eager
def kl_div(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    log_target: bool = False,
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
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing. With "batchmean" an
            example of which nothing is kept does not count.
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
    contract = Contract("kl_div")
    reduce = resolve(contract.function, reduction, ("batchmean", "mean", "sum", "none"))
    pred, target = contract.floats(pred=pred, target=target)
    where = contract.mask(pred.shape, where=where)
    pred, target = fill_hidden(where, 0.0, pred, target)
    contract.check_log_probabilities("Pass jax.nn.log_softmax of the logits.", pred=pred)
    if log_target:
        contract.check_log_probabilities("For probabilities use log_target=False.", target=target)
    else:
        contract.check_probabilities("For log-probabilities use log_target=True.", target=target)
    probabilities = jnp.exp(target) if log_target else target
    if where is None:
        contract.check_some_distribution("pred", jnp.exp(pred))
        contract.check_some_distribution("target", probabilities)

    return reduce((_of_log_target if log_target else _of_target)(pred, target), where)


def _log(target: Array) -> Array:
    """With 0 log 0 = 0 in mind."""
    return jnp.log(jnp.where(target == 0, 1.0, target))


def _slope_of_target(pred: Array, target: Array) -> Array:
    """log q - log p + 1, but finite where q is 0."""
    impossible = target == 0
    return jnp.where(impossible, 0.0, _log(target) + 1) - jnp.where(impossible & jnp.isinf(pred), 0.0, pred)


@with_slopes(lambda pred, target: -target, _slope_of_target)
def _of_target(pred: Array, target: Array) -> Array:
    return jnp.where(target == 0, 0.0, target * (jnp.log(target) - pred))


def _log_ratio(pred: Array, target: Array) -> Array:
    """log q - log p, 0 where q = 0."""
    impossible = target == -jnp.inf
    return jnp.where(impossible, 0.0, target) - jnp.where(impossible, 0.0, pred)


@with_slopes(
    lambda pred, target: -jnp.exp(target),
    lambda pred, target: weigh(jnp.exp(target), _log_ratio(pred, target) + 1),
)
def _of_log_target(pred: Array, target: Array) -> Array:
    return weigh(jnp.exp(target), _log_ratio(pred, target))
