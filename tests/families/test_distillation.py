"""What is particular to the losses of distillation."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, 3, 5)).astype(np.float32)


def jsd(beta, student=STUDENT, teacher=TEACHER, **options):
    return jaxloss.generalized_jsd_loss(student, teacher, beta=beta, **options)


def test_an_end_is_the_slope_of_what_vanishes_there():
    with jax.enable_x64(True):
        for end, near in ((0, 1e-7), (1, 1 - 1e-7)):
            args = STUDENT.astype(float), TEACHER.astype(float)
            np.testing.assert_allclose(jsd(near, *args) / 1e-7, jsd(end, *args), rtol=1e-5)


def test_the_ends_are_the_two_divergences_and_no_traced_number():
    log_s, log_t = jax.nn.log_softmax(STUDENT), jax.nn.log_softmax(TEACHER)
    np.testing.assert_allclose(jsd(0), jaxloss.kl_div(log_s, jnp.exp(log_t)), rtol=1e-5)
    np.testing.assert_allclose(jsd(1.0), jaxloss.kl_div(log_t, jnp.exp(log_s)), rtol=1e-5)
    traced = jax.jit(jax.value_and_grad(jsd, 1))
    for end in (0.0, 1.0):
        assert all(np.isnan(each).all() for each in jax.tree.leaves(traced(end, STUDENT)))
        with pytest.raises(Exception, match=r"`beta` must be in \[0, 1\], and strictly between"):
            chex.chexify(jax.jit(jsd), async_check=False)(jnp.float32(end))


def test_a_traced_beta_and_its_derivative():
    with jax.enable_x64(True):
        loss = jax.jit(jax.value_and_grad(lambda beta: jsd(beta, STUDENT.astype(float), TEACHER.astype(float))))
        value, slope = loss(0.3)
        np.testing.assert_allclose(value, jsd(0.3, STUDENT.astype(float), TEACHER.astype(float)), rtol=1e-12)
        np.testing.assert_allclose(slope, (loss(0.3 + 1e-5)[0] - loss(0.3 - 1e-5)[0]) / 2e-5, rtol=1e-7)


def test_a_student_that_knows_all_has_no_loss_and_a_small_distance_keeps_its_digits():
    """The log-probabilities of the mixture, subtracted, leave no digit of 1e-9; and some are negative."""
    assert jsd(0.5, STUDENT, STUDENT) == 0
    assert not np.any(jax.grad(jsd, 1)(0.3, STUDENT, STUDENT))
    teacher = STUDENT + np.float32(2**-12) * TEACHER
    log_s, log_t = (
        logits - np.logaddexp.reduce(logits, -1, keepdims=True) for logits in np.asarray([STUDENT, teacher], float)
    )
    p, distance = np.exp(log_s), log_t - log_s
    mixture = np.log1p(0.5 * np.expm1(distance))
    exact = 0.5 * (p * (np.exp(distance) * (distance - mixture) - mixture)).sum(-1)
    np.testing.assert_allclose(jsd(0.5, STUDENT, teacher, reduction="none"), exact, rtol=5e-3)
    assert exact.max() < 1e-7


@pytest.mark.parametrize("beta", [0.0, 0.2, 1.0])
def test_a_small_curvature_is_that_of_the_fisher_information(beta):
    """Where the two agree, which is a kink of the absolute distance and none of the loss."""
    weight = beta * (1 - beta) or 1.0
    p = jax.nn.softmax(STUDENT[0])
    fisher = weight * (jnp.diag(p) - jnp.outer(p, p))
    loss = functools.partial(jaxloss.generalized_jsd_loss, beta=beta)
    for position in (0, 1):
        np.testing.assert_allclose(jax.hessian(loss, position)(STUDENT[0], STUDENT[0]), fisher, atol=1e-6)


def test_what_the_teacher_alone_can_choose_is_infinite_at_an_end_only():
    student, teacher = jnp.array([0.0, -jnp.inf]), jnp.array([0.0, 0.0])
    assert jsd(0, student, teacher) == jnp.inf
    np.testing.assert_allclose(jsd(1, student, teacher), math.log(2), rtol=1e-6)
    for beta in (0.01, 0.5, 0.99):
        assert np.isfinite(jsd(beta, student, teacher))
        first, second = jax.jit(jax.grad(functools.partial(jsd, beta), (0, 1)))(student, teacher)
        assert np.isfinite(first).all()
        assert np.isfinite(second).all()
        assert np.isfinite(jax.hessian(functools.partial(jsd, beta))(student, teacher)).all()


def test_a_temperature_shrinks_the_gradient_by_its_square():
    gradients = [
        temperature**2 * jax.grad(jsd, 1)(0.5, STUDENT, TEACHER, temperature=temperature) for temperature in (1e2, 1e3)
    ]
    np.testing.assert_allclose(*gradients, rtol=0.05)
