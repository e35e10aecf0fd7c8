"""The wall of post-training: public reports of preferences, policies, their advantages and their means.

Each failure is reproduced first, in the formula of the library that is named. "As read" marks what its source shows
and no report has.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxloss
from jaxloss import reductions
from tests.wall.test_known_bugs import graded, holds

INF, NAN = np.inf, np.nan


def single(numbers: Any) -> np.ndarray:
    return np.asarray(numbers, np.float32)


def log_sigmoid(x):
    return jnp.log(jax.nn.sigmoid(x))


def by(count, reduction=reductions.mean):
    return functools.partial(reduction, count=count)


# Preferences


def odds_with(log_of_complement):
    """The odds-ratio loss with a way to take log(1 - p)."""

    def loss(chosen, rejected):
        complements = log_of_complement(chosen) - log_of_complement(rejected)
        return -jax.nn.log_sigmoid((chosen - rejected) - complements).mean()

    return loss


def test_odds_near_certainty_are_finite():
    """log1p(-exp(l)) is -inf as soon as exp(l) rounds to 1: an infinite loss, and gradients of NaN.

    https://github.com/huggingface/trl/issues/3237, https://github.com/huggingface/trl/issues/2564
    """
    plain = odds_with(lambda log_p: jnp.log1p(-jnp.exp(log_p)))
    assert graded(plain, [-0.5], [-1e-8])[0] == INF
    assert np.isnan(graded(plain, [-1e-8], [-0.5])[1])
    odds = math.exp(-0.5) / -math.expm1(-0.5)
    holds(graded(jaxloss.orpo_loss, [-0.5], [-1e-8]), math.log1p(1e8 / odds), [1 / math.expm1(-0.5)])
    holds(graded(jaxloss.orpo_loss, [-1e-8], [-0.5]), odds * 1e-8, [-odds])


def test_odds_have_no_constant_in_them():
    """1.0001 - p in place of 1 - p: odds of a thousand are a tenth too small, and none is above ten thousand.

    https://github.com/hpcaitech/ColossalAI/pull/6407
    """
    chosen, rejected = math.log(0.999), math.log(0.5)
    value, _ = graded(odds_with(lambda log_p: jnp.log(1.0001 - jnp.exp(log_p))), [chosen], [rejected])
    right = math.log1p(0.001 / 0.999)
    assert value > 1.05 * right
    holds(graded(jaxloss.orpo_loss, [chosen], [rejected]), right, [-1.0], 1e-4)


def test_two_certain_responses_are_as_good_as_each_other():
    """Log-probabilities were clamped at 0.999, as if they were probabilities: 0 passes, and inf - inf is NaN.

    https://github.com/axolotl-ai-cloud/axolotl/pull/3910
    """
    clamped = odds_with(lambda log_p: jnp.log1p(-jnp.exp(jnp.minimum(log_p, 0.999))))
    assert np.isnan(graded(clamped, [0.0], [0.0])[0])
    value, gradient = graded(jaxloss.orpo_loss, [0.0], [0.0])
    np.testing.assert_allclose(value, math.log(2), rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_the_least_complement_is_no_number_that_half_precision_lacks():
    """1 - p was held above 1e-12, which is 0 in float16: log(0).

    https://github.com/unslothai/unsloth-zoo/pull/830
    """
    held = odds_with(lambda log_p: jnp.log(jnp.maximum(-jnp.expm1(log_p), jnp.asarray(1e-12, log_p.dtype))))
    chosen, rejected = jnp.zeros(1, jnp.float16), jnp.full(1, -0.5, jnp.float16)
    assert not np.isfinite(graded(held, chosen, rejected)[1]).all()
    odds = math.exp(-0.5) / -math.expm1(-0.5)
    holds(graded(jaxloss.orpo_loss, chosen, rejected), 0, [-odds], 1e-3)


@pytest.mark.parametrize(
    ("plain", "loss", "value", "slope"),
    [
        # https://github.com/thinking-machines-lab/tinker-cookbook/pull/188
        (
            lambda chosen, rejected: -log_sigmoid(0.1 * (chosen - rejected)).mean(),
            lambda chosen, rejected: jaxloss.dpo_loss(chosen, rejected, 0 * chosen, 0 * rejected, beta=0.1),
            200,
            -0.1,
        ),
        # https://github.com/huggingface/trl/pull/2274
        (
            lambda chosen, rejected: -log_sigmoid(chosen - rejected - jnp.log1p(-jnp.exp(chosen))).mean(),
            lambda chosen, rejected: jaxloss.orpo_loss(chosen, rejected - math.log(2)),
            2000,
            -1,
        ),
        # https://github.com/OpenRLHF/OpenRLHF/pull/1278
        (
            lambda chosen, rejected: jnp.log(1 + jnp.exp(rejected - chosen)).mean(),
            jaxloss.bradley_terry_loss,
            2000,
            -1,
        ),
    ],
    ids=["dpo", "orpo", "reward"],
)
def test_a_gap_in_the_wrong_direction_costs_what_it_is(plain, loss, value, slope):
    """log(sigmoid(x)) and log(1 + exp(x)), taken as they stand, are infinite where the loss is a line."""
    expected, gradient = graded(plain, [-2000.0], [0.0])
    assert not np.isfinite(expected)
    assert np.isnan(gradient).all()
    holds(graded(loss, [-2000.0], [0.0]), value, [slope])


def test_a_truncated_response_is_hidden_and_does_not_poison_the_batch():
    """The mean log-probability of a response whose tokens were all cut off was 0 / 0.

    https://github.com/huggingface/trl/issues/1033
    """
    sums, lengths = np.array([-6.0, 0.0], np.float32), np.array([3.0, 0.0], np.float32)
    with np.errstate(invalid="ignore"):
        means = sums / lengths
    zeros = np.zeros(2, np.float32)
    loss = functools.partial(jaxloss.ipo_loss, beta=0.5)
    assert np.isnan(loss(means, zeros - 1, zeros, zeros))
    holds(graded(functools.partial(loss, where=lengths > 0), means, zeros - 1, zeros, zeros), 4, [-4, 0])


def test_a_divergence_of_no_pairs_is_zero():
    """No mismatched pair in the batch: the mean over none of them was NaN, and with it the loss.

    https://github.com/huggingface/trl/pull/1380
    """
    assert np.isnan(jnp.sum(jnp.zeros(0)) / 0)
    rewards, none = jnp.array([3.0, -2.0]), np.zeros(2, bool)
    kl = jnp.maximum(reductions.mean(rewards, none), 0)
    pred, reference, target = single([-10, -10]), single([-20, -20]), single([1, 0])
    half = 1 / (1 + math.exp(1))
    slope = 0.1 * half * (1 - half) / 2
    holds(graded(jaxloss.kto_loss, pred, reference, target, kl), 0.5, [-slope, slope])


def test_a_pair_that_matches_has_no_part_in_the_divergence():
    """Pairs were made by reversing the batch: the middle of an odd one met itself.

    https://github.com/huggingface/trl/issues/1911
    """
    own = np.arange(3) == np.arange(3)[::-1]
    assert own.any()
    rewards = single([1, 30, 2])
    assert rewards.mean() == 11
    assert reductions.mean(rewards, ~own) == 1.5


def test_a_loss_that_is_nan_is_no_missing_one():
    """`nanmean` took losses of NaN out of the mean, so that a diverged model looked well. As read.

    https://github.com/huggingface/trl/blob/v0.19.0/trl/trainer/kto_trainer.py
    """
    pred, zeros, target = single([NAN, -1]), single([0, 0]), single([1, 1])
    losses = jaxloss.kto_loss(pred, zeros, target, np.float32(0), reduction="none")
    assert np.isfinite(jnp.nanmean(losses))
    value, gradient = graded(jaxloss.kto_loss, pred, zeros, target, np.float32(0))
    assert np.isnan(value)
    assert np.isnan(gradient[0])


# Policies


def plain_policy(pred, old, advantage):
    ratio = jnp.exp(pred - old)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage).mean()


def test_the_ratio_of_a_sequence_that_overflows_is_clipped():
    """The clamp was computed and not used: the ratio is infinite, its gradient 0 times infinity.

    https://github.com/OpenRLHF/OpenRLHF/pull/1293
    """

    def plain(pred, old, advantage):
        ratio = jnp.exp((pred - old).mean(-1, keepdims=True)) + 0 * pred
        return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage).mean()

    arrays = np.zeros((1, 2), np.float32), np.full((1, 2), -100, np.float32), np.ones((1, 2), np.float32)
    assert np.isnan(graded(plain, *arrays)[1]).all()
    holds(graded(functools.partial(jaxloss.clipped_policy_loss, importance="sequence"), *arrays), -1.2, [[0, 0]])


def test_an_infinite_ratio_without_advantage_costs_nothing():
    """Infinity times an advantage of 0 is NaN, though the clipped branch is finite.

    https://github.com/radixark/miles/pull/1363
    """
    arrays = [0.0, -1.0], [-100.0, -1.0], [0.0, 1.0]
    assert np.isnan(graded(plain_policy, *arrays)[0])
    holds(graded(jaxloss.clipped_policy_loss, *arrays), -0.5, [0, -0.5])


def test_a_ratio_of_millions_against_a_negative_advantage_has_a_bound():
    """PPO's clip does not hold there: the loss is the ratio, 5e8.

    https://github.com/OpenRLHF/OpenRLHF/issues/931
    """
    arrays = [0.0], [-20.0], [-1.0]
    assert graded(plain_policy, *arrays)[0] > 4e8
    holds(graded(jaxloss.clipped_policy_loss, *arrays, dual_clip=3.0), 3, [0])


def test_the_first_step_has_a_loss_of_zero_and_a_gradient():
    """A loss of 0 at every first step was taken for no training: its value is minus the mean advantage.

    https://github.com/huggingface/trl/issues/2995, https://github.com/huggingface/open-r1/issues/239
    """
    pred = single([[-1, -2], [-3, -1]])
    advantage = jaxloss.group_advantages(single([1, 0]), eps=0.0)
    gradient = -np.broadcast_to(advantage[:, None], (2, 2)) / 4
    holds(graded(jaxloss.clipped_policy_loss, pred, pred, advantage), 0, gradient)


def test_k3_overflows_unless_its_bound_is_stated():
    """exp(r - l) is infinite at a difference of 100; elsewhere a silent bound of 10 or 20 hides it.

    https://github.com/huggingface/trl/pull/6550, https://github.com/THUDM/slime/pull/2198
    """
    plain = lambda pred, reference: (jnp.exp(reference - pred) - (reference - pred) - 1).mean()  # noqa: E731
    assert graded(plain, [-100.0], [0.0])[0] == INF
    assert graded(jaxloss.kl_penalty, [-100.0], [0.0])[0] == INF
    holds(graded(jaxloss.kl_penalty, [-100.0], [0.0], bound=20.0), math.exp(20) - 21, [0])


def test_a_bound_stands_before_the_exponential():
    """The estimate was clamped at 10 after its exponential: a finite value, with a gradient of NaN.

    https://github.com/OpenRLHF/OpenRLHF/pull/1160
    """
    plain = lambda pred, ref: jnp.minimum(jnp.exp(ref - pred) - 1 - (ref - pred), 10.0).mean()  # noqa: E731
    value, gradient = graded(plain, [-100.0], [0.0])
    assert value == 10
    assert np.isnan(gradient)
    holds(graded(jaxloss.kl_penalty, [-100.0], [0.0], bound=2.0), math.exp(2) - 3, [0])


def test_k3_of_nearly_equal_models_is_not_negative():
    """exp(d) - 1 - d cancels: at 1e-4 of a nat it is 0 or below, where the divergence is 5e-9. As read.

    https://github.com/volcengine/verl/blob/main/verl/trainer/ppo/core_algos.py
    """
    pred, reference = single([-1.0]), single([-1.0001])
    difference = np.float64(pred - reference)
    plain = np.exp(reference - pred) - np.float32(1) - (reference - pred)
    assert abs(plain - difference**2 / 2) > difference**2 / 4
    value = np.sum(difference**2 / 2 - difference**3 / 6)
    holds(graded(jaxloss.kl_penalty, pred, reference), value, -np.expm1(-difference))


def test_the_penalty_has_the_gradient_of_the_divergence_alone():
    """A ratio of the sequence was multiplied on each token's penalty: it added a gradient of its own.

    https://github.com/huggingface/trl/issues/6594
    """
    pred, old, reference = single([[-1, -2]]), single([[-1.5, -1]]), single([[-2, -1]])

    def plain(pred):
        k3 = jnp.exp(reference - pred) - (reference - pred) - 1
        return (jnp.exp((pred - old).mean(-1, keepdims=True)) * k3).mean()

    right = (1 - np.exp(reference - pred)) / 2
    ratio = math.exp(float((pred - old).mean()))
    assert np.abs(graded(plain, pred)[1] - ratio * right).max() > 0.1
    difference = pred - reference
    holds(graded(jaxloss.kl_penalty, pred, reference), (np.exp(-difference) - 1 + difference).mean(), right)


# Advantages


@pytest.mark.parametrize("reward", [0.1, 0.2, 0.35])
def test_equal_rewards_have_no_advantage(reward):
    """The mean of equal numbers is another number, rounded, so that what should be 0 was not.

    https://github.com/verl-project/verl/pull/4597
    """
    rewards = np.full(7, reward, np.float32)
    assert (rewards - rewards.mean()).all()
    for eps in (1e-6, 0.0):
        assert not jaxloss.group_advantages(rewards, eps=eps).any()


def test_the_deviation_of_equal_rewards_is_no_residue():
    """By E[x^2] - E[x]^2 it is rounding: one other reward was 4000 deviations away; or it is the root of less than 0.

    https://github.com/NVIDIA-NeMo/RL/pull/4161, https://github.com/NousResearch/atropos/pull/481
    """

    def one_pass_variance(rewards):
        return np.mean(rewards * rewards, dtype=np.float32) - np.mean(rewards, dtype=np.float32) ** 2

    assert 0.6 / np.sqrt(one_pass_variance(np.full(7, 0.35, np.float32))) > 4000
    assert one_pass_variance(np.full(7, 0.1, np.float32)) < 0
    for rewards in (single([0.95, *[0.35] * 7]), single([1000.1, 1000.2, 1000.3, 1000.4])):
        exact = np.float64(rewards)
        advantages = jaxloss.group_advantages(rewards, eps=0.0)
        np.testing.assert_allclose(advantages, (exact - exact.mean()) / exact.std(ddof=1), rtol=1e-5)


def test_a_rejected_response_does_not_move_the_others():
    """Its tokens were masked and its reward was not: the group was compared with it all the same.

    https://github.com/verl-project/verl/pull/6452
    """
    rewards, keep = single([1, 0, 10]), np.array([True, True, False])
    assert (rewards - rewards.mean())[0] < 0
    np.testing.assert_allclose(jaxloss.group_advantages(rewards, scale=False, where=keep), [0.5, -0.5, 0])


def test_a_response_alone_is_no_better_than_itself():
    """A group of one kept its reward as its advantage; elsewhere its standard deviation was NaN. As read.

    https://github.com/volcengine/verl/blob/main/verl/trainer/ppo/core_algos.py
    """
    mean, deviation = 0.0, 1.0
    assert (5.0 - mean) / (deviation + 1e-6) > 4.9
    with pytest.warns(RuntimeWarning):
        assert np.isnan(np.std([5.0], ddof=1))
    for baseline in ("mean", "leave_one_out"):
        assert jaxloss.group_advantages(single([5]), baseline=baseline) == 0


def test_a_group_is_the_responses_to_one_prompt():
    """Rewards were standardised over the whole batch: easy prompts were praised, hard ones blamed.

    https://github.com/XU-YIJIE/grpo-flat/issues/2
    """
    rewards = single([[9, 10], [0, 1]])
    assert (rewards - rewards.mean() < 0)[1].all()
    np.testing.assert_allclose(jaxloss.group_advantages(rewards, scale=False), [[-0.5, 0.5], [-0.5, 0.5]])


# Means

# Two sequences, of 5 tokens and of 1; and of each token what it costs.
COSTS = single([[2, 2, 2, 2, 2], [10, NAN, NAN, NAN, NAN]])
KEEP = np.isfinite(COSTS)


def mean_of_costs(reduction, costs=COSTS, where=KEEP):
    """The mean of a policy gradient with these losses, and the weights of the tokens in it."""
    advantage = np.ones(np.shape(costs), np.float32)
    return graded(functools.partial(jaxloss.policy_gradient_loss, where=where, reduction=reduction), -costs, advantage)


def test_a_mean_over_tokens_is_none_over_sequences():
    """One was computed in place of the other: of 20 in 6 tokens it is 3.3333, of 2 and 10 it is 6.

    https://github.com/volcengine/verl/issues/593
    """
    holds(mean_of_costs("mean"), 20 / 6, -1.0 * KEEP / 6)
    holds(mean_of_costs(reductions.sequence_mean), 6, -1.0 * KEEP / [[10], [2]])


def test_a_mean_over_sequences_of_their_sums_divides_by_no_length():
    """ "seq-mean-token-sum" divided each sum by the tokens of its sequence.

    https://github.com/verl-project/verl/issues/1233, https://github.com/verl-project/verl/pull/931
    """
    sums = np.nansum(COSTS, 1)
    assert np.mean(sums / KEEP.sum(1)) == 6
    holds(mean_of_costs(by(2)), 10, -1.0 * KEEP / 2)


def test_dr_grpo_divides_by_the_sequences_too():
    """The sum was divided by the longest length alone: loss and gradient grew with the batch.

    https://github.com/verl-project/verl/issues/3741
    """
    assert np.nansum(COSTS) / 5 == np.mean(np.nansum(COSTS, 1) / 5) * 2
    holds(mean_of_costs(by(COSTS.size)), 2, -1.0 * KEEP / 10)


def test_a_mean_by_the_tokens_of_the_step_is_divided_once():
    """What had been divided by all tokens was divided by the sequences again. As read.

    https://github.com/marin-community/marin, `compute_dapo_loss`
    """
    tokens = 30
    assert np.nansum(COSTS) / tokens / len(COSTS) == pytest.approx(1 / 3)
    holds(mean_of_costs(by(tokens)), 2 / 3, -1.0 * KEEP / 30)


def test_what_is_masked_is_in_no_denominator():
    """Truncated responses left the sum and stayed in the count: the others' losses shrank.

    https://github.com/huggingface/trl/issues/6369
    """
    whole = np.array([[True], [False]]) & KEEP
    assert np.sum(COSTS, where=whole) / KEEP.sum() == pytest.approx(10 / 6)
    holds(mean_of_costs("mean", where=whole), 2, -1.0 * whole / 5)


@pytest.mark.parametrize("reduction", ["mean", reductions.sequence_mean, by(0), by(0, reductions.sequence_mean)])
def test_a_batch_without_tokens_is_zero(reduction):
    """All labels masked, or all responses truncated: 0 / 0, in loss and gradient.

    https://github.com/huggingface/trl/issues/6668, https://github.com/unslothai/unsloth-zoo/pull/1286
    """
    with np.errstate(invalid="ignore"):
        assert np.isnan(np.sum(COSTS, where=False) / np.float32(0))
    holds(mean_of_costs(reduction, where=np.zeros_like(KEEP)), 0, np.zeros_like(COSTS))


def test_a_sequence_without_tokens_has_no_mean_and_no_part_in_one():
    """Its mean, 0 / 0, made the loss of the batch NaN.

    https://github.com/allenai/open-instruct/issues/1625
    """
    costs, where = np.vstack([COSTS, np.full((1, 5), NAN, np.float32)]), np.vstack([KEEP, np.zeros((1, 5), bool)])
    with np.errstate(invalid="ignore"):
        assert np.isnan(np.mean(np.sum(costs, 1, where=where) / where.sum(1)))
    holds(mean_of_costs(reductions.sequence_mean, costs, where), 6, -1.0 * where / [[10], [2], [1]])


def test_a_mean_of_the_means_of_microbatches_is_no_mean():
    """Accumulation averaged the losses of microbatches that keep unlike many tokens.

    https://github.com/huggingface/transformers/issues/24725, https://github.com/huggingface/trl/issues/2175
    """
    parts = [COSTS[row : row + 1] for row in range(2)]
    naive = [mean_of_costs("mean", part, np.isfinite(part))[0] for part in parts]
    assert sum(naive) / 2 == 6
    counted = [mean_of_costs(by(6), part, np.isfinite(part)) for part in parts]
    values, gradients = zip(*counted, strict=True)
    holds((sum(values, jnp.zeros(())), jnp.concatenate(gradients)), 20 / 6, -1.0 * KEEP / 6)


def test_a_fused_head_keeps_the_count_of_the_step():
    """The fused loss ignored the count that it was given, and divided by the tokens of the microbatch.

    https://github.com/linkedin/Liger-Kernel/issues/802
    """
    features, kernel, labels = jnp.ones((6, 2)), jnp.zeros((2, 4)), jnp.arange(6) % 4
    loss = functools.partial(jaxloss.linear_cross_entropy, chunk_size=1, reduction=by(24))
    value, _ = graded(loss, features, kernel, labels)
    assert abs(jaxloss.linear_cross_entropy(features, kernel, labels) - math.log(4)) < 1e-6
    np.testing.assert_allclose(value, math.log(4) / 4, rtol=1e-6)


def test_devices_are_weighed_by_their_tokens():
    """Means of devices were averaged, or weighted by their samples, or added up: the loss times the devices.

    https://github.com/verl-project/verl/issues/5625, https://github.com/huggingface/transformers/issues/34373 and
    https://github.com/huggingface/transformers/issues/35078
    """
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def local(costs, where):
        advantage, on_axis = jnp.ones_like(costs), functools.partial(reductions.mean, axis_name="data")
        loss = functools.partial(jaxloss.policy_gradient_loss, -costs, advantage, where=where)
        means = loss(reduction="mean")
        by_step = functools.partial(on_axis, count=30)
        return (
            jax.lax.pmean(means, "data"),
            jax.lax.psum(means, "data"),
            loss(reduction=on_axis),
            loss(reduction=by_step),
        )

    step = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=P("data"), out_specs=P()))
    averaged, added, right, of_step = step(COSTS, KEEP)
    assert (averaged, added) == (6, 12)
    np.testing.assert_allclose([right, of_step], [20 / 6, 20 / 30], rtol=1e-6)


# Log-probabilities

LOGITS = single([[[0, 1, 2], [1, 0, 0], [2, 0, 1]], [[1, 1, 0], [0, 2, 0], [0, 0, 0]]])
WORDS = np.array([[2, 0, -100], [1, -100, -100]])


def of_words(logits, words):
    """As a formula, with the class 0 for what is ignored."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(words, 0)[..., None], -1)[..., 0]


def test_the_mean_of_a_response_is_over_the_tokens_that_were_scored():
    """The sum was over the shifted mask, the count over the mask as it was: one token too many.

    https://github.com/huggingface/trl/issues/6879
    """
    mask = np.array([[True, True, True], [True, True, False]])
    log_probs, scored = single([[-0.5, -0.5], [0, NAN]]), mask[:, 1:]
    sums = np.sum(log_probs, 1, where=scored)
    zero = single([0])
    unshifted = sums / mask.sum(1)
    assert jaxloss.ipo_loss(-unshifted[:1], -unshifted[1:], zero, zero, beta=1.0) > 0.02

    def loss(log_probs):
        means = jax.vmap(reductions.mean)(log_probs, scored)
        return jaxloss.ipo_loss(means[1:], means[:1], zero, zero, beta=1.0)

    holds(graded(loss, log_probs), 0, np.zeros((2, 2)))
    holds(graded(loss, log_probs * 2), 0.25, [[-0.5, -0.5], [1, 0]])


def test_each_response_has_its_own_mask_and_not_its_opposite():
    """The log-probabilities were multiplied by where the *chosen* labels are ignored, of both responses.

    https://github.com/QwenAudio/CosyVoice/issues/1449
    """
    zero = np.zeros(1, np.float32)

    def plain(logits):
        ignored = WORDS[:1] == -100
        chosen, rejected = ((of_words(logits, WORDS)[row] * ignored).mean(-1) for row in (0, 1))
        return jaxloss.dpo_loss(chosen, rejected, zero, zero)

    def loss(logits):
        sums = jaxloss.token_log_probs(logits, WORDS, ignore_index=-100).sum(-1)
        return jaxloss.dpo_loss(sums[:1], sums[1:], zero, zero)

    # What was learnt from is what should have been left out, and nothing else.
    np.testing.assert_array_equal(np.any(graded(plain, LOGITS)[1], -1), [[False, False, True]] * 2)
    sums = [float(np.sum(of_words(LOGITS, WORDS)[row], where=WORDS[row] != -100)) for row in (0, 1)]
    margin = 0.1 * (sums[0] - sums[1])
    value, gradient = graded(loss, LOGITS)
    np.testing.assert_allclose(value, math.log1p(math.exp(-margin)), rtol=1e-6)
    np.testing.assert_array_equal(np.any(gradient, -1), WORDS != -100)


def test_a_label_at_the_end_of_a_shard_is_kept():
    """Labels were shifted shard by shard, which loses one at each boundary. Shifted before they are sharded, none is.

    https://github.com/huggingface/transformers/issues/36607
    """
    logits, words = np.tile(LOGITS[0], (1, 2, 1))[:, :4], np.array([[2, 1, 0, 1]])
    mesh = jax.make_mesh((2,), ("time",), axis_types=(jax.sharding.AxisType.Auto,))

    def local(reduction, logits, words):
        return jaxloss.cross_entropy(logits, words, ignore_index=-100, reduction=reduction)

    def sharded(shift, words):
        def step(logits, words):
            return local(functools.partial(reductions.mean, axis_name="time"), logits, shift(words))

        specs = P(None, "time"), P(None, "time")
        return jax.jit(jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P()))(logits, words)

    def shift(words):
        return jnp.concatenate([words[:, 1:], jnp.full_like(words[:, :1], -100)], 1)

    right = -of_words(logits, shift(words))[0, :3].mean()
    assert abs(sharded(shift, words) - right) > 0.01
    np.testing.assert_allclose(sharded(lambda words: words, shift(words)), right, rtol=1e-6)


def test_labels_and_logits_are_shifted_by_the_caller_or_refused():
    """They were shifted by the model and again by the loss. Nothing is shifted here; unlike lengths are refused.

    https://github.com/huggingface/transformers/issues/37830
    """
    with pytest.raises(AssertionError, match="`target` must hold integer class indices of shape \\(2, 2\\)"):
        jaxloss.cross_entropy(LOGITS[:, :-1], WORDS)
    right = -of_words(LOGITS[:, :-1], WORDS[:, :-1])[WORDS[:, :-1] != -100].mean()
    np.testing.assert_allclose(jaxloss.cross_entropy(LOGITS[:, :-1], WORDS[:, :-1], ignore_index=-100), right)


def test_an_ignored_label_is_in_no_denominator():
    """It was left in: .5365 for 1.6094.

    https://github.com/pytorch/xla/issues/859
    """
    logits, labels = np.zeros((3, 5), np.float32), np.array([1, -100, -100])
    assert abs(-of_words(logits, labels)[0] / 3 - 0.5365) < 1e-4
    holds(
        graded(jaxloss.cross_entropy, logits, labels, ignore_index=-100),
        1.6094,
        0.2 - np.eye(5)[[1]] * [[1], [0], [0]] - 0.2 * single([[0], [1], [1]]),
        1e-4,
    )


@pytest.mark.parametrize("on_mesh", [False, True])
def test_an_entropy_with_impossible_classes_is_that_of_the_others(on_mesh):
    """0 times -inf: NaN as soon as a logit is masked, and on a mesh, where a shard has no other, in the gradient too.

    https://github.com/huggingface/trl/issues/7221, https://github.com/NovaSky-AI/SkyRL/pull/2259
    """
    logits = single([[1, 1, -INF, -INF]])

    def plain(logits):
        log_p = jax.nn.log_softmax(logits)
        return -(jnp.exp(log_p) * log_p).sum()

    assert np.isnan(graded(plain, logits)[0])
    of_entropy = functools.partial(jaxloss.token_log_probs, with_entropy=True)
    if on_mesh:
        mesh = jax.make_mesh((2,), ("classes",), axis_types=(jax.sharding.AxisType.Auto,))
        local = functools.partial(of_entropy, class_axis_name="classes")
        of_entropy = jax.shard_map(local, mesh=mesh, in_specs=(P(None, "classes"), P()), out_specs=P())
    holds(graded(lambda logits: of_entropy(logits, np.array([0]))[1].sum(), logits), math.log(2), np.zeros((1, 4)))


FEATURES, KERNEL = single([[1, 2], [-1, 1], [0.5, -2]]), single([[1, 0, -1, 2], [0, 1, 1, -1]])
OF_TOKENS = np.array([0, 3, 1])


def head(features, kernel, softcap=None):
    """Log-probabilities and entropies by the formula."""
    logits = features @ kernel
    log_p = jax.nn.log_softmax(logits if softcap is None else softcap * jnp.tanh(logits / softcap))
    return log_p[np.arange(3), OF_TOKENS], -(jnp.exp(log_p) * log_p).sum(-1)


def ours(features, kernel, **options):
    return jaxloss.linear_token_log_probs(features, kernel, OF_TOKENS, with_entropy=True, chunk_size=2, **options)


def gradients_of(function, cotangents):
    """To features and kernel, of outputs weighed by these."""
    _, pull = jax.vjp(function, FEATURES, KERNEL)
    return pull(tuple(map(single, cotangents)))


@pytest.mark.parametrize("cotangents", [([1, 2, 3], [0, 0, 0]), ([0, 0, 0], [3, -1, 2])], ids=["log-probs", "entropy"])
def test_every_output_of_every_token_has_its_own_cotangent(cotangents):
    """A fused head dropped the entropy's; one took the first token's for all; one left out that of the
    features.

    https://github.com/huggingface/trl/issues/6625, https://github.com/linkedin/Liger-Kernel/pull/1298 and
    https://github.com/AI-Hypercomputer/maxtext/pull/4699
    """
    right = gradients_of(head, cotangents)
    firsts = gradients_of(head, [np.full(3, each[0]) for each in cotangents])
    assert all(np.abs(one - other).max() > 0.1 for one, other in zip(right, firsts, strict=True))
    for found, expected in zip(gradients_of(ours, cotangents), right, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_softcap_is_applied_once_with_its_derivative():
    """It was z tanh(z / c); it was accepted and not applied; its derivative was left out of a blockwise gradient.

    https://github.com/unslothai/unsloth-zoo/pull/593, https://github.com/apple/ml-cross-entropy/issues/48 and, as read,
    https://github.com/marin-community/marin
    """
    capped = functools.partial(head, softcap=1.5)
    logits = FEATURES @ KERNEL
    wrong = jax.nn.log_softmax(logits * np.tanh(logits / 1.5))[np.arange(3), OF_TOKENS]
    for found in (wrong, head(FEATURES, KERNEL)[0]):
        assert np.abs(found - capped(FEATURES, KERNEL)[0]).max() > 0.1
    weights = [1, 2, 3], [3, -1, 2]
    for found, expected in (
        *zip(ours(FEATURES, KERNEL, logit_softcap=1.5), capped(FEATURES, KERNEL), strict=True),
        *zip(
            gradients_of(functools.partial(ours, logit_softcap=1.5), weights),
            gradients_of(capped, weights),
            strict=True,
        ),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_sum_of_blocks_is_not_rounded_at_each():
    """The kernel's gradient was added up in bfloat16: after 256 blocks what is added is less than half a unit.

    https://github.com/linkedin/Liger-Kernel/issues/1391
    """
    features, labels = jnp.ones((1024, 1), jnp.bfloat16), np.zeros(1024, int)
    kernel = jnp.zeros((1, 2), jnp.bfloat16)
    rounded = jax.lax.fori_loop(0, 1024, lambda _, total: total + jnp.bfloat16(0.5), jnp.bfloat16(0))
    assert rounded < 0.5 * 512
    loss = functools.partial(jaxloss.linear_cross_entropy, reduction="sum", chunk_size=1, blocks="tokens")
    gradient = jax.jit(jax.grad(loss, 1))(features, kernel, labels)
    np.testing.assert_array_equal(gradient.astype(np.float32), [[-512, 512]])


# Distillation


STUDENT_LOGITS, TEACHER_LOGITS = single([[1.0, 0.0, -1.0], [0.0, 0.5, 2.0]]), single([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])


def jsd_of(beta, mixed, weights=None, student=STUDENT_LOGITS, teacher=TEACHER_LOGITS):
    """Row by row, with the log-probabilities of a mixture; the weights are those of the two divergences."""
    log_s, log_t = jax.nn.log_softmax(student), jax.nn.log_softmax(teacher)
    log_m = mixed(log_s, log_t, beta)
    to_teacher, to_student = (beta, 1 - beta) if weights is None else weights
    terms = to_teacher * jnp.exp(log_t) * (log_t - log_m) + to_student * jnp.exp(log_s) * (log_s - log_m)
    return terms.sum(-1)


def of_probabilities(log_s, log_t, beta):
    return jnp.log(beta * jnp.exp(log_t) + (1 - beta) * jnp.exp(log_s))


def test_the_ends_of_the_divergence_are_its_own_formulas():
    """The formula is 0 at beta 0 and 1, where the documentation promised the two divergences; or beta was clamped, and
    1 trained nothing.

    https://github.com/huggingface/trl/issues/6780, https://github.com/verl-project/verl-recipe/issues/151
    """
    log_s, log_t = jax.nn.log_softmax(STUDENT_LOGITS), jax.nn.log_softmax(TEACHER_LOGITS)
    for end, of, to in ((0, log_t, log_s), (1, log_s, log_t)):
        np.testing.assert_allclose(jsd_of(end, of_probabilities), 0, atol=1e-6)
        assert (jsd_of(min(max(end, 1e-6), 1 - 1e-6), of_probabilities) < 1e-5).all()
        loss = jaxloss.generalized_jsd_loss(STUDENT_LOGITS, TEACHER_LOGITS, beta=end, reduction="none")
        np.testing.assert_allclose(loss, (jnp.exp(of) * (of - to)).sum(-1), rtol=1e-5)


def test_a_mixture_is_of_probabilities_in_the_order_of_the_paper():
    """Logarithms were mixed, and then the student and the teacher in the wrong order.

    https://github.com/huggingface/trl/issues/2202, https://github.com/huggingface/trl/pull/3043
    """
    right = jsd_of(0.1, of_probabilities)
    of_logs = jsd_of(0.1, lambda log_s, log_t, beta: beta * log_t + (1 - beta) * log_s)
    swapped = jsd_of(0.1, lambda log_s, log_t, beta: of_probabilities(log_t, log_s, beta), (0.1, 0.9))
    assert (abs(of_logs - right) > 0.05 * right).all()
    assert (abs(swapped - right) > 0.5 * right).all()
    loss = jaxloss.generalized_jsd_loss(STUDENT_LOGITS, TEACHER_LOGITS, beta=0.1, reduction="none")
    np.testing.assert_allclose(loss, right, rtol=1e-4)


def test_a_divergence_is_a_sum_over_classes():
    """The mean divided by rows times classes.

    https://github.com/huggingface/trl/pull/4105
    """
    rows = jsd_of(0.5, of_probabilities)
    np.testing.assert_allclose(jaxloss.generalized_jsd_loss(STUDENT_LOGITS, TEACHER_LOGITS), rows.mean(), rtol=1e-5)


def test_hidden_rows_of_a_teacher_do_not_count():
    """The index of what is ignored was taken and not used; and where all was ignored, the mean was 0 / 0.

    https://github.com/linkedin/Liger-Kernel/pull/974
    """
    right, garbage = jsd_of(0.5, of_probabilities)[0], np.array(TEACHER_LOGITS)
    garbage[1] = NAN
    loss = functools.partial(jaxloss.generalized_jsd_loss, STUDENT_LOGITS)
    np.testing.assert_allclose(loss(garbage, where=np.array([True, False])), right, rtol=1e-5)
    value, gradient = graded(
        lambda x: jaxloss.generalized_jsd_loss(x, garbage, where=np.zeros(2, bool)), STUDENT_LOGITS
    )
    assert value == 0
    assert not gradient.any()
