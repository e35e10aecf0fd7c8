import jax
import jax.numpy as jnp
import numpy as np

import jaxloss


def test_the_dice_formula_of_the_documents():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(1, 1, 10, 10)), rng.integers(0, 2, size=(1, 1, 10, 10)).astype(float)
    inside = 1 / (1 + np.exp(-logits))
    dice = (2 * (inside * target).sum() + 1e-5) / (inside.sum() + target.sum() + 1e-5)
    np.testing.assert_allclose(jaxloss.dice_loss(jnp.asarray(logits), jnp.asarray(target)), 1 - dice, rtol=1e-5)


def test_one_loss_an_image_and_class():
    logits, target = jnp.zeros((2, 4, 5, 3)), jnp.ones((2, 4, 5, 3))
    assert jaxloss.dice_loss(logits, target, reduction="none").shape == ()
    assert jaxloss.dice_loss(logits, target, axis=(1, 2), reduction="none").shape == (2, 3)
    assert jaxloss.dice_loss(logits, target, axis=(1, 2)).shape == ()


def test_a_near_perfect_overlap_keeps_its_digits():
    logits = jnp.array([20.0, 20.0, -20.0])
    loss = jaxloss.dice_loss(logits, jnp.array([1.0, 1.0, 0.0]), smooth=0.0)
    np.testing.assert_allclose(loss, 3 * np.exp(-20.0) / 4, rtol=1e-5)


def test_two_empty_sets_agree():
    empty = jnp.zeros((2, 8))
    for smooth in (0.0, 1e-5, 1.0):
        step = jax.value_and_grad(
            lambda pred, smooth=smooth: jaxloss.dice_loss(pred, empty, from_logits=False, smooth=smooth)
        )
        value, gradient = step(empty)
        assert value == 0
        assert np.isfinite(gradient).all()


def test_a_mask_hides_void_pixels_and_a_void_image_counts_for_nothing():
    logits, target = jax.random.normal(jax.random.key(0), (3, 8)), jnp.ones((3, 8))
    where = jnp.ones((3, 8), bool).at[0, 3:].set(False).at[2].set(False)
    rows = jaxloss.dice_loss(logits, target, axis=-1, where=where, reduction="none")
    np.testing.assert_allclose(rows[0], jaxloss.dice_loss(logits[0, :3], target[0, :3]), rtol=1e-6)
    np.testing.assert_allclose(rows[1], jaxloss.dice_loss(logits[1], target[1]), rtol=1e-6)
    np.testing.assert_allclose(jaxloss.dice_loss(logits, target, axis=-1, where=where), rows[:2].mean(), rtol=1e-6)
