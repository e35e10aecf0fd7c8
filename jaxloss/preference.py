"""Preferences: of two responses one is better, or of one response it is known whether it is good.

The arrays are log-probabilities of whole responses, sums or means over their tokens: each function says which.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import LIKELIHOODS, Call
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.logistic import bce_derivative, bce_of_logits, sigmoid_derivative, softplus
from jaxloss._numerics.safe import stable_divide
from jaxloss._numerics.xla import fuse_whole, prevent_cse
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction


@compiled_when_eager
def dpo_loss(
    chosen: Float[ArrayLike, "*batch"],
    rejected: Float[ArrayLike, "*batch"],
    reference_chosen: Float[ArrayLike, "*batch"],
    reference_rejected: Float[ArrayLike, "*batch"],
    *,
    beta: Real[ArrayLike, ""] = 0.1,
    label_smoothing: Real[ArrayLike, ""] = 0.0,
    robust: bool = False,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Direct preference optimization: how much more than the reference does the model prefer the chosen response?

        d = (l_c - r_c) - (l_r - r_r)
        loss = -(1 - s) log sigmoid(beta d) - s log sigmoid(-beta d)                    s: label smoothing
        loss = (-(1 - s) log sigmoid(beta d) + s log sigmoid(-beta d)) / (1 - 2 s)      with robust=True

    The first is conservative DPO, for labels that are wrong with probability s; the second is unbiased under such
    labels, and may be negative. Without smoothing both are DPO. No gradient flows to the reference.

    Args:
        chosen: log-probabilities of the better responses under the model, sums over their tokens; floating.
        rejected: those of the worse ones, floating, of exactly the shape of `chosen`.
        reference_chosen: those of the better ones under the reference model, floating, of that shape.
        reference_rejected: those of the worse ones under it, floating, of that shape.
        beta: how fast the loss saturates, greater than 0: a larger one stays nearer to the reference. May be traced.
        label_smoothing: in [0, 1], below 0.5 with `robust`: how often the two are in the wrong order. May be traced.
        robust: whether the loss is the unbiased one.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `chosen`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, log-probabilities above 0.

    PyTorch: none.

    Elsewhere: TRL's `DPOTrainer` ("sigmoid", which ignores the smoothing, and "robust"), OpenRLHF's `DPOLoss`, tunix's
    `DPOTrainer`, Liger's `LigerFusedLinearDPOLoss`.

    Reference: R. Rafailov et al., Direct Preference Optimization, arXiv:2305.18290; robust: S. Ray Chowdhury et al.,
    Provably Robust DPO, arXiv:2403.00409.

    >>> chosen, rejected, reference = jnp.array([-10.0, -20.0]), jnp.array([-30.0, -20.0]), jnp.array([-20.0, -20.0])
    >>> print(f"{dpo_loss(chosen, rejected, reference, reference):.4f}")
    0.4100
    """
    call = Call("dpo_loss", sample_weight, where, reduction)
    arrays = _against_reference(call, chosen, rejected, reference_chosen, reference_rejected)
    beta = call.positive(beta=beta)
    if robust:
        below_half = {"label_smoothing": label_smoothing}
        smoothing = call.number(lambda value: (value >= 0) & (value < 0.5), "in [0, 0.5)", below_half)
        # log sigmoid(-x) = log sigmoid(x) - x: the robust loss is the other one, of a negative smoothing.
        smoothing = -smoothing / (1 - 2 * smoothing)
    else:
        smoothing = call.fraction(label_smoothing=label_smoothing)
    return call.reduce(fuse_whole(_logistic(*arrays, *call.numbers(beta, smoothing))))


@compiled_when_eager
def ipo_loss(
    chosen: Float[ArrayLike, "*batch"],
    rejected: Float[ArrayLike, "*batch"],
    reference_chosen: Float[ArrayLike, "*batch"],
    reference_rejected: Float[ArrayLike, "*batch"],
    *,
    beta: Real[ArrayLike, ""] = 0.1,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Identity preference optimization: the gap that `dpo_loss` widens without end shall be 1 / (2 beta).

        d = (l_c - r_c) - (l_r - r_r)
        loss = (d - 1 / (2 beta))^2

    Sums or means over tokens are your choice, and `beta` means something else for each: the paper has sums, as
    OpenRLHF; TRL and EasyDeL take means, so that long responses weigh no more. Means need the lengths without prompt
    and padding. No gradient flows to the reference.

    Args:
        chosen: log-probabilities of the better responses under the model, sums or means over tokens; floating.
        rejected: those of the worse ones, floating, of exactly the shape of `chosen`.
        reference_chosen: those of the better ones under the reference model, floating, of that shape.
        reference_rejected: those of the worse ones under it, floating, of that shape.
        beta: half of one by the gap that is wanted, greater than 0. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `chosen`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number `beta` not above 0, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, log-probabilities above 0.

    PyTorch: none.

    Elsewhere: TRL's `DPOTrainer` with "ipo" (means), OpenRLHF's `DPOLoss` with `ipo=True` (sums), EasyDeL (means).

    Reference: M. G. Azar et al., A General Theoretical Paradigm to Understand Learning from Human Preferences,
    arXiv:2310.12036.

    >>> chosen, rejected, reference = jnp.array([-10.0, -20.0]), jnp.array([-15.0, -20.0]), jnp.array([-20.0, -20.0])
    >>> ipo_loss(chosen, rejected, reference, reference, reduction="none")
    Array([ 0., 25.], dtype=float32)
    """
    call = Call("ipo_loss", sample_weight, where, reduction)
    arrays = _against_reference(call, chosen, rejected, reference_chosen, reference_rejected)
    wanted = 0.5 / call.positive(beta=beta)
    return call.reduce(fuse_whole(_squared(*arrays, *call.numbers(wanted))))


@compiled_when_eager
def simpo_loss(
    chosen: Float[ArrayLike, "*batch"],
    rejected: Float[ArrayLike, "*batch"],
    *,
    beta: Real[ArrayLike, ""] = 2.0,
    gamma: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Simple preference optimization: no reference, but a margin between mean log-probabilities.

        loss = -log sigmoid(beta (l_c - l_r) - gamma)

    Of sums in place of means, with `gamma=0`, it is the preference term of CPO. A likelihood that is added to either
    goes through `weighted_sum`.

    Args:
        chosen: log-probabilities of the better responses, means over their tokens (sums for CPO); floating.
        rejected: those of the worse ones, floating, of exactly the shape of `chosen`.
        beta: the scale of the rewards, greater than 0. May be traced.
        gamma: the margin that the rewards must have, at least 0, in the unit of `beta` times a log-probability. May be
            traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `chosen`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, log-probabilities above 0.

    PyTorch: none.

    Elsewhere: TRL's `CPOTrainer` with "simpo" (beta 0.1, gamma 0.5, and the likelihood added once unless
    `cpo_alpha=0`), or with "sigmoid" (CPO); Liger's `LigerFusedLinearSimPOLoss` and `LigerFusedLinearCPOLoss`.

    Reference: Y. Meng et al., SimPO, arXiv:2405.14734; CPO: H. Xu et al., arXiv:2401.08417.

    >>> print(f"{simpo_loss(jnp.array([-0.5]), jnp.array([-1.5])):.4f}")
    0.3133
    """
    call = Call("simpo_loss", sample_weight, where, reduction)
    chosen, rejected = call.log_probabilities(chosen=chosen, rejected=rejected)
    beta, gamma = call.positive(beta=beta), call.nonnegative(gamma=gamma)
    return call.reduce(fuse_whole(softplus(gamma - beta * (chosen - rejected))))


@compiled_when_eager
def orpo_loss(
    chosen: Float[ArrayLike, "*batch"],
    rejected: Float[ArrayLike, "*batch"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The odds-ratio term of ORPO, of the odds p / (1 - p) of two responses:

        o(l) = l - log(1 - exp(l))
        loss = -log sigmoid(o(l_c) - o(l_r))

    The whole of ORPO adds the likelihood of the chosen response, and a tenth of this:

        weighted_sum({"nll": nll, "odds": orpo_loss(chosen, rejected)}, {"nll": 1.0, "odds": 0.1})

    It is exact up to p = 1. A log-probability of 0 counts as the normal number next to it: value and gradient are
    finite there too, though both are large if it is the rejected response that is certain.

    Args:
        chosen: log-probabilities of the better responses, means over their tokens; floating.
        rejected: those of the worse ones, floating, of exactly the shape of `chosen`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `chosen`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, log-probabilities above 0.

    PyTorch: none.

    Elsewhere: TRL's `ORPOTrainer`, tunix's `DPOTrainer` with "orpo" (of sums over tokens), Liger's
    `LigerFusedLinearORPOLoss` (whose log(1 - p) is infinite at -3e-8). All three add the likelihood.

    Reference: J. Hong et al., ORPO, arXiv:2403.07691.

    >>> print(f"{orpo_loss(jnp.log(jnp.array([0.75])), jnp.log(jnp.array([0.5]))):.4f}")  # odds of 3 and 1: log(4 / 3)
    0.2877
    """
    call = Call("orpo_loss", sample_weight, where, reduction)
    chosen, rejected = call.log_probabilities(chosen=chosen, rejected=rejected)
    return call.reduce(fuse_whole(_odds_ratio(chosen, rejected)))


@compiled_when_eager
def kto_loss(
    pred: Float[ArrayLike, "*batch"],
    reference: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    kl: Float[ArrayLike, ""],
    *,
    beta: Real[ArrayLike, ""] = 0.1,
    desirable_weight: Real[ArrayLike, ""] = 1.0,
    undesirable_weight: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Kahneman-Tversky optimization: single responses, each of which is known to be good or not.

        r = l - l_ref
        loss = w_d (1 - sigmoid(beta (r - kl)))    if target = 1
               w_u (1 - sigmoid(beta (kl - r)))    if target = 0

    The weights balance the two kinds and do not count in the mean, which divides by the number of responses. `kl` is
    the point that gains and losses are measured from: at least 0, the mean of r over responses to other prompts, of all
    devices. No gradient flows to it, nor to the reference.

    Args:
        pred: log-probabilities of the responses under the model, sums over their tokens; floating.
        reference: those under the reference model, floating, of exactly the shape of `pred`.
        target: 1 for a desirable response, 0 for an undesirable one, floating, of that shape; between the two, both
            losses in these shares. Outside of [0, 1] it is NaN.
        kl: one floating number at least 0; negative it is NaN. Of mismatched pairs,
            `jnp.maximum(reductions.mean(r, axis_name=...), 0)`, which is 0 where there are none.
        beta: how fast the loss saturates, greater than 0. May be traced.
        desirable_weight: at least 0, the weight of a desirable response. May be traced.
        undesirable_weight: at least 0, that of an undesirable one. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, log-probabilities above 0, targets outside [0, 1], a negative `kl`.

    PyTorch: none.

    Elsewhere: TRL's `KTOTrainer`, OpenRLHF's `KTOLoss`, Liger's `LigerFusedLinearKTOLoss` (without the weights).

    Reference: K. Ethayarajh et al., KTO, arXiv:2402.01306.

    >>> pred, reference, target = jnp.array([-10.0, -10.0]), jnp.array([-20.0, -20.0]), jnp.array([1.0, 0.0])
    >>> print(f"{kto_loss(pred, reference, target, jnp.array(0.0), undesirable_weight=2.0):.4f}")
    0.8655
    """
    call = Call("kto_loss", sample_weight, where, reduction)
    pred, reference, target = call.elementwise(pred=pred, reference=reference, target=target)
    call.check_log_probabilities(LIKELIHOODS, pred=pred, reference=reference)
    target = call.probabilities("Targets are 1 and 0.", target=target)
    kl = call.nonnegative_values("Clip it: jnp.maximum(kl, 0).", kl=call.floating([()], kl=kl))
    beta = call.positive(beta=beta)
    desirable = call.nonnegative(desirable_weight=desirable_weight)
    undesirable = call.nonnegative(undesirable_weight=undesirable_weight)
    reference, target, kl = map(jax.lax.stop_gradient, (reference, target, kl))
    gain = beta * ((pred - reference) - kl)
    return call.reduce(fuse_whole(_prospect(gain, desirable * target, undesirable * (1 - target))))


@compiled_when_eager
def bradley_terry_loss(
    chosen: Float[ArrayLike, "*batch"],
    rejected: Float[ArrayLike, "*batch"],
    *,
    margin: Real[ArrayLike, "*#batch"] = 0.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The loss of a reward model: the better response must have the higher reward.

        loss = -log sigmoid(s_c - s_r - margin)

    It says nothing of the rewards' level. To keep it near 0, add `mse_loss(chosen + rejected, zeros)`, by
    `weighted_sum`.

    Args:
        chosen: rewards of the better responses, any numbers, floating.
        rejected: those of the worse ones, floating, of exactly the shape of `chosen`.
        margin: how much higher, at least 0, one number or one a pair. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `chosen`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number `margin` below 0, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: TRL's `RewardTrainer` (`center_rewards_coefficient` for the level), OpenRLHF's `PairWiseLoss` and
    `LogExpLoss`.

    Reference: R. A. Bradley and M. E. Terry, Rank Analysis of Incomplete Block Designs, 1952, doi:10.2307/2334029;
    margins: H. Touvron et al., Llama 2, arXiv:2307.09288.

    >>> print(f"{bradley_terry_loss(jnp.array([2.0, 1.0]), jnp.array([0.0, 1.0])):.4f}")
    0.4100
    """
    call = Call("bradley_terry_loss", sample_weight, where, reduction)
    chosen, rejected = call.elementwise(chosen=chosen, rejected=rejected)
    margin = call.visible_factor(chosen, margin=margin)
    return call.reduce(fuse_whole(softplus(margin - (chosen - rejected))))


def _against_reference(call: Call, *arrays: Any) -> tuple[Array, ...]:
    """Chosen, rejected, and the same of the reference."""
    names = ("chosen", "rejected", "reference_chosen", "reference_rejected")
    return call.log_probabilities(**dict(zip(names, arrays, strict=True)))


def _gap(chosen: Array, rejected: Array, reference_chosen: Array, reference_rejected: Array) -> Array:
    """How much more the chosen response gained on the reference than the rejected one did."""
    return (chosen - reference_chosen) - (rejected - reference_rejected)


def _of_gap(
    slope: Callable[..., Array], *slopes: Callable[..., Array]
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """A function of the gap and of options, by its slopes: it reads the four arrays, so that XLA stores no gap."""

    def of_option(slope: Callable[..., Array]) -> Callable[..., Array]:
        return lambda *args: slope(_gap(*args[:4]), *args[4:])

    def wrap(value: Callable[..., Array]) -> Callable[..., Array]:
        @with_derivatives(
            of_option(slope),
            # Otherwise XLA:TPU (jax 0.12) stores one gradient, and makes the other of it. Held by the tests of bytes.
            lambda *args: -slope(_gap(*map(prevent_cse, args[:4])), *args[4:]),
            None,
            None,
            *map(of_option, slopes),
        )
        def of_arrays(*args: Array) -> Array:
            return value(_gap(*args[:4]), *args[4:])

        return of_arrays

    return wrap


def _slope_of_logistic(gap: Array, beta: Array, smoothing: Array) -> Array:
    return bce_derivative(-beta * gap, smoothing)


@_of_gap(
    lambda gap, beta, smoothing: -beta * _slope_of_logistic(gap, beta, smoothing),
    lambda gap, beta, smoothing: -gap * _slope_of_logistic(gap, beta, smoothing),
    lambda gap, beta, smoothing: beta * gap,
)
def _logistic(gap: Array, beta: Array, smoothing: Array) -> Array:
    """-(1 - s) log sigmoid(beta d) - s log sigmoid(-beta d)"""
    return bce_of_logits(-beta * gap, smoothing)


@_of_gap(lambda gap, wanted: 2 * (gap - wanted), lambda gap, wanted: -2 * (gap - wanted))
def _squared(gap: Array, wanted: Array) -> Array:
    return jnp.square(gap - wanted)


def _complement(log_p: Array) -> Array:
    """1 - p of log p, to the last digit; not below the smallest normal number, which stands for p = 1."""
    return jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).tiny)


def _of_chosen(chosen: Array, rejected: Array) -> Array:
    """-sigmoid(o(l_r) - o(l_c)) / (1 - p_c), whose two factors may be 0 and infinite, as one quotient."""
    # One by a power of nearly the largest number is no normal number: 0 as well, but with derivatives.
    ratio = jnp.exp(jnp.minimum(chosen - rejected, math.log(jnp.finfo(chosen.dtype).max) - 0.5))
    return -stable_divide(jnp.ones_like(chosen), _complement(chosen) + _complement(rejected) * ratio)


def _of_rejected(chosen: Array, rejected: Array) -> Array:
    """sigmoid(o(l_r) - o(l_c)) / (1 - p_r)"""
    return -stable_divide(_complement(chosen), _complement(rejected)) * _of_chosen(chosen, rejected)


# Otherwise XLA:CPU stores what the two slopes have in common.
@with_derivatives(_of_chosen, lambda *both: _of_rejected(*map(prevent_cse, both)))
def _odds_ratio(chosen: Array, rejected: Array) -> Array:
    """log(1 + ratio of the odds)"""
    complements = stable_divide(_complement(chosen), _complement(rejected))
    ratio = jnp.exp(rejected - chosen) * complements
    return jnp.where(ratio == jnp.inf, (rejected - chosen) + jnp.log(complements), jnp.log1p(ratio))


@with_derivatives(
    lambda gain, desirable, undesirable: (undesirable - desirable) * sigmoid_derivative(gain),
    lambda gain, desirable, undesirable: jax.nn.sigmoid(-gain),
    lambda gain, desirable, undesirable: jax.nn.sigmoid(gain),
)
def _prospect(gain: Array, desirable: Array, undesirable: Array) -> Array:
    """How much each kind of response falls short."""
    return desirable * jax.nn.sigmoid(-gain) + undesirable * jax.nn.sigmoid(gain)
