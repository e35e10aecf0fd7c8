import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from tests.support import assert_close

ZEROS = np.zeros(3, np.float32)
CHOSEN, REJECTED = np.array([-10.0, -30.0, -20.0], np.float32), np.array([-30.0, -10.0, -20.0], np.float32)
GAPS = np.array([20.0, -20.0, 0.0])


def softplus(x):
    return np.logaddexp(0, x)


def test_the_example_of_the_dpo_paper_is_a_logistic_loss_of_the_gap():
    loss = functools.partial(jaxloss.dpo_loss, CHOSEN, REJECTED, ZEROS, ZEROS, beta=0.1, reduction="none")
    assert_close(loss(), softplus(-0.1 * GAPS), 1e-6)
    assert_close(loss(label_smoothing=0.2), 0.8 * softplus(-0.1 * GAPS) + 0.2 * softplus(0.1 * GAPS), 1e-6)
    # Half of the labels wrong say nothing: the gap is best at 0.
    assert np.argmin(loss(label_smoothing=0.5)) == 2


def test_the_robust_loss_is_unbiased_under_wrong_labels():
    both = [jaxloss.dpo_loss(*pair, ZEROS, ZEROS, label_smoothing=0.3, robust=True, reduction="none")
            for pair in ((CHOSEN, REJECTED), (REJECTED, CHOSEN))]  # fmt: skip
    assert_close(0.7 * both[0] + 0.3 * both[1], softplus(-0.1 * GAPS), 1e-5)
    assert both[0][0] < 0


def test_what_is_common_to_model_and_reference_cancels():
    rng = np.random.default_rng(0)
    common = [rng.normal(size=3).astype(np.float32) for _ in range(2)]
    moved = [CHOSEN + common[0], REJECTED + common[1], *common]
    for loss in (jaxloss.dpo_loss, jaxloss.ipo_loss):
        assert_close(loss(*moved), loss(CHOSEN, REJECTED, ZEROS, ZEROS), 1e-5)


@pytest.mark.parametrize("loss", [jaxloss.dpo_loss, jaxloss.ipo_loss])
def test_the_reference_is_frozen(loss):
    gradients = jax.grad(loss, (0, 1, 2, 3))(*map(jnp.asarray, (CHOSEN, REJECTED, ZEROS, ZEROS)))
    assert all(gradient.any() for gradient in gradients[:2])
    assert_close(gradients[1], -gradients[0], 1e-7)
    assert not any(gradient.any() for gradient in gradients[2:])


def test_gaps_of_ten_thousand_have_the_slopes_of_their_limits():
    far = jnp.array([-1e4, 0.0]), jnp.array([0.0, -1e4])
    zeros = jnp.zeros(2)
    losses = {
        "dpo": (lambda c, r: jaxloss.dpo_loss(c, r, zeros, zeros, beta=0.5, reduction="sum"), [-0.5, 0]),
        "ipo": (lambda c, r: jaxloss.ipo_loss(c, r, zeros, zeros, beta=0.5, reduction="sum"), [-20002, 19998]),
        "simpo": (lambda c, r: jaxloss.simpo_loss(c, r, reduction="sum"), [-2, 0]),
        "orpo": (lambda c, r: jaxloss.orpo_loss(c, r, reduction="sum"), [-1, 0]),
        "bradley_terry": (lambda c, r: jaxloss.bradley_terry_loss(c, r, reduction="sum"), [-1, 0]),
    }
    gradients = jax.jit(lambda *far: {name: jax.grad(loss)(*far) for name, (loss, _) in losses.items()})(*far)
    for name, (_, expected) in losses.items():
        np.testing.assert_allclose(gradients[name], expected, atol=1e-6)


def test_ipo_wants_a_gap_and_no_more():
    gaps = jnp.array([4.0, 5.0, 6.0])
    values = jaxloss.ipo_loss(gaps - 10, ZEROS - 10, ZEROS, ZEROS, beta=0.1, reduction="none")
    np.testing.assert_allclose(values, [1, 0, 1], atol=1e-6)


def test_cpo_is_simpo_of_sums_without_a_margin_and_dpo_without_a_reference():
    cpo = jaxloss.simpo_loss(CHOSEN, REJECTED, beta=0.1, gamma=0.0)
    assert_close(cpo, jaxloss.dpo_loss(CHOSEN, REJECTED, ZEROS, ZEROS, beta=0.1), 1e-6)
    assert_close(jaxloss.simpo_loss(ZEROS, ZEROS, gamma=0.5), math.log1p(math.exp(0.5)), 1e-6)


@pytest.mark.parametrize("log_p", [-1.0, -1e-3, -3e-8, -1e-20, 0.0])
def test_odds_are_exact_and_have_finite_slopes_up_to_certainty(log_p):
    """Of a chosen response the loss is log(1 + o / odds), o those of the rejected: 0 at p = 1, with slope -o."""
    step = jax.value_and_grad(jaxloss.orpo_loss, (0, 1))
    odds = 0.25 / 0.75
    value, (slope, _) = step(jnp.array([log_p]), jnp.log(jnp.array([0.25])))
    np.testing.assert_allclose(value, math.log1p(odds * math.expm1(-log_p)), rtol=1e-5, atol=1e-37)
    np.testing.assert_allclose(slope, [-odds / (math.exp(log_p) - odds * math.expm1(log_p))], rtol=1e-5)
    # As certain of both: as good as of neither.
    value, slopes = step(jnp.array([log_p]), jnp.array([log_p]))
    np.testing.assert_allclose(value, math.log(2), rtol=1e-6)
    assert np.isfinite(slopes).all()


def test_the_whole_of_orpo_is_a_weighted_sum():
    chosen, rejected = jnp.log(jnp.array([0.5, 0.75])), jnp.log(jnp.array([0.5, 0.5]))
    losses = {"nll": -chosen.mean(), "odds": jaxloss.orpo_loss(chosen, rejected)}
    total, _ = jaxloss.weighted_sum(losses, {"nll": 1.0, "odds": 0.1})
    expected = -np.log([0.5, 0.75]).mean() + 0.1 * np.mean([math.log(2), math.log(4 / 3)])
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_kto_weighs_its_kinds_and_learns_from_the_model_alone():
    kinds, kl = np.array([1.0, 0.0, 1.0], np.float32), np.float32(5)
    options = {"beta": 0.1, "desirable_weight": 2.0, "undesirable_weight": 0.5}
    value, gradients = jax.value_and_grad(functools.partial(jaxloss.kto_loss, **options), (0, 1, 2, 3))(
        *map(jnp.asarray, (CHOSEN, REJECTED, kinds, kl))
    )
    sigmoid = 1 / (1 + np.exp(-0.1 * (GAPS - 5)))
    # The mean is by the number of responses, whatever they weigh.
    np.testing.assert_allclose(value, np.mean([2, 0.5, 2] * np.where(kinds == 1, 1 - sigmoid, sigmoid)), rtol=1e-5)
    slopes = np.where(kinds == 1, -2, 0.5) * 0.1 * sigmoid * (1 - sigmoid) / 3
    np.testing.assert_allclose(gradients[0], slopes, rtol=1e-5)
    assert not any(gradient.any() for gradient in gradients[1:])


def test_hidden_pairs_count_for_nothing_in_their_margins_too():
    margin, where = jnp.array([1.0, np.nan, 2.0]), np.array([True, False, True])
    value = jaxloss.bradley_terry_loss(CHOSEN, REJECTED, margin=margin, where=where)
    np.testing.assert_allclose(value, softplus(np.array([1.0, 2.0]) - GAPS[[0, 2]]).mean(), rtol=1e-6)


def test_tokens_in_place_of_responses_are_preferences_each():
    """Shapes are free: one loss an entry, and "mean" over those that are kept."""
    chosen, rejected, keep = -np.ones((2, 3), np.float32), -2 * np.ones((2, 3), np.float32), np.eye(2, 3) > 0
    value = jaxloss.simpo_loss(chosen, rejected, where=keep)
    np.testing.assert_allclose(value, softplus(-1), rtol=1e-6)
