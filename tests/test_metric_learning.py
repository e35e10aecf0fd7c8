import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

KEYS = jax.random.split(jax.random.key(0), 3)
TRIPLET = [jax.random.normal(key, (10, 128)) for key in KEYS]


def test_the_triplet_example_of_the_documents():
    anchor, positive, negative = (np.asarray(array, np.float64) for array in TRIPLET)
    near = np.sqrt(((anchor - positive + 1e-6) ** 2).sum(-1))
    far = np.sqrt(((anchor - negative + 1e-6) ** 2).sum(-1))
    expected = np.maximum(near - far + 1.0, 0).mean()
    np.testing.assert_allclose(jaxloss.triplet_margin_loss(*TRIPLET, margin=1.0, p=2), expected, rtol=1e-5)


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 2.0, 3, float("inf")])
@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_points_that_coincide_have_a_finite_gradient(p, eps):
    point = jnp.array([[1.0, 2.0, 3.0]])

    def loss(anchor, positive, negative, p=p):
        return jaxloss.triplet_margin_loss(anchor, positive, negative, p=p, eps=eps, swap=True)

    value, gradients = jax.value_and_grad(loss, (0, 1, 2))(point, point, point)
    np.testing.assert_allclose(value, 1.0, rtol=1e-5)
    assert np.isfinite(gradients).all()
    if p != float("inf"):
        assert np.isfinite(jax.jit(jax.grad(loss))(point, point, point, p)).all()


def test_eps_is_added_to_each_difference_and_not_to_the_norm():
    point = jnp.zeros((1, 100))
    far = jnp.full((1, 100), 10.0)
    loss = jaxloss.triplet_margin_loss(point, point, far, margin=200.0, eps=1e-2)
    np.testing.assert_allclose(loss, 200 + 0.1 - (10 - 1e-2) * 10, rtol=1e-6)


def test_an_easy_triplet_has_no_loss_and_no_gradient():
    anchor, negative = jnp.zeros((1, 2)), jnp.full((1, 2), 10.0)
    value, gradient = jax.value_and_grad(jaxloss.triplet_margin_loss)(anchor, anchor, negative)
    assert value == 0
    assert (gradient == 0).all()


def test_swap_uses_the_nearer_of_the_two_distances():
    anchor, positive, negative = jnp.array([[0.0]]), jnp.array([[3.0]]), jnp.array([[4.0]])
    assert jaxloss.triplet_margin_loss(anchor, positive, negative, eps=0.0) == 0
    assert jaxloss.triplet_margin_loss(anchor, positive, negative, eps=0.0, swap=True) == 3


def test_one_triplet_without_a_batch():
    rows = jaxloss.triplet_margin_loss(*TRIPLET, reduction="none")
    assert rows.shape == (10,)
    first = jaxloss.triplet_margin_loss(*(array[0] for array in TRIPLET), reduction="none")
    assert first.shape == ()
    np.testing.assert_allclose(first, rows[0], rtol=1e-6)
