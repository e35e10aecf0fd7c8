import functools
import math
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss import reductions
from tests.support import assert_close

RNG = np.random.default_rng(0)
PRED = -RNG.gamma(2.0, 0.5, size=(4, 5)).astype(np.float32)
OLD = (PRED * np.exp(0.3 * RNG.normal(size=(4, 5)))).astype(np.float32)
ADVANTAGE = np.array([1.0, -0.5, 2.0, -1.0], np.float32)
KEEP = np.arange(5) < np.array([5, 3, 1, 0])[:, None]


def test_one_advantage_a_sequence_is_one_a_token():
    for loss in (
        lambda advantage: jaxloss.policy_gradient_loss(PRED, advantage, where=KEEP),
        lambda advantage: jaxloss.clipped_policy_loss(PRED, OLD, advantage, where=KEEP),
        lambda advantage: jaxloss.cispo_loss(PRED, OLD, advantage, where=KEEP),
    ):
        assert_close(loss(ADVANTAGE), loss(np.broadcast_to(ADVANTAGE[:, None], PRED.shape)), 1e-7)


def test_nothing_flows_to_what_was_sampled():
    def gradients(pred, other, advantage):
        return [
            jax.grad(jaxloss.policy_gradient_loss, (0, 1))(pred, advantage),
            jax.grad(jaxloss.clipped_policy_loss, (0, 1, 2))(pred, other, advantage),
            jax.grad(functools.partial(jaxloss.clipped_policy_loss, importance="sequence"), (0, 1, 2))(
                pred, other, advantage
            ),
            jax.grad(jaxloss.cispo_loss, (0, 1, 2))(pred, other, advantage),
            jax.grad(jaxloss.value_loss, (0, 1, 2))(pred, other - 1, other),
            jax.grad(jaxloss.kl_penalty, (0, 1))(pred, other),
            jax.grad(lambda pred, rewards: jnp.vdot(pred[:, 0], jaxloss.group_advantages(rewards)), (0, 1))(
                pred, advantage
            ),
        ]

    for of_pred, *others in jax.jit(gradients)(PRED, OLD, ADVANTAGE):
        assert of_pred.any()
        assert not any(other.any() for other in others)


def test_the_ratio_is_clipped_where_the_advantage_pushes_it():
    """The table of PPO: the advantage's sign by the side on which the ratio has left the interval."""
    ratio, advantage = np.array([1.5, 1.5, 0.5, 0.5, 1.1]), np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    pred = jnp.float32(np.log(ratio) - 1)
    step = jax.value_and_grad(lambda pred, **options: _sum_and_values(pred, advantage, **options), has_aux=True)
    (_, values), slopes = step(pred)
    np.testing.assert_allclose(values, [-1.2, 1.5, -0.5, 0.8, -1.1], rtol=1e-6)
    np.testing.assert_allclose(slopes, [0, 1.5, -0.5, 0, -1.1], rtol=1e-6)
    (_, values), slopes = step(pred, clip_low=0.1, clip_high=0.6, dual_clip=1.25)
    np.testing.assert_allclose(values, [-1.5, 1.25, -0.5, 0.9, -1.1], rtol=1e-6)
    np.testing.assert_allclose(slopes, [-1.5, 0, -0.5, 0, -1.1], rtol=1e-6)


def _sum_and_values(pred, advantage, **options):
    values = jaxloss.clipped_policy_loss(
        pred, jnp.full_like(pred, -1), jnp.float32(advantage), reduction="none", **options
    )
    return values.sum(), values


def test_on_the_samples_of_the_model_itself_it_is_the_policy_gradient():
    gradients = [
        jax.grad(lambda pred: loss(pred))(jnp.asarray(PRED))  # noqa: B023
        for loss in (
            lambda pred: jaxloss.policy_gradient_loss(pred, ADVANTAGE, where=KEEP),
            lambda pred: jaxloss.clipped_policy_loss(pred, PRED, ADVANTAGE, where=KEEP),
            lambda pred: jaxloss.cispo_loss(pred, PRED, ADVANTAGE, where=KEEP),
        )
    ]
    assert_close(gradients[0], KEEP * -ADVANTAGE[:, None] / KEEP.sum(), 1e-6)
    assert_close(gradients[1], gradients[0], 1e-6)
    assert_close(gradients[2], gradients[0], 1e-6)


@pytest.mark.parametrize("reduction", ["none", reductions.sequence_mean])
def test_the_ratio_of_a_sequence_is_over_its_kept_tokens_and_differentiated_through(reduction):
    hidden = np.where(KEEP, PRED, np.nan)

    def plain(pred):
        """GSPO as its paper has it: the ratio of each sequence by itself."""
        total = 0.0
        for row, tokens in enumerate(KEEP.sum(1)[:3]):
            ratio = jnp.exp((pred[row, :tokens] - OLD[row, :tokens]).mean())
            clipped = jnp.clip(ratio, 0.9, 1.1)
            value = -jnp.minimum(ratio * ADVANTAGE[row], clipped * ADVANTAGE[row])
            total += value * tokens if reduction == "none" else value / 3
        return total

    def ours(pred):
        options = {"clip_low": 0.1, "importance": "sequence", "where": KEEP, "reduction": reduction}
        return jaxloss.clipped_policy_loss(pred, OLD, ADVANTAGE, **options).sum()

    expected, slopes = jax.value_and_grad(plain)(jnp.asarray(PRED))
    value, gradient = jax.value_and_grad(ours)(jnp.asarray(hidden))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert_close(gradient, slopes, 1e-6)
    assert np.unique(gradient[0]).size == 1


@pytest.mark.parametrize("importance", ["token", "sequence"])
def test_a_ratio_that_overflows_is_clipped_as_any_other(importance):
    pred, old = jnp.zeros((2, 3)), jnp.full((2, 3), -1000.0)

    def loss(pred, **options):
        advantage = jnp.array([2.0, options.pop("second", 0.0)])
        return jaxloss.clipped_policy_loss(pred, old, advantage, importance=importance, reduction="sum", **options)

    value, gradient = jax.value_and_grad(loss)(pred)
    np.testing.assert_allclose(value, -3 * 2.4, rtol=1e-6)
    assert not gradient.any()
    # Against a negative advantage the dual bound holds it, and nothing else.
    value, gradient = jax.value_and_grad(functools.partial(loss, second=-1.0, dual_clip=3.0))(pred)
    np.testing.assert_allclose(value, 3 * (3 - 2.4), rtol=1e-6)
    assert not gradient.any()
    assert loss(pred, second=-1.0) == np.inf


def test_cispo_keeps_the_gradient_that_ppo_clips():
    pred, old = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.05]))
    ones = jnp.ones(2)
    assert not jax.grad(jaxloss.clipped_policy_loss)(pred, old, ones).any()
    gradient = jax.grad(functools.partial(jaxloss.cispo_loss, reduction="sum"))(pred, old, ones)
    np.testing.assert_allclose(gradient, [-2, -5], rtol=1e-6)


def test_a_value_beyond_the_clip_is_not_followed_towards_its_return():
    pred, target, old = jnp.array([1.0, 1.0, 0.1]), jnp.array([2.0, -2.0, 1.0]), jnp.zeros(3)
    loss = functools.partial(jaxloss.value_loss, reduction="sum")
    value, gradient = jax.value_and_grad(loss)(pred, target, old, clip=0.5)
    np.testing.assert_allclose(value, (1.5**2 + 3**2 + 0.9**2) / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient, [0, 3, -0.9], rtol=1e-6)
    whole = jaxloss.value_loss(pred, target, old, clip=np.inf)
    np.testing.assert_allclose(whole, jaxloss.mse_loss(pred, target) / 2, rtol=1e-6)


P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
DIVERGENCE = float((P * np.log(P / Q)).sum())


def test_k1_and_k3_are_unbiased_and_k2_has_the_gradient_of_the_divergence():
    """Over all tokens of a distribution of three, weighted by how often each is sampled."""

    def estimate(logits, estimator):
        sampled = jax.lax.stop_gradient(jax.nn.softmax(logits))
        options = {"estimator": estimator, "sample_weight": sampled, "reduction": "sum"}
        return jaxloss.kl_penalty(jax.nn.log_softmax(logits), jnp.float32(np.log(Q)), **options)

    def divergence(logits):
        return jnp.vdot(jax.nn.softmax(logits), jax.nn.log_softmax(logits) - np.log(Q).astype(np.float32))

    logits = jnp.float32(np.log(P))
    found = {name: jax.value_and_grad(estimate)(logits, name) for name in ("k1", "k2", "k3")}
    np.testing.assert_allclose([found["k1"][0], found["k3"][0]], DIVERGENCE, rtol=1e-5)
    assert abs(found["k2"][0] - DIVERGENCE) > 1e-3
    true = jax.grad(divergence)(logits)
    np.testing.assert_allclose(found["k2"][1], true, atol=1e-6)
    np.testing.assert_allclose(found["k1"][1], np.zeros(3), atol=1e-6)
    # Of KL(reference || model): P - Q by the logits.
    np.testing.assert_allclose(found["k3"][1], P - Q, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_k3_keeps_its_digits_on_both_sides_of_its_series(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        steps = np.concatenate([-np.logspace(-6, 0.5, 40), np.logspace(-6, 0.5, 40), [1.0, -1.0]]).astype(dtype)
        # Differences that are exact.
        values = jaxloss.kl_penalty(jnp.where(steps < 0, steps, 0), jnp.where(steps < 0, 0, -steps), reduction="none")
        exact = np.longdouble(steps)
        terms = [(-exact) ** n / math.factorial(n) for n in range(2, 40)]
        np.testing.assert_allclose(values, np.sum(terms, 0).astype(float), rtol=4 * float(jnp.finfo(dtype).eps))


def test_a_bound_holds_the_penalty_and_stops_its_gradient():
    pred, reference = jnp.array([-1000.0, -1.0]), jnp.array([0.0, -1.5])
    value, gradient = jax.value_and_grad(functools.partial(jaxloss.kl_penalty, bound=10.0))(pred, reference)
    np.testing.assert_allclose(value, ((math.exp(10) - 11) + (math.exp(-0.5) - 0.5)) / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient, [0, (1 - math.exp(-0.5)) / 2], rtol=1e-6)
    assert jaxloss.kl_penalty(pred, reference) == np.inf


def test_parts_of_a_grpo_step_add_up_to_the_step():
    """Advantages of groups, the loss and its penalty by the tokens of the step, in two parts and in one."""

    @jax.jit
    def step(pred, old, advantage, keep, count):
        def loss(pred, reduction):
            options = {"where": keep, "reduction": functools.partial(reduction, count=count)}
            policy = jaxloss.clipped_policy_loss(pred, old, advantage, **options)
            kl = jaxloss.kl_penalty(pred, old, **options)
            return jaxloss.weighted_sum({"policy": policy, "kl": kl}, {"policy": 1.0, "kl": 0.04})[0]

        return [jax.value_and_grad(loss)(pred, each) for each in (reductions.mean, reductions.sequence_mean)]

    arrays = [PRED, OLD, ADVANTAGE, KEEP]
    counts = KEEP.sum(), KEEP.any(1).sum()
    for which, (reduction, count) in enumerate(zip((reductions.mean, reductions.sequence_mean), counts, strict=True)):
        parts = [step(*(array[part] for array in arrays), count)[which] for part in (slice(0, 2), slice(2, 4))]
        value, gradient = step(*arrays, count)[which]
        assert_close(sum(value for value, _ in parts), value, 1e-6)
        assert_close(np.concatenate([gradient for _, gradient in parts]), gradient, 1e-6)
        alone = jaxloss.clipped_policy_loss(*arrays[:3], where=KEEP, reduction=reduction)
        penalty = jaxloss.kl_penalty(PRED, OLD, where=KEEP, reduction=reduction)
        np.testing.assert_allclose(value, alone + 0.04 * penalty, rtol=1e-6)


REWARDS = np.array([[1.0, 0.0, 2.0], [5.0, 5.0, 5.0], [0.1, 0.1, 0.1]], np.float32)


def test_advantages_of_grpo_dr_grpo_and_rloo():
    whole = jaxloss.group_advantages(REWARDS)
    np.testing.assert_allclose(whole[0], np.array([0, -1, 1]) / (1 + 1e-4), rtol=1e-6)
    np.testing.assert_allclose(jaxloss.group_advantages(REWARDS, scale=False)[0], [0, -1, 1], rtol=1e-6)
    rloo = jaxloss.group_advantages(REWARDS, scale=False, baseline="leave_one_out")
    np.testing.assert_allclose(rloo[0], [0, -1.5, 1.5], rtol=1e-6)
    for equal in (whole[1:], rloo[1:], jaxloss.group_advantages(REWARDS, eps=0.0)[1:]):
        assert not equal.any()
    assert_close(jaxloss.group_advantages(REWARDS.T, axis=0), whole.T, 1e-7)


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out"])
@pytest.mark.parametrize("scale", [True, False])
def test_a_response_alone_has_no_advantage_and_a_hidden_one_is_deleted(baseline, scale):
    options = {"baseline": baseline, "scale": scale}
    assert not jaxloss.group_advantages(np.array([[3.0], [7.0]], np.float32), **options).any()
    rewards = np.array([[1.0, np.nan, 2.0, 4.0], [np.inf, np.nan, 3.0, np.nan], [np.nan] * 4], np.float32)
    keep = np.isfinite(rewards)
    found = jaxloss.group_advantages(rewards, where=keep, **options)
    expected = np.zeros((3, 4), np.float32)
    expected[0, keep[0]] = jaxloss.group_advantages(rewards[0, keep[0]], **options)
    assert_close(found, expected, 1e-6)


def test_advantages_keep_the_contract():
    for wrong, error, message in (
        (lambda: jaxloss.group_advantages(np.ones((2, 2), int)), AssertionError, "`rewards` must be floating"),
        (lambda: jaxloss.group_advantages(REWARDS, where=REWARDS), AssertionError, "`where` must be boolean"),
        (lambda: jaxloss.group_advantages(REWARDS, eps=-1.0), ValueError, "`eps` must be at least 0"),
        (lambda: jaxloss.group_advantages(REWARDS, axis=2), ValueError, "`axis` must be an axis of `rewards`"),
        (lambda: cast(Any, jaxloss).group_advantages(REWARDS, baseline="rloo"), ValueError, "`baseline` must be"),
    ):
        with pytest.raises(error, match=f"group_advantages: {message}"):
            wrong()
    assert np.isnan(jaxloss.group_advantages(REWARDS, eps=jnp.float32(-1))[0]).all()
    assert jaxloss.group_advantages(REWARDS.astype(jnp.bfloat16)).dtype == jnp.float32
    mapped = jax.jit(jax.vmap(jaxloss.group_advantages))(REWARDS)
    assert_close(mapped, jaxloss.group_advantages(REWARDS), 1e-6)


def test_log_probabilities_of_the_wrong_sign_are_reported():
    for loss, arrays in (
        (jaxloss.clipped_policy_loss, (PRED, -OLD, ADVANTAGE)),
        (jaxloss.kl_penalty, (-PRED, OLD)),
        (jaxloss.orpo_loss, (PRED, -OLD)),
    ):
        with pytest.raises(ValueError, match="must hold log-probabilities, at most 0.*want a minus sign"):
            chex.chexify(jax.jit(loss), async_check=False)(*arrays)
