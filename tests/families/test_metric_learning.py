import functools
import math

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

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(point, point, point)
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


def test_the_distance_of_none_is_that_of_the_triplet_loss():
    for swap in (False, True):
        ours = jaxloss.triplet_margin_with_distance_loss(*TRIPLET, swap=swap)
        np.testing.assert_allclose(ours, jaxloss.triplet_margin_loss(*TRIPLET, swap=swap), rtol=1e-6)


@pytest.mark.parametrize(
    "distance",
    [
        lambda x, y: jnp.linalg.norm(x - y, axis=-1),
        lambda x, y: 1 - (x * y).sum(-1) / (jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(y, axis=-1)),
        lambda x, y: jnp.sqrt(jnp.abs(x - y)).sum(-1),
    ],
)
def test_a_distance_that_is_singular_where_points_coincide_is_finite_under_the_mask(distance):
    where = jnp.arange(10) < 6
    spoilt = [jnp.where(where[:, None], array, jnp.nan) for array in TRIPLET]

    def loss(anchor, positive, negative, where=None):
        return jaxloss.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=distance, swap=True, where=where
        )

    step = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    value, gradients = step(*spoilt, where)
    kept, kept_gradients = step(*(array[:6] for array in TRIPLET))
    np.testing.assert_allclose(value, kept, rtol=1e-6)
    for gradient, expected in zip(gradients, kept_gradients, strict=True):
        np.testing.assert_allclose(gradient[:6], expected, rtol=1e-5, atol=1e-8)
        assert (gradient[6:] == 0).all()


def test_the_cosine_example_by_hand():
    x, y = jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), jnp.array([[0.0, 2.0], [3.0, 4.0], [-3.0, 4.0]])
    for target, margin, expected in ((1, 0, [1, 0.4, 1.6]), (-1, 0, [0, 0.6, 0]), (-1, 0.5, [0, 0.1, 0])):
        loss = jaxloss.cosine_embedding_loss(x, y, jnp.full(3, float(target)), margin=margin, reduction="none")
        np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


def test_vectors_that_agree_have_a_cosine_loss_that_is_never_negative():
    x = jax.random.normal(jax.random.key(0), (1000, 17))
    loss = jaxloss.cosine_embedding_loss(x, 3 * x, jnp.ones(1000), reduction="none")
    assert (loss >= 0).all()
    assert (loss < 1e-11).all()


def test_a_zero_vector_has_pytorchs_finite_gradient():
    zero, other = jnp.zeros((2, 3)), jnp.array([[0.9394, 0.1291, -0.4554], [-0.1322, -0.4423, -0.0500]])

    def loss(zero):
        return jaxloss.cosine_embedding_loss(zero, other, jnp.array([1.0, -1.0]), reduction="sum")

    expected = -1e6 * other[0] / jnp.linalg.norm(other[0])
    np.testing.assert_allclose(jax.grad(loss)(zero), [expected, [0, 0, 0]], rtol=1e-5)


@pytest.mark.parametrize("label", [0.0, 0.5, 2.0, float("nan")])
def test_a_cosine_target_that_is_no_sign_is_nan_in_value_and_gradient(label):
    x, y = jnp.ones((2, 3)), jnp.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    step = jax.value_and_grad(lambda x: jaxloss.cosine_embedding_loss(x, y, jnp.array([label, label])))
    value, gradient = step(x)
    assert np.isnan(value)
    assert np.isnan(gradient).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distance_and_angle_do_not_depend_on_the_unit_to_the_ends_of_the_dtype(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jax.random.normal(jax.random.key(0), (3, 4, 5), dtype)
        step = jax.value_and_grad(lambda x: jaxloss.cosine_embedding_loss(x[0], x[1], jnp.array([1, 1, -1, 1], dtype)))
        far = functools.partial(jaxloss.triplet_margin_loss, eps=0.0, reduction="none")
        cosine, slope = step(x)
        for exponent in (40 - jnp.finfo(dtype).maxexp, jnp.finfo(dtype).maxexp - 24):
            unit = jnp.array(2.0, dtype) ** exponent
            np.testing.assert_allclose(far(*(unit * x), margin=unit) / unit, far(*x), rtol=100 * jnp.finfo(dtype).eps)
        large, small_slope = step(unit * x)
        np.testing.assert_allclose(large, cosine, rtol=1e-5)
        np.testing.assert_allclose(small_slope * unit, slope, rtol=1e-5, atol=1e-6)


def test_the_margins_by_hand():
    """At 60 degrees of its proxy, at 170 and at 90 of the other one, which is across both."""
    x = jnp.array([[math.cos(angle), math.sin(angle), 0.0] for angle in np.deg2rad([60, 170])])
    proxies, labels = jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), jnp.array([0, 0])

    def logits(loss, **options):
        """That of the own proxy: the other's is 0."""
        losses = loss(x, proxies, labels, scale=1.0, reduction="none", **options)
        return -jnp.log(jnp.expm1(losses))

    cosine, end = np.cos(np.deg2rad([60, 170])), 0.3 * math.sin(0.3)
    np.testing.assert_allclose(logits(jaxloss.cosface_loss, margin=0.2), cosine - 0.2, rtol=1e-5)
    moved = [math.cos(math.pi / 3 + 0.3), cosine[1] - end]
    np.testing.assert_allclose(logits(jaxloss.arcface_loss, margin=0.3), moved, rtol=1e-5)
    easy = logits(jaxloss.arcface_loss, margin=0.3, easy_margin=True)
    np.testing.assert_allclose(easy, [moved[0], cosine[1]], rtol=1e-5)
    np.testing.assert_allclose(logits(jaxloss.proxy_nca_loss), 2 * cosine, rtol=1e-5)


def test_a_proxy_without_rows_repels_and_does_not_attract():
    x, proxies = jnp.array([[1.0, 0.0]]), jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    expected = np.log1p(np.exp(-4 * 0.9)) + (np.log1p(np.exp(0.4)) + np.log1p(np.exp(4 * (math.sqrt(0.5) + 0.1)))) / 3
    loss = jaxloss.proxy_anchor_loss(x, proxies, jnp.array([0]), scale=4.0)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
