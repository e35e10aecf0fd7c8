import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

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


@pytest.mark.parametrize("error", [1e-6, 1e-4, 1e-2, 0.5, 0.999, 1.0, 1.001, 5.0, 50.0])
def test_log_cosh_keeps_its_digits_near_zero_and_far_out(error):
    value = jaxloss.log_cosh_loss(jnp.float32(error), jnp.float32(0))
    exact = np.longdouble(np.float32(error))
    expected = np.log1p(2 * np.sinh(exact / 2) ** 2) if error < 1 else exact + np.log1p(np.exp(-2 * exact)) - np.log(2)
    np.testing.assert_allclose(value, np.float64(expected), rtol=4e-7)


def test_log_cosh_is_half_the_squared_error_near_zero_with_curvature_one():
    assert jaxloss.log_cosh_loss(jnp.float32(1e4), jnp.float32(0)) == pytest.approx(1e4 - math.log(2))
    for order, expected in ((1, 0), (2, 1), (3, 0), (4, -2)):
        derivative = jaxloss.log_cosh_loss
        for _ in range(order):
            derivative = jax.grad(derivative)
        np.testing.assert_allclose(derivative(jnp.zeros(()), jnp.zeros(())), expected, atol=1e-7)


def test_quantile_loss_is_least_at_the_quantile():
    target = jnp.arange(1.0, 101.0)
    candidates = jnp.linspace(0.0, 101.0, 1011)
    for quantile, low, high in ((0.1, 10, 11), (0.5, 50, 51), (0.9, 90, 91)):
        losses = jax.vmap(lambda c: jaxloss.quantile_loss(jnp.full(100, c), target, quantile=quantile))(candidates)  # noqa: B023
        assert low - 0.01 <= candidates[losses.argmin()] <= high + 0.01


def test_an_array_of_quantiles_is_a_loss_for_each():
    pred, target = jax.random.normal(jax.random.key(0), (5, 3)), jnp.linspace(-1, 1, 5)
    quantiles = jnp.array([0.1, 0.5, 0.9])
    together = jaxloss.quantile_loss(pred, target, quantile=quantiles, reduction="none")
    for column, quantile in enumerate([0.1, 0.5, 0.9]):
        alone = jaxloss.quantile_loss(pred[:, column], target, quantile=quantile, reduction="none")
        np.testing.assert_allclose(together[:, column], alone, rtol=1e-6)


def test_the_median_loss_is_half_the_absolute_error_also_at_its_kink():
    loss = jax.value_and_grad(lambda pred: jaxloss.quantile_loss(pred, jnp.zeros(3), reduction="sum"))
    value, gradient = loss(jnp.array([-2.0, 0.0, 4.0]))
    assert value == 3
    np.testing.assert_array_equal(gradient, [-0.5, 0, 0.5])


def test_a_gaussian_of_known_variance():
    expected = -math.log(math.exp(-((2.5 - 3) ** 2) / (2 * 0.25)) / math.sqrt(2 * math.pi * 0.25))
    full = jaxloss.gaussian_nll_loss(jnp.array([2.5]), jnp.array([3.0]), jnp.array([0.25]), full=True)
    np.testing.assert_allclose(full, expected, rtol=1e-6)


def test_a_variance_may_be_that_of_an_element_of_a_row_of_a_column_or_of_all():
    pred, target = jax.random.normal(jax.random.key(0), (2, 3, 4))
    whole = jaxloss.gaussian_nll_loss(pred, target, jnp.full((3, 4), 0.5), reduction="none")
    for var in (jnp.full((3, 1), 0.5), jnp.full((1, 4), 0.5), jnp.full(3, 0.5), 0.5, np.float32(0.5), jnp.float32(0.5)):
        loss = jax.jit(lambda var: jaxloss.gaussian_nll_loss(pred, target, var, reduction="none"))
        np.testing.assert_allclose(loss(var), whole, rtol=1e-6)
        np.testing.assert_allclose(jaxloss.gaussian_nll_loss(pred, target, var, reduction="none"), whole, rtol=1e-6)
    gradient = jax.grad(lambda var: jaxloss.gaussian_nll_loss(pred, target, var, reduction="sum"))
    np.testing.assert_allclose(gradient(jnp.float32(0.5)), gradient(jnp.full((3, 4), 0.5)).sum(), rtol=1e-5)


def test_a_variance_below_eps_gets_the_gradient_of_eps_as_in_pytorch():
    var = jnp.array([0.0, 1e-7, 1e-6, 1.0])

    def loss(var):
        return jaxloss.gaussian_nll_loss(jnp.ones(4), jnp.zeros(4), var, reduction="sum")

    np.testing.assert_allclose(jax.grad(loss)(var), [-5e11, -5e11, -5e11, 0], rtol=1e-4)
    assert np.isfinite(jax.hessian(loss)(var)).all()


def test_a_negative_variance_is_refused_reported_or_nan_but_never_clamped():
    pred = jnp.ones(2)
    with pytest.raises(ValueError, match="gaussian_nll_loss: `var` must be at least 0, got -1.0"):
        jaxloss.gaussian_nll_loss(pred, pred, -1.0)
    with pytest.raises(checkify.JaxRuntimeError, match="`var` must be at least 0"):
        chex.chexify(jax.jit(jaxloss.gaussian_nll_loss), async_check=False)(pred[None], pred[None], jnp.float32(-1))
    step = jax.value_and_grad(lambda var: jaxloss.gaussian_nll_loss(pred, pred, var, reduction="sum"))
    value, gradient = step(jnp.array([-1e-3, 1.0]))
    assert np.isnan(value)
    np.testing.assert_array_equal(np.isnan(gradient), [True, False])


def test_a_gaussian_of_huge_error_and_variance_has_finite_derivatives():
    gradient = jax.grad(jaxloss.gaussian_nll_loss, (0, 2))
    for scale in (1e15, 1e25):
        mean, var = gradient(jnp.float32(scale), jnp.float32(0), jnp.float32(scale))
        np.testing.assert_allclose(mean, 1, rtol=1e-6)
        np.testing.assert_allclose(var, -0.5, rtol=1e-5)


def test_poisson_of_a_log_rate_and_of_its_rate_are_one_loss():
    log_rate, count = jnp.array([-1.0, 0.0, 2.0]), jnp.array([0.0, 1.0, 7.0])
    by_log = jaxloss.poisson_nll_loss(log_rate, count, reduction="none")
    by_rate = jaxloss.poisson_nll_loss(jnp.exp(log_rate), count, log_input=False, reduction="none")
    np.testing.assert_allclose(by_log, by_rate, rtol=1e-5)
    # The minimum is at rate = count.
    np.testing.assert_allclose(
        jax.grad(jaxloss.poisson_nll_loss)(jnp.log(jnp.float32(7)), jnp.float32(7)), 0, atol=1e-5
    )


def test_the_full_poisson_loss_is_the_likelihood_and_spares_counts_of_zero_and_one():
    count = jnp.array([0.0, 1.0, 50.0])
    full = jaxloss.poisson_nll_loss(jnp.zeros(3), count, full=True, reduction="none")
    np.testing.assert_allclose(full, [1, 1, 1 + math.lgamma(51)], rtol=1e-4)


@pytest.mark.parametrize(
    ("alpha", "loss"),
    [
        (1.0, jaxloss.charbonnier_loss),
        (0.0, jaxloss.cauchy_loss),
        (-2.0, jaxloss.geman_mcclure_loss),
        (-math.inf, jaxloss.welsch_loss),
        (2.0, lambda pred, target, scale, reduction: jaxloss.mse_loss(pred / scale, target, reduction=reduction) / 2),
    ],
)
def test_the_general_robust_loss_has_the_others_among_it(alpha, loss):
    pred, target = jnp.linspace(-5, 5, 21), jnp.zeros(21)
    expected = loss(pred, target, scale=0.7, reduction="none")
    for option in (alpha, jnp.float32(alpha)):
        general = jaxloss.general_robust_loss(pred, target, alpha=option, scale=0.7, reduction="none")
        np.testing.assert_allclose(general, expected, rtol=2e-6)


def test_alpha_and_scale_of_the_general_robust_loss_are_learned_together():
    with jax.enable_x64(True):
        pred, target = jnp.linspace(-4, 4, 9), jnp.full(9, 0.3)
        for alpha in (-3.0, 0.0, 0.9, 2.7, 60.0):

            def loss(options):
                return jaxloss.general_robust_loss(pred, target, alpha=options[0], scale=options[1])

            options = jnp.array([alpha, 1.7])
            step = jnp.eye(2) * 1e-5
            gradient, hessian = jax.grad(loss), jax.hessian(loss)(options)
            differences = [(loss(options + s) - loss(options - s)) / 2e-5 for s in step]
            np.testing.assert_allclose(gradient(options), differences, rtol=1e-6)
            rows = [(gradient(options + s) - gradient(options - s)) / 2e-5 for s in step]
            np.testing.assert_allclose(hessian, rows, rtol=1e-4, atol=1e-8)
