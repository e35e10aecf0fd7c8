import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import reductions

VALUES = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], np.float32)
WEIGHTS = np.array([[0.5, 0.0, 1.5], [0.0, 0.0, 2.0]], np.float32)


def test_weights_weigh():
    np.testing.assert_allclose(reductions.none(VALUES, WEIGHTS), VALUES * WEIGHTS)
    np.testing.assert_allclose(reductions.sum(VALUES, WEIGHTS), (VALUES * WEIGHTS).sum())
    np.testing.assert_allclose(reductions.mean(VALUES, WEIGHTS), np.average(VALUES, weights=WEIGHTS))
    np.testing.assert_allclose(reductions.batchmean(VALUES, WEIGHTS), (VALUES * WEIGHTS).sum() / 2)


def test_weights_broadcast_and_are_counted_as_broadcast():
    np.testing.assert_allclose(reductions.mean(VALUES, WEIGHTS[:, :1]), VALUES[0].mean())
    np.testing.assert_allclose(reductions.mean(VALUES, WEIGHTS[:, :1] > 0), VALUES[0].mean())
    with pytest.raises(AssertionError, match="reductions.mean: `weights` must"):
        reductions.mean(VALUES, np.ones((2, 3, 1), np.float32))
    with pytest.raises(AssertionError, match="reductions.mean: `weights` must"):
        reductions.mean(VALUES, np.ones(2, bool))


def test_a_weight_of_zero_hides_what_is_not_finite():
    values = np.where(WEIGHTS == 0, np.nan, VALUES)
    for weights in (WEIGHTS, WEIGHTS > 0):
        expected = np.average(VALUES, weights=weights)
        value, gradient = jax.value_and_grad(reductions.mean)(jnp.asarray(values), weights)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        np.testing.assert_allclose(gradient, weights / weights.sum(), rtol=1e-6)


def test_learned_weights_have_gradients_at_zero_too():
    gradient = jax.grad(lambda weights: reductions.sum(VALUES, weights))(jnp.asarray(WEIGHTS))
    np.testing.assert_allclose(gradient, VALUES)


def test_half_precision_does_not_overflow():
    values = jnp.full(3000, 60000, jnp.float16)
    assert reductions.mean(values) == 60000
    assert reductions.mean(values).dtype == jnp.float32


def test_a_large_count_keeps_its_digits():
    kept = jnp.ones(2**24 + 4, bool)
    assert reductions.mean(jnp.full(kept.shape, 0.5), kept) == 0.5


def test_negative_weights_are_reported():
    with pytest.raises(ValueError, match="reductions.mean: `weights` must be at least 0"):
        chex.chexify(jax.jit(reductions.mean), async_check=False)(VALUES, -WEIGHTS)
