"""The wall of robust regression and relative errors: how the formulas of other libraries fail, each reproduced here."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.wall.test_known_bugs import graded, holds

ZERO = jnp.zeros(())


def test_the_derivative_to_alpha_is_true_where_the_formula_is_another():
    """The reference clamps alpha away from 0 and 2: there its derivative is that of no alpha at all.

    `lossfun` of https://github.com/jonbarron/robust_loss_pytorch selects the limits by `alpha == 0` and `alpha == 2`.
    """

    def by_cases(alpha, z):
        b = jnp.maximum(jnp.finfo(z.dtype).eps, jnp.abs(alpha - 2))
        safe = jnp.where(alpha >= 0, 1.0, -1.0) * jnp.maximum(jnp.finfo(z.dtype).eps, jnp.abs(alpha))
        otherwise = b / safe * ((z**2 / b + 1) ** (0.5 * alpha) - 1)
        return jnp.where(alpha == 0, jnp.log1p(0.5 * z**2), jnp.where(alpha == 2, 0.5 * z**2, otherwise))

    z = jnp.float32(3)
    assert jax.grad(by_cases)(ZERO, z) == 0
    log = np.log1p(4.5)
    derivative = jax.grad(lambda alpha: jaxloss.general_robust_loss(z, ZERO, alpha=alpha))
    np.testing.assert_allclose(derivative(ZERO), log**2 / 4 - log / 2 + 4.5 / 11, rtol=1e-5)
    assert derivative(jnp.float32(2)) == np.inf
    assert derivative(jnp.float32(-np.inf)) == derivative(jnp.float32(np.inf)) == 0


def test_an_error_whose_square_overflows_has_a_loss_and_a_gradient():
    """sqrt(1 + d^2) - 1 and log(1 + d^2 / 2) as kornia has them: inf from 2e19 on, and NaN in the gradient of the one.

    https://github.com/kornia/kornia/blob/main/kornia/losses/cauchy.py
    """
    far = jnp.float32(1e20)
    assert np.isinf(jnp.sqrt(1 + far**2) - 1)
    assert np.isinf(jnp.log(0.5 * far**2 + 1))
    assert np.isnan(jax.grad(lambda x: 2 * x**2 / (x**2 + 4))(far))
    holds(graded(jaxloss.charbonnier_loss, far, ZERO), 1e20, 1.0)
    holds(graded(jaxloss.cauchy_loss, far, ZERO), 40 * np.log(10) - np.log(2), 2e-20)
    holds(graded(jaxloss.geman_mcclure_loss, far, ZERO), 2.0, 0.0)
    holds(graded(jaxloss.welsch_loss, far, ZERO), 1.0, 0.0)
    holds(graded(jaxloss.tukey_loss, far, ZERO), 4.685**2 / 6, 0.0)


def test_a_small_error_does_not_vanish_next_to_one():
    """sqrt(1 + d^2) - 1 and 1 - exp(-d^2 / 2) are 0 for an error of 1e-4, whose loss is 5e-9."""
    near = jnp.float32(1e-4)
    assert jnp.sqrt(1 + near**2) - 1 == 0 == 1 - jnp.exp(-(near**2) / 2)
    for loss in (
        jaxloss.charbonnier_loss,
        jaxloss.cauchy_loss,
        jaxloss.geman_mcclure_loss,
        jaxloss.welsch_loss,
        jaxloss.tukey_loss,
        jaxloss.general_robust_loss,
    ):
        holds(graded(loss, near, ZERO), 5e-9, 1e-4)


def test_a_negative_prediction_is_not_clipped_to_a_gradient_of_zero():
    """keras takes what is below 1e-7 for 1e-7: a prediction that went negative had a loss, and never came back.

    https://github.com/keras-team/keras/blob/master/keras/src/losses/losses.py, `mean_squared_logarithmic_error`
    """

    def clipped(pred, target):
        return jnp.square(jnp.log(jnp.maximum(pred, 1e-7) + 1) - jnp.log(jnp.maximum(target, 1e-7) + 1))

    negative, one = jnp.float32(-3), jnp.float32(1)
    assert jax.grad(clipped)(negative, one) == 0
    assert np.isnan(graded(jaxloss.msle_loss, negative, one)).all()


def test_near_logarithms_keep_their_digits():
    """log(1 + p) - log(1 + y) cancels: the loss of 1000 and 1000.01 was wrong in the first digits."""
    pred, target = jnp.float32(1000.01), jnp.float32(1000)
    gap = np.log1p(np.float64(pred)) - np.log1p(np.float64(target))
    assert abs(jnp.square(jnp.log1p(pred) - jnp.log1p(target)) / gap**2 - 1) > 1e-3
    holds(graded(jaxloss.msle_loss, pred, target), gap**2, 2 * gap / (1 + np.float64(pred)))


def test_a_target_of_zero_has_a_percentage_and_a_gradient():
    """|p - y| / |y| is inf, and NaN where the prediction is right; a mean over it is lost for good."""
    assert np.isnan(jnp.abs(ZERO - ZERO) / jnp.abs(ZERO))
    holds(graded(jaxloss.mape_loss, ZERO, ZERO), 0.0, 0.0)
    holds(graded(jaxloss.mape_loss, jnp.float32(1e-3), ZERO, eps=0.1), 1.0, 1000.0)
