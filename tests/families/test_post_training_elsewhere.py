"""Preferences and policies as TRL, Liger, verl and tunix write them, in value and gradient; and what differs here.

The formulas are those of the libraries' sources in 2026 (tunix: 0.1.7). A case stands for a line of
docs/post_training.md, by what stands in its first column; so does a difference, by its first sentence.
"""

import functools
import inspect
import math
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss import reductions
from tests.support import assert_close

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "post_training.md"
RNG = np.random.default_rng(0)


def single(numbers: Any) -> np.ndarray:
    return np.asarray(numbers, np.float32)


def likely(*shape):
    return single(-RNG.gamma(2.0, 0.5, size=shape))


def sigmoid(x):
    return jax.nn.sigmoid(x)


def log_sigmoid(x):
    return jax.nn.log_sigmoid(x)


# Preferences: sums and means of log-probabilities of responses.

PAIRS = tuple(10 * likely(5) for _ in range(4))
MEANS = likely(5) - 0.1, likely(5) - 0.1
LABELS, KL = single([1, 0, 1, 1, 0]), np.float32(0.3)
REWARDS = single(RNG.normal(size=(2, 5)))


def gap(chosen, rejected, reference_chosen, reference_rejected):
    return (chosen - rejected) - (reference_chosen - reference_rejected)


def conservative(*pairs, beta=0.1, smoothing=0.2):
    margin = beta * gap(*pairs)
    return -((1 - smoothing) * log_sigmoid(margin) + smoothing * log_sigmoid(-margin)).mean()


def robust(*pairs, beta=0.1, smoothing=0.2):
    margin = beta * gap(*pairs)
    return ((-log_sigmoid(margin) * (1 - smoothing) + log_sigmoid(-margin) * smoothing) / (1 - 2 * smoothing)).mean()


def kto(pred, reference, labels, kl, desirable=1.0, undesirable=1.0):
    of_chosen = 1 - sigmoid(0.1 * ((pred - reference) - kl))
    of_rejected = 1 - sigmoid(0.1 * (kl - (pred - reference)))
    return jnp.concatenate([desirable * of_chosen[labels == 1], undesirable * of_rejected[labels == 0]]).mean()


def odds(chosen, rejected, log_complement):
    log_odds = (chosen - rejected) - (log_complement(chosen) - log_complement(rejected))
    return -log_sigmoid(log_odds).mean()


def log1mexp(x):
    return jnp.where(x > -math.log(2), jnp.log(-jnp.expm1(x)), jnp.log1p(-jnp.exp(x)))


def log1p_of_exp(x):
    return jnp.log1p(-jnp.exp(x))


# Policies: log-probabilities of tokens, of which some are hidden, and one advantage a sequence.

TOKENS = likely(3, 4)
OLD, REFERENCE = TOKENS * single([[0.5], [1.5], [1.0]]), TOKENS + single(0.4 * RNG.normal(size=(3, 4)))
ADVANTAGE = single([1.0, -0.5, 0.7])
KEEP = np.arange(4) < np.array([[4], [2], [3]])
GROUPS = single(RNG.normal(size=(2, 4)))


def mean(values, keep=KEEP):
    return jnp.sum(values * keep) / keep.sum()


def mean_of_sequences(values):
    return (jnp.sum(values * KEEP, -1) / KEEP.sum(-1)).mean()


def clipped(pred, old, advantage, low=0.2, high=0.2, delta=None, within=None, dual=None):
    log_ratio = pred - old
    ratio = jnp.exp(log_ratio if within is None else jnp.clip(log_ratio, -within, within))
    capped = ratio if delta is None else jnp.minimum(ratio, delta)
    values = -jnp.minimum(capped * advantage, jnp.clip(ratio, 1 - low, 1 + high) * advantage)
    return values if dual is None else jnp.where(advantage < 0, jnp.minimum(-dual * advantage, values), values)


def of_sequences(pred, old, advantage, through):
    """GSPO's ratio: differentiated through, or with the gradient of each token alone."""
    log_ratio = jnp.sum((pred - old) * KEEP, -1, keepdims=True) / KEEP.sum(-1, keepdims=True)
    if not through:
        log_ratio = pred - jax.lax.stop_gradient(pred) + jax.lax.stop_gradient(log_ratio)
    ratio = jnp.exp(log_ratio)
    values = -jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.9, 1.1) * advantage)
    return mean_of_sequences(values + 0 * pred)


def weighted(pred, old, advantage, low, high):
    return -jax.lax.stop_gradient(jnp.clip(jnp.exp(pred - old), low, high)) * advantage * pred


def k3(pred, reference, within=None, at_most=None):
    difference = reference - pred
    difference = difference if within is None else jnp.clip(difference, -within, within)
    values = jnp.exp(difference) - difference - 1
    return values if at_most is None else jnp.clip(values, -at_most, at_most)


def clipped_value(pred, returns, old, clip):
    inside = jnp.clip(pred, old - clip, old + clip)
    return 0.5 * mean(jnp.maximum((pred - returns) ** 2, (inside - returns) ** 2))


def standardised(rewards, eps):
    return (rewards - rewards.mean(-1, keepdims=True)) / (rewards.std(-1, ddof=1, keepdims=True) + eps)


def by_the_others(rewards):
    return rewards - (rewards.sum(-1, keepdims=True) - rewards) / (rewards.shape[-1] - 1)


def log_softmax_of(logits, labels):
    return jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], -1)[:, 0]


def entropy(logits):
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, -1)


ALL = ADVANTAGE[:, None]
LOGITS, WORDS = single(RNG.normal(size=(4, 6))), np.array([0, 5, 2, 2])
ON_TOKENS = functools.partial(jaxloss.clipped_policy_loss, TOKENS, OLD, ADVANTAGE, where=KEEP)


def masked(loss, **options):
    return functools.partial(loss, where=KEEP, **options)


def by_hand(loss):
    """A formula of tokens, with one advantage for all of a sequence."""
    return lambda pred, old, advantage: mean(loss(pred, old, advantage[:, None]))


POLICY, PENALTY = (TOKENS, OLD, ADVANTAGE), (TOKENS, REFERENCE)
# Theirs, ours, and the arrays; the gradient is that of the first.
SAME = {
    'TRL `DPOTrainer` with "sigmoid"': (
        functools.partial(conservative, smoothing=0.0),
        jaxloss.dpo_loss,
        PAIRS,
    ),
    'TRL `DPOTrainer` with "robust"': (
        robust,
        functools.partial(jaxloss.dpo_loss, label_smoothing=0.2, robust=True),
        PAIRS,
    ),
    'TRL `DPOTrainer` with "ipo"': (
        lambda *means: ((gap(*means) - 1 / (2 * 0.1)) ** 2).mean(),
        jaxloss.ipo_loss,
        tuple(each / 10 for each in PAIRS),
    ),
    'TRL `CPOTrainer` with "simpo"': (
        lambda chosen, rejected: -log_sigmoid(0.1 * (chosen - rejected - 0.5 / 0.1)).mean(),
        functools.partial(jaxloss.simpo_loss, beta=0.1, gamma=0.5),
        MEANS,
    ),
    'TRL `CPOTrainer` with "sigmoid"': (
        lambda chosen, rejected: -log_sigmoid(0.1 * (chosen - rejected)).mean(),
        functools.partial(jaxloss.simpo_loss, beta=0.1, gamma=0.0),
        PAIRS[:2],
    ),
    "TRL `ORPOTrainer`": (functools.partial(odds, log_complement=log1mexp), jaxloss.orpo_loss, MEANS),
    "TRL `KTOTrainer`": (
        functools.partial(kto, desirable=1.33, undesirable=0.8),
        functools.partial(jaxloss.kto_loss, desirable_weight=1.33, undesirable_weight=0.8),
        (*PAIRS[:2], LABELS, KL),
    ),
    "TRL `RewardTrainer`": (
        lambda chosen, rejected: -log_sigmoid(chosen - rejected - 0.5).mean(),
        functools.partial(jaxloss.bradley_terry_loss, margin=0.5),
        tuple(REWARDS),
    ),
    "TRL `GRPOTrainer`": (
        by_hand(functools.partial(clipped, high=0.28)),
        masked(jaxloss.clipped_policy_loss, clip_high=0.28),
        POLICY,
    ),
    "TRL `GRPOTrainer` with `delta`": (
        by_hand(functools.partial(clipped, delta=1.4)),
        masked(jaxloss.clipped_policy_loss, dual_clip=1.4),
        POLICY,
    ),
    "TRL `GRPOTrainer`, ratios of sequences": (
        lambda pred, old, advantage: of_sequences(pred, old, advantage[:, None], through=True),
        masked(jaxloss.clipped_policy_loss, clip_low=0.1, importance="sequence", reduction=reductions.sequence_mean),
        POLICY,
    ),
    'TRL `GRPOTrainer` with "cispo"': (
        by_hand(functools.partial(weighted, low=None, high=1.5)),
        masked(jaxloss.cispo_loss, ratio_high=1.5),
        POLICY,
    ),
    "TRL `GRPOTrainer`, its penalty": (
        lambda pred, reference: mean(k3(pred, reference)),
        masked(jaxloss.kl_penalty),
        PENALTY,
    ),
    "TRL `GRPOTrainer`, its advantages": (
        functools.partial(standardised, eps=1e-4),
        jaxloss.group_advantages,
        (GROUPS,),
    ),
    "TRL `RLOOTrainer`, its advantages": (
        by_the_others,
        functools.partial(jaxloss.group_advantages, baseline="leave_one_out", scale=False),
        (GROUPS,),
    ),
    "TRL `PPOTrainer`, its values": (
        functools.partial(clipped_value, clip=0.2),
        masked(jaxloss.value_loss),
        (TOKENS, REFERENCE, OLD),
    ),
    "TRL `selective_log_softmax`": (log_softmax_of, jaxloss.token_log_probs, (LOGITS, WORDS)),
    "Liger `LigerFusedLinearDPOLoss`": (
        lambda *pairs: -log_sigmoid(0.1 * gap(*pairs)).sum() / len(pairs[0]),
        jaxloss.dpo_loss,
        PAIRS,
    ),
    "Liger `LigerFusedLinearORPOLoss`": (
        functools.partial(odds, log_complement=log1p_of_exp),
        jaxloss.orpo_loss,
        MEANS,
    ),
    "Liger `LigerFusedLinearSimPOLoss`": (
        lambda chosen, rejected: -log_sigmoid(0.1 * (chosen - rejected) - 0.5).mean(),
        functools.partial(jaxloss.simpo_loss, beta=0.1, gamma=0.5),
        MEANS,
    ),
    "Liger `LigerFusedLinearKTOLoss`": (kto, jaxloss.kto_loss, (*PAIRS[:2], LABELS, KL)),
    "Liger `LigerFusedLinearGRPOLoss`": (by_hand(clipped), masked(jaxloss.clipped_policy_loss), POLICY),
    'verl policy loss "vanilla"': (
        by_hand(functools.partial(clipped, within=20.0, dual=3.0)),
        masked(jaxloss.clipped_policy_loss, dual_clip=3.0),
        POLICY,
    ),
    'verl policy loss "gspo"': (
        lambda pred, old, advantage: of_sequences(pred, old, advantage[:, None], through=False),
        masked(jaxloss.clipped_policy_loss, clip_low=0.1, importance="sequence", reduction=reductions.sequence_mean),
        POLICY,
    ),
    'verl policy loss "cispo"': (
        by_hand(functools.partial(weighted, low=0.8, high=1.2)),
        masked(jaxloss.cispo_loss, ratio_low=0.8, ratio_high=1.2),
        POLICY,
    ),
    'verl policy loss "gpg"': (
        lambda pred, advantage: mean(-pred * advantage[:, None]),
        masked(jaxloss.policy_gradient_loss),
        (TOKENS, ADVANTAGE),
    ),
    'verl `kl_penalty` "kl"': (
        lambda pred, reference: mean(pred - reference),
        masked(jaxloss.kl_penalty, estimator="k1"),
        PENALTY,
    ),
    'verl `kl_penalty` "mse"': (
        lambda pred, reference: mean(0.5 * (pred - reference) ** 2),
        masked(jaxloss.kl_penalty, estimator="k2"),
        PENALTY,
    ),
    'verl `kl_penalty` "low_var_kl"': (
        lambda pred, reference: mean(k3(pred, reference, 20, 10)),
        masked(jaxloss.kl_penalty, bound=20.0),
        PENALTY,
    ),
    "verl `compute_value_loss`": (
        functools.partial(clipped_value, clip=0.5),
        masked(jaxloss.value_loss, clip=0.5),
        (TOKENS, REFERENCE, OLD),
    ),
    'verl advantages "grpo"': (
        functools.partial(standardised, eps=1e-6),
        functools.partial(jaxloss.group_advantages, eps=1e-6),
        (GROUPS,),
    ),
    'verl advantages "rloo"': (
        lambda rewards: (rewards - rewards.mean(-1, keepdims=True)) * 4 / 3,
        functools.partial(jaxloss.group_advantages, baseline="leave_one_out", scale=False),
        (GROUPS,),
    ),
    "verl `entropy_from_logits`": (
        entropy,
        lambda logits: jaxloss.token_log_probs(logits, WORDS, with_entropy=True)[1],
        (LOGITS,),
    ),
    'tunix `DPOTrainer` with "dpo"': (
        conservative,
        functools.partial(jaxloss.dpo_loss, label_smoothing=0.2),
        PAIRS,
    ),
    'tunix `DPOTrainer` with "orpo"': (
        functools.partial(odds, log_complement=log1p_of_exp),
        jaxloss.orpo_loss,
        MEANS,
    ),
    'tunix policy loss "grpo"': (
        by_hand(functools.partial(clipped, within=20.0)),
        masked(jaxloss.clipped_policy_loss),
        POLICY,
    ),
    'tunix policy loss "grpo" with "gspo-token"': (
        lambda pred, old, advantage: of_sequences(pred, old, advantage[:, None], through=False),
        masked(jaxloss.clipped_policy_loss, clip_low=0.1, importance="sequence", reduction=reductions.sequence_mean),
        POLICY,
    ),
    'tunix policy loss "ppo"': (
        by_hand(functools.partial(clipped, dual=1.4)),
        masked(jaxloss.clipped_policy_loss, dual_clip=1.4),
        POLICY,
    ),
    'tunix value loss "ppo"': (
        functools.partial(clipped_value, clip=0.2),
        masked(jaxloss.value_loss),
        (TOKENS, REFERENCE, OLD),
    ),
    "tunix `compute_kl_divergence`": (
        lambda pred, reference: mean(k3(pred, reference)),
        masked(jaxloss.kl_penalty),
        PENALTY,
    ),
    "tunix `compute_advantages`": (
        functools.partial(standardised, eps=1e-6),
        functools.partial(jaxloss.group_advantages, eps=1e-6),
        (GROUPS,),
    ),
    "tunix `compute_drgrpo_advantages`": (
        lambda rewards: rewards - rewards.mean(-1, keepdims=True),
        functools.partial(jaxloss.group_advantages, scale=False),
        (GROUPS,),
    ),
    "tunix `compute_rloo_advantages`": (
        by_the_others,
        functools.partial(jaxloss.group_advantages, baseline="leave_one_out", scale=False),
        (GROUPS,),
    ),
    "tunix `selective_log_softmax`": (log_softmax_of, jaxloss.token_log_probs, (LOGITS, WORDS)),
}


def value_and_gradient(loss, arrays):
    """Of the first array; of arrays that are no number, the sum with weights of its own."""

    def number(first):
        values = loss(first, *arrays[1:])
        return jnp.vdot(values, jnp.cos(jnp.arange(values.size, dtype=values.dtype)).reshape(values.shape)), values

    (_, values), gradient = jax.value_and_grad(number, has_aux=True)(jnp.asarray(arrays[0]))
    return values, gradient


@pytest.mark.parametrize("name", SAME)
def test_a_formula_of_another_library(name):
    theirs, ours, arrays = SAME[name]
    (value, gradient), (found, slopes) = jax.jit(
        lambda: [value_and_gradient(loss, arrays) for loss in (theirs, ours)]
    )()
    assert_close(found, value, 1e-5)
    # No gradient goes through advantages here; theirs are computed outside of the gradient.
    assert_close(slopes, 0 * gradient if "advantages" in name else gradient, 1e-5)


# What differs, by what stands in the list below the table.
DIFFERS = {
    "verl and tunix keep log-ratios within 20": (
        lambda: clipped(np.float32(0), np.float32(-30), np.float32(-1), within=20.0),
        lambda: jaxloss.clipped_policy_loss(single([0]), single([-30]), single([-1])),
        (math.exp(20), math.exp(30)),
    ),
    "verl keeps k3 within 10": (
        lambda: k3(np.float32(-5), np.float32(0), 20, 10),
        lambda: jaxloss.kl_penalty(np.float32(-5), np.float32(0), bound=20.0),
        (10, math.exp(5) - 6),
    ),
    "tunix bounds the estimate": (
        lambda: k3(np.float32(-5), np.float32(0), at_most=3),
        lambda: jaxloss.kl_penalty(np.float32(-5), np.float32(0), bound=3.0),
        (3, math.exp(3) - 4),
    ),
    "verl gives a response that is alone its reward": (
        lambda: (5 - 0) / (1 + 1e-6),
        lambda: jaxloss.group_advantages(single([5]), eps=1e-6)[0],
        (5, 0),
    ),
    "Liger's and tunix's odds of 1 are infinite": (
        lambda: odds(single([-1e-8]), single([-0.5]), log1p_of_exp),
        lambda: jaxloss.orpo_loss(single([-1e-8]), single([-0.5])),
        (0, 1e-8 * math.exp(-0.5) / -math.expm1(-0.5)),
    ),
    "TRL's and tunix's entropy with a logit of -inf is NaN": (
        lambda: entropy(single([0, 0, -np.inf])),
        lambda: jaxloss.token_log_probs(single([0, 0, -np.inf]), 0, with_entropy=True)[1],
        (math.nan, math.log(2)),
    ),
}


@pytest.mark.parametrize("name", DIFFERS)
def test_what_differs(name):
    theirs, ours, expected = DIFFERS[name]
    np.testing.assert_allclose([theirs(), ours()], expected, rtol=1e-5)


def test_the_page_has_every_case_and_names_what_is_here():
    text = PAGE.read_text()
    rows = dict(re.findall(r"^\| ((?:TRL|Liger|verl|tunix) .*?) \| `(.*?)` \|", text, re.MULTILINE))
    assert set(rows) == set(SAME)
    assert set(re.findall(r"^- \*\*(.*)\.\*\*", text, re.MULTILINE)) == set(DIFFERS)
    for there, here in rows.items():
        name, _, options = here.rstrip(")").partition("(")
        ours = getattr(SAME[there][1], "func", SAME[there][1]).__name__
        assert ours in (name, "<lambda>"), there
        for option in re.findall(r"(\w+)=", options):
            assert option in inspect.signature(getattr(jaxloss, name)).parameters, there
