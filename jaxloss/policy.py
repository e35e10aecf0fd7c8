"""Policies: responses that a model has sampled are made more or less likely, by how good they turned out to be.

The arrays are log-probabilities of sampled tokens, (..., time). "mean" is over the tokens that `where` keeps; the other
means in use are `reductions.sequence_mean` and a `count`.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._contracts import Contract
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.safe import fill_masked, nan_unless, safe_divide, safe_multiply
from jaxloss._numerics.xla import fuse_whole
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction


@compiled_when_eager
def policy_gradient_loss(
    pred: Float[ArrayLike, "*batch"],
    advantage: Float[ArrayLike, "..."],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The policy gradient of REINFORCE: what turned out well becomes more likely, in proportion to how well.

        loss = -A l

    Its gradient is right for tokens that this very model sampled; for those of an older one see `clipped_policy_loss`.
    Its value says nothing of how good the model is. No gradient flows to the advantage.

    Args:
        pred: log-probabilities of the sampled tokens, (..., time), floating.
        advantage: how much better than expected, any numbers, floating: of exactly the shape of `pred`, or, for one a
            sequence, of its shape without the last axis.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, log-probabilities above 0.

    PyTorch: none.

    Elsewhere: verl's policy loss "gpg", rlax's `policy_gradient_loss`.

    Reference: R. J. Williams, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
    Learning, 1992, doi:10.1007/BF00992696.

    >>> policy_gradient_loss(jnp.array([[-1.0, -2.0], [-3.0, -1.0]]), jnp.array([1.0, -0.5]), reduction="none")
    Array([[ 1. ,  2. ],
           [-1.5, -0.5]], dtype=float32)
    """
    call = Call("policy_gradient_loss", sample_weight, where, reduction)
    (pred,) = call.log_probabilities(pred=pred)
    return call.reduce(fuse_whole(_weighted(pred, _advantage(call, pred, advantage))))


@compiled_when_eager
def clipped_policy_loss(
    pred: Float[ArrayLike, "*batch"],
    old: Float[ArrayLike, "*batch"],
    advantage: Float[ArrayLike, "..."],
    *,
    clip_low: Real[ArrayLike, ""] = 0.2,
    clip_high: Real[ArrayLike, ""] | None = None,
    dual_clip: Real[ArrayLike, ""] | None = None,
    importance: Literal["token", "sequence"] = "token",
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The clipped surrogate of PPO, GRPO, DAPO and GSPO, of tokens that an older model sampled:

        w = exp(l - l_old)                              for importance="token"
        w = exp(sum_t (l_t - l_old_t) / tokens)         for importance="sequence"
        loss = max(-A w, -A min(max(w, 1 - clip_low), 1 + clip_high))
        loss = min(loss, -A dual_clip)                  if A < 0, with dual_clip

    Where the ratio w has left the interval in the direction in which the advantage pushes it, the gradient is 0. A
    ratio that overflows is clipped as any other; only for a negative advantage, without `dual_clip`, nothing bounds it.

    The ratio of a sequence is over its kept tokens, and each of them has a loss, which is the same; it is
    differentiated through. The mean of GSPO and of the paper of GRPO is `reduction=reductions.sequence_mean`; DAPO's is
    "mean", or by the `count` of the tokens of the step. `weighted_sum` adds a `kl_penalty`. No gradient flows to `old`,
    nor to the advantage.

    Args:
        pred: log-probabilities of the sampled tokens under the model, (..., time), floating.
        old: those under the model that sampled them, floating, of exactly the shape of `pred`.
        advantage: how much better than expected, any numbers, floating: of exactly the shape of `pred`, or, for one a
            sequence, of its shape without the last axis.
        clip_low: in [0, 1], how far below 1 the ratio counts. May be traced.
        clip_high: at least 0, how far above 1 it counts; None for as far as below (DAPO: 0.28). May be traced.
        dual_clip: greater than 1, the largest ratio that counts for a negative advantage; None for no bound. May be
            traced.
        importance: whether each token has a ratio of its own, or each sequence ("sequence", GSPO, whose bounds are
            about a thousandth).
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, or an unknown `importance` or `reduction`.
        JaxRuntimeError: under `chex.chexify`, log-probabilities above 0.

    PyTorch: none.

    Elsewhere: TRL's `GRPOTrainer` (`epsilon`, `epsilon_high`, `importance_sampling_level`; its `delta` caps the ratio
    that is not clipped, whatever the sign of the advantage); verl's "vanilla" (`clip_ratio_c` is the dual clip, 3 by
    default and always on; log-ratios within 20) and "gspo"; OpenRLHF's `PolicyLoss`; tunix's GRPO (`epsilon`,
    `epsilon_high`). The ratio of a sequence has the same value everywhere; verl and tunix give its gradient to each
    token apart.

    Reference: J. Schulman et al., Proximal Policy Optimization Algorithms, arXiv:1707.06347; GRPO: arXiv:2402.03300;
    DAPO: arXiv:2503.14476; dual clip: D. Ye et al., arXiv:1912.09729; GSPO: C. Zheng et al., arXiv:2507.18071.

    >>> pred, old = jnp.log(jnp.array([0.6, 0.6])), jnp.log(jnp.array([0.3, 0.3]))
    >>> print(f"{clipped_policy_loss(pred, old, jnp.array([1.0, -1.0])):.4f}")  # of -1.2 and 2
    0.4000
    """
    call = Call("clipped_policy_loss", sample_weight, where, reduction)
    pred, old = call.log_probabilities(pred=pred, old=old)
    advantage = _advantage(call, pred, advantage)
    clip_low = call.fraction(clip_low=clip_low)
    clip_high = clip_low if clip_high is None else call.nonnegative(clip_high=clip_high)
    largest = (
        jnp.inf if dual_clip is None else call.number(lambda value: value > 1, "above 1", {"dual_clip": dual_clip})
    )

    log_ratio = pred - jax.lax.stop_gradient(old)
    if importance == "sequence":
        log_ratio = _mean_over_time(call, log_ratio)
    elif importance != "token":
        raise ValueError(f'clipped_policy_loss: `importance` must be "token" or "sequence", got {importance!r}.')
    bounds = call.numbers(1 - clip_low, 1 + clip_high, largest)
    return call.reduce(fuse_whole(_clipped(log_ratio, advantage, *bounds)))


@compiled_when_eager
def cispo_loss(
    pred: Float[ArrayLike, "*batch"],
    old: Float[ArrayLike, "*batch"],
    advantage: Float[ArrayLike, "..."],
    *,
    ratio_low: Real[ArrayLike, ""] = 0.0,
    ratio_high: Real[ArrayLike, ""] = 5.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The policy gradient with clipped importance weights: no token loses its gradient, as in `clipped_policy_loss`.

        w = min(max(exp(l - l_old), ratio_low), ratio_high)
        loss = -A w l

    The weight w is a constant to the gradient, and so are its bounds; no gradient flows to `old`, nor to the advantage.

    Args:
        pred: log-probabilities of the sampled tokens under the model, (..., time), floating.
        old: those under the model that sampled them, floating, of exactly the shape of `pred`.
        advantage: how much better than expected, any numbers, floating: of exactly the shape of `pred`, or, for one a
            sequence, of its shape without the last axis.
        ratio_low: the least weight, at least 0: a bound of the ratio, no distance to 1. May be traced.
        ratio_high: the largest weight, greater than 0 and not below the least. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, log-probabilities above 0.

    PyTorch: none.

    Elsewhere: TRL's `GRPOTrainer` with "cispo" and Liger (`epsilon_high` is the largest weight, about 5, and there is
    no least one), verl's and NeMo-RL's "cispo" (which clip to 1 - epsilon and 1 + epsilon).

    Reference: MiniMax, MiniMax-M1, arXiv:2506.13585.

    >>> pred, old = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.05]))
    >>> print(f"{cispo_loss(pred, old, jnp.array([1.0, 1.0])):.4f}")  # of 2 log 2 and 5 log 2
    2.4260
    """
    call = Call("cispo_loss", sample_weight, where, reduction)
    pred, old = call.log_probabilities(pred=pred, old=old)
    advantage = _advantage(call, pred, advantage)
    bounds = call.numbers(call.nonnegative(ratio_low=ratio_low), call.positive(ratio_high=ratio_high))
    return call.reduce(fuse_whole(_weighted_by_ratio(pred, old, advantage, *bounds)))


@compiled_when_eager
def value_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    old: Float[ArrayLike, "*batch"],
    *,
    clip: Real[ArrayLike, ""] = 0.2,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""PPO's loss of a value function: half the squared error, of the value or of the clipped one, if that is larger.

        v_c = min(max(v, v_old - clip), v_old + clip)
        loss = max((v - R)^2, (v_c - R)^2) / 2

    Where the value has gone from the old one beyond the clip, and towards the target, the gradient is 0. No gradient
    flows to the target, nor to the old value.

    Args:
        pred: values v, any numbers, floating.
        target: returns R, floating, of exactly the shape of `pred`.
        old: values of the model that sampled, floating, of exactly the shape of `pred`.
        clip: how far from the old value the loss is followed, at least 0, in the unit of the values; infinite for no
            bound. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number `clip` below 0, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: TRL's `PPOTrainer` (`cliprange_value`, 0.2), OpenRLHF's `ValueLoss`, verl's `compute_value_loss`
    (`cliprange_value`, 0.5), tunix's PPO: the same everywhere.

    Reference: J. Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage Estimation,
    arXiv:1506.02438; the clip is of the code of PPO, see S. Huang et al., arXiv:2403.17031.

    >>> value_loss(jnp.array([1.0, 1.0]), jnp.array([2.0, 0.0]), jnp.array([0.0, 0.5]), clip=0.5, reduction="none")
    Array([1.125, 0.5  ], dtype=float32)
    """
    call = Call("value_loss", sample_weight, where, reduction)
    pred, target, old = call.elementwise(pred=pred, target=target, old=old)
    (clip,) = call.numbers(call.nonnegative(clip=clip))
    return call.reduce(fuse_whole(_clipped_error(pred, target, old, clip)))


@compiled_when_eager
def kl_penalty(
    pred: Float[ArrayLike, "*batch"],
    reference: Float[ArrayLike, "*batch"],
    *,
    estimator: Literal["k1", "k2", "k3"] = "k3",
    bound: Real[ArrayLike, ""] | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Estimates of KL(model || reference), each from one token that the model sampled, with d = l - l_ref:

        loss = d                     for "k1": unbiased, may be negative
        loss = d^2 / 2               for "k2": at least 0, biased
        loss = exp(-d) - 1 + d       for "k3": unbiased, at least 0

    This is of the values. As a loss, it is k2 whose gradient is that of the divergence; the gradient of k1 is 0 on
    average, and that of k3 belongs to the divergence the other way round. k3 overflows where the reference finds a
    token e^88 times as likely: a `bound` of the log-ratio, which others set without asking, is yours to choose. Beyond
    it the gradient is 0. No gradient flows to the reference.

    Args:
        pred: log-probabilities of the sampled tokens under the model, (..., time), floating.
        reference: those under the reference model, floating, of exactly the shape of `pred`.
        estimator: which of the three.
        bound: greater than 0, the largest absolute value of d, in nats; None for no bound. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number `bound` not above 0, or an unknown `estimator` or `reduction`.
        JaxRuntimeError: under `chex.chexify`, log-probabilities above 0.

    PyTorch: none.

    Elsewhere: TRL's GRPO (k3, no bound); verl's "kl", "mse" and "low_var_kl" (log-ratios within 20, k3 within 10),
    tunix's "kl", "mse_kl" and "low_var_kl", OpenRLHF's `compute_approx_kl` (within 10), NeMo-RL (20 and 10).

    Reference: J. Schulman, Approximating KL Divergence, 2020, joschu.net/blog/kl-approx.html; k3 as a loss:
    arXiv:2402.03300.

    >>> print(f"{kl_penalty(jnp.array([-1.0, -2.0]), jnp.array([-2.0, -1.0])):.4f}")  # of 1 / e and e - 2
    0.5431
    """
    call = Call("kl_penalty", sample_weight, where, reduction)
    pred, reference = call.log_probabilities(pred=pred, reference=reference)
    if estimator not in _ESTIMATORS:
        raise ValueError(f"kl_penalty: `estimator` must be one of {', '.join(_ESTIMATORS)}, got {estimator!r}.")
    log_ratio = pred - jax.lax.stop_gradient(reference)
    if bound is not None:
        log_ratio = _bounded(log_ratio, *call.numbers(call.positive(bound=bound)))
    return call.reduce(fuse_whole(_ESTIMATORS[estimator](log_ratio)))


@compiled_when_eager
def group_advantages(
    rewards: Float[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    baseline: Literal["mean", "leave_one_out"] = "mean",
    scale: bool = True,
    eps: Real[ArrayLike, ""] = 1e-4,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, "*batch"]:
    r"""How much better each response is than the others to the same prompt: an array, no loss.

        A_i = (r_i - mean(r)) / (s + eps)            GRPO, s: the standard deviation of the sample, by n - 1
        A_i = r_i - mean(r)                          Dr. GRPO: scale=False
        A_i = r_i - mean_{j != i}(r_j)               RLOO: scale=False, baseline="leave_one_out"

    A response alone in its group has advantage 0, and so have equal rewards, exactly. No gradient flows to the rewards.

    Args:
        rewards: one number a response, floating, with the responses to one prompt along `axis`.
        axis: the axis of a group.
        baseline: what a reward is compared with: the mean of its group, or of the others in it.
        scale: whether advantages are divided by the standard deviation of the rewards in their group.
        eps: added to the standard deviation, at least 0, in the unit of the rewards. May be traced.
        where: booleans that broadcast to `rewards`; a response where it is False is in no group and has advantage 0.

    Returns:
        An array of the shape of `rewards`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number `eps` below 0, no such `axis`, or an unknown `baseline`.

    PyTorch: none.

    Elsewhere: TRL's `GRPOTrainer` (`scale_rewards`) and `RLOOTrainer`, verl's "grpo" (`norm_adv_by_std_in_grpo`; eps
    1e-6, and a response alone keeps its reward) and "rloo", tunix's `compute_advantages`.

    Reference: Z. Shao et al., DeepSeekMath, arXiv:2402.03300; Dr. GRPO: Z. Liu et al., arXiv:2503.20783; RLOO:
    A. Ahmadian et al., arXiv:2402.14740.

    >>> print(group_advantages(jnp.array([[1.0, 0.0, 2.0], [5.0, 5.0, 5.0]])).round(4))
    [[ 0.     -0.9999  0.9999]
     [ 0.      0.      0.    ]]
    """
    contract = Contract("group_advantages")
    (rewards,) = contract.floats(rewards=rewards)
    contract.dtype = rewards.dtype
    axis = contract.axis(axis, rewards.ndim, "rewards")
    keep = contract.mask(rewards.shape, "the rewards", where=where)
    (rewards,) = fill_masked(keep, 0.0, jax.lax.stop_gradient(rewards))
    eps = contract.nonnegative(eps=eps)
    if baseline not in ("mean", "leave_one_out"):
        raise ValueError(f'group_advantages: `baseline` must be "mean" or "leave_one_out", got {baseline!r}.')

    def total(values: Array) -> Array:
        return jnp.sum(values, axis, rewards.dtype, keepdims=True, where=keep)

    # From the largest: what is equal differs by 0 then, whatever the sum rounds to.
    shifted = rewards - jnp.max(rewards, axis, keepdims=True, where=keep, initial=-jnp.inf)
    count = total(jnp.ones_like(rewards))
    (deviation,) = fill_masked(keep, 0.0, shifted - safe_divide(total(shifted), count))
    spread = jnp.sqrt(safe_divide(total(jnp.square(deviation)), count - 1))
    if baseline == "leave_one_out":
        deviation = safe_divide(count * deviation, count - 1)
    return safe_divide(deviation, jnp.broadcast_to(spread + eps, deviation.shape)) if scale else deviation


def _advantage(call: Call, pred: Array, advantage: Any) -> Array:
    """One a token, or one a sequence; 0 for a token that is hidden. Constant."""
    hint = "One a token, or one a sequence: without the last axis."
    advantage = call.floating([pred.shape, pred.shape[:-1]], hint, advantage=advantage)
    advantage = jnp.broadcast_to(advantage[..., None] if advantage.ndim < pred.ndim else advantage, pred.shape)
    return jax.lax.stop_gradient(call.visible(0.0, advantage)[0])


def _mean_over_time(call: Call, log_ratio: Array) -> Array:
    """The mean of the kept tokens of a sequence, for each of its tokens; it is 0 where a token is hidden."""
    call.require_shape("`pred` must have the tokens on its last axis for a ratio of sequences", log_ratio, (..., None))
    keep = jnp.ones(log_ratio.shape, bool) if call.keep is None else call.keep
    tokens = jnp.sum(keep, -1, log_ratio.dtype, keepdims=True)
    return jnp.broadcast_to(safe_divide(jnp.sum(log_ratio, -1, keepdims=True), tokens), log_ratio.shape)


def _slope_of_likelihood(pred: Array, weight: Array) -> Array:
    return -weight * nan_unless(~jnp.isnan(pred))


@with_derivatives(_slope_of_likelihood, None)
def _weighted(pred: Array, weight: Array) -> Array:
    return -safe_multiply(weight, pred)


def _weight(pred: Array, old: Array, advantage: Array, low: Array, high: Array) -> Array:
    return jax.lax.stop_gradient(advantage * jnp.clip(jnp.exp(pred - old), low, high))


# The weight is made twice, so that it is not stored.
@with_derivatives(lambda pred, *rest: _slope_of_likelihood(pred, _weight(pred, *rest)), None, None, None, None)
def _weighted_by_ratio(pred: Array, old: Array, advantage: Array, low: Array, high: Array) -> Array:
    return -safe_multiply(_weight(pred, old, advantage, low, high), pred)


def _too_low_or_high(log_ratio: Array, advantage: Array, low: Array, high: Array, dual: Array) -> tuple[Array, ...]:
    """Whether a ratio is clipped, by which bound: the one in whose direction the advantage pushes, and the dual one."""
    gains = advantage >= 0
    return (
        ~gains & (log_ratio < jnp.log(low)),
        gains & (log_ratio > jnp.log(high)),
        ~gains & (log_ratio > jnp.log(dual)),
    )


def _slope_of_clipped(log_ratio: Array, advantage: Array, *bounds: Array) -> Array:
    """-A w, and 0 where the ratio is clipped, which NaN is not."""
    low, high, dual = _too_low_or_high(log_ratio, advantage, *bounds)
    clipped = low | high | dual
    # A ratio that overflows has no derivative, and is not formed where it is clipped.
    slope = jnp.where(clipped, 0.0, -advantage * jnp.exp(jnp.where(clipped, 0.0, log_ratio)))
    return slope * nan_unless(~jnp.isnan(bounds[0] + bounds[1] + bounds[2]))


def _slope_of_bound(which: int) -> Callable[..., Array]:
    return lambda log_ratio, advantage, *bounds: jnp.where(
        _too_low_or_high(log_ratio, advantage, *bounds)[which], -advantage, 0.0
    )


@with_derivatives(_slope_of_clipped, None, _slope_of_bound(0), _slope_of_bound(1), _slope_of_bound(2))
def _clipped(log_ratio: Array, advantage: Array, low: Array, high: Array, dual: Array) -> Array:
    ratio = jnp.exp(log_ratio)
    return -advantage * jnp.where(advantage >= 0, jnp.minimum(ratio, high), jnp.clip(ratio, low, dual))


def _error_that_counts(pred: Array, target: Array, old: Array, clip: Array) -> tuple[Array, Array]:
    """The error of the value, and whether that of the clipped value is larger.

    By signs: the two may be the same number, rounded.
    """
    error, clipped = pred - target, jnp.clip(pred, old - clip, old + clip)
    return error, jnp.sign(clipped - pred) * ((clipped - target) + error) > 0


def _slope_of_value(pred: Array, target: Array, old: Array, clip: Array) -> Array:
    error, clipped = _error_that_counts(pred, target, old, clip)
    return jnp.where(clipped, 0.0, error) * nan_unless(~jnp.isnan(clip))


def _slope_of_clip(pred: Array, target: Array, old: Array, clip: Array) -> Array:
    _, clipped = _error_that_counts(pred, target, old, clip)
    sign = jnp.sign(pred - old)
    return jnp.where(clipped, sign * (old + sign * clip - target), 0.0)


@with_derivatives(_slope_of_value, None, None, _slope_of_clip)
def _clipped_error(pred: Array, target: Array, old: Array, clip: Array) -> Array:
    clipped = jnp.clip(pred, old - clip, old + clip)
    return 0.5 * jnp.maximum(jnp.square(pred - target), jnp.square(clipped - target))


@with_derivatives(
    lambda value, bound: jnp.where(jnp.abs(value) > bound, 0.0, nan_unless(~jnp.isnan(value))),
    lambda value, bound: jnp.where(jnp.abs(value) > bound, jnp.sign(value), 0.0),
)
def _bounded(value: Array, bound: Array) -> Array:
    return jnp.clip(value, -bound, bound)


@with_derivatives(lambda log_ratio: nan_unless(~jnp.isnan(log_ratio)))
def _k1(log_ratio: Array) -> Array:
    return log_ratio


@with_derivatives(lambda log_ratio: log_ratio)
def _k2(log_ratio: Array) -> Array:
    return 0.5 * jnp.square(log_ratio)


@with_derivatives(lambda log_ratio: -jnp.expm1(-log_ratio))
def _k3(log_ratio: Array) -> Array:
    """exp(-d) - 1 + d, near 0 by its series: there the terms cancel."""
    near = jnp.abs(log_ratio) < 1
    small = jnp.where(near, log_ratio, 0.0)
    series = jnp.full_like(small, 1.0)
    for order in range(TERMS[log_ratio.dtype.itemsize], 2, -1):
        series = 1 - small * series / order
    return jnp.where(near, 0.5 * jnp.square(small) * series, jnp.expm1(-log_ratio) + log_ratio)


# By the size of the dtype: where the next term of the series is less than half an ulp of the sum.
TERMS = {4: 12, 8: 20}

_ESTIMATORS: dict[str, Callable[[Array], Array]] = {"k1": _k1, "k2": _k2, "k3": _k3}
