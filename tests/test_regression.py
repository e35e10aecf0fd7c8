import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

PRED, TARGET = jnp.array([2.5, 0.0]), jnp.array([3.0, -0.5])


def test_the_mse_example_of_the_documents_is_a_quarter():
    assert jaxloss.mse_loss(PRED, TARGET) == 0.25


def test_the_l1_and_smooth_l1_examples_of_the_documents():
    assert jaxloss.l1_loss(PRED, TARGET) == 0.5
    assert jaxloss.smooth_l1_loss(PRED, TARGET, beta=1.0) == 0.125
    assert jaxloss.smooth_l1_loss(jnp.array([3.0]), jnp.array([0.0])) == 2.5


def test_pitfall_reduction_none_gives_one_loss_a_sample():
    np.testing.assert_array_equal(jaxloss.mse_loss(PRED, TARGET, reduction="none"), [0.25, 0.25])
    column = jaxloss.l1_loss(PRED[:, None], TARGET[:, None], reduction="none")
    assert column.shape == (2, 1)


@pytest.mark.parametrize("loss", [jaxloss.mse_loss, jaxloss.l1_loss, jaxloss.smooth_l1_loss, jaxloss.huber_loss])
def test_pitfall_integer_targets_are_refused(loss):
    with pytest.raises(AssertionError, match="`target` must be floating.*got int32.*target.astype\\(jnp.float32\\)"):
        loss(PRED, jnp.array([3, 0]))


@pytest.mark.parametrize("loss", [jaxloss.mse_loss, jaxloss.l1_loss, jaxloss.smooth_l1_loss, jaxloss.huber_loss])
def test_pitfall_a_column_against_a_vector_is_refused(loss):
    with pytest.raises(AssertionError, match="`target` must be floating, of shape \\(2, 1\\).*target.reshape"):
        loss(PRED[:, None], TARGET)


def test_mse_punishes_outliers_and_l1_does_not():
    error = jnp.array(100.0)
    slopes = [jax.grad(loss)(error, jnp.zeros(())) for loss in (jaxloss.mse_loss, jaxloss.l1_loss, jaxloss.huber_loss)]
    assert slopes == [200, 1, 1]


def test_huber_is_delta_times_smooth_l1_with_beta_delta():
    pred, target = jnp.linspace(-5, 5, 101), jnp.zeros(101)
    for delta in (0.5, 1.0, 3.0):
        huber = jaxloss.huber_loss(pred, target, delta=delta, reduction="none")
        smooth = jaxloss.smooth_l1_loss(pred, target, beta=delta, reduction="none")
        np.testing.assert_allclose(huber, delta * smooth, rtol=1e-6)


def test_smooth_l1_with_beta_zero_is_l1_also_when_traced():
    pred, target = jnp.linspace(-5, 5, 11), jnp.zeros(11)
    step = jax.jit(jax.value_and_grad(lambda pred, beta: jaxloss.smooth_l1_loss(pred, target, beta=beta)))
    value, gradient = step(pred, 0.0)
    expected_value, expected_gradient = jax.value_and_grad(jaxloss.l1_loss)(pred, target)
    assert value == expected_value
    np.testing.assert_array_equal(gradient, expected_gradient)


def test_the_slope_of_huber_has_no_jump():
    just_below, just_above = jnp.nextafter(jnp.float32(1), 0), jnp.nextafter(jnp.float32(1), 2)
    slope = jax.grad(jaxloss.huber_loss)
    np.testing.assert_allclose(slope(just_below, jnp.zeros(())), slope(just_above, jnp.zeros(())), rtol=1e-6)
