"""The wall of self-supervised learning: public reports, each reproduced in the formula of the library that is named."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxloss
from tests.wall.test_known_bugs import graded, holds

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 32, 4)).astype(np.float32)


def dino_of_views(teacher, student, center):
    """lightly's: the mean over all pairs of unlike views, of which one view has none."""
    labels = jax.nn.softmax((teacher - center) / 0.04)
    losses = -jnp.einsum("tbk,sbk->ts", labels, jax.nn.log_softmax(student / 0.1))
    views = min(losses.shape)
    terms = losses.size - views
    return jnp.sum(jnp.where(jnp.eye(*losses.shape, dtype=bool), 0, losses)) / (terms * teacher.shape[1])


def test_without_a_pair_of_views_dino_is_0_and_not_nan():
    """A single view of each image gave 0/0.

    https://github.com/lightly-ai/lightly/issues/1938
    """
    logits, center = jnp.array(X[None]), jnp.zeros(4)
    assert np.isnan(graded(lambda student: dino_of_views(logits, student, center), logits)[0])
    no_pairs = jnp.zeros((0, 32, 4))
    holds(graded(lambda student: jaxloss.dino_loss(student, no_pairs, center), no_pairs), 0.0, no_pairs)
    # Of two views of each the mean is over the two pairs.
    teacher, student = jnp.array([X, Y]), jnp.array([Y + X, Y - X])
    np.testing.assert_allclose(
        jaxloss.dino_loss(student, teacher[::-1], center), dino_of_views(teacher, student, center), rtol=1e-5
    )


def barlow_with_bessel(x, y):
    """Deviations of a sample beside correlations by the number of rows."""
    x, y = ((view - view.mean(0)) / jnp.std(view, 0, ddof=1) for view in (x, y))
    correlations = x.T @ y / len(x)
    diagonal = jnp.diag(correlations)
    return jnp.sum((1 - diagonal) ** 2) + 0.005 * (jnp.sum(correlations**2) - jnp.sum(diagonal**2))


def test_the_diagonal_of_barlow_twins_reaches_1():
    """Of equal views the diagonal was (rows - 1) / rows: of four rows a quarter was missing.

    https://github.com/yaohungt/Barlow-Twins-HSIC/issues/6
    """
    x = jnp.array([[1.0], [-1.0], [2.0], [-2.0]])
    np.testing.assert_allclose(barlow_with_bessel(x, x), 1 / 16, rtol=1e-5)
    np.testing.assert_allclose(jaxloss.barlow_twins_loss(x, x), (1e-5 / 2.5) ** 2, rtol=1e-4)


def barlow_of_one_norm(x, y):
    """Both views by the mean and the deviation of the two together."""
    both = jnp.concatenate([x, y])
    x, y = ((view - both.mean(0)) / jnp.sqrt(both.var(0) + 1e-5) for view in (x, y))
    correlations = x.T @ y / len(x)
    return jnp.sum((1 - jnp.diag(correlations)) ** 2)


def test_each_view_of_barlow_twins_has_moments_of_its_own():
    """Statistics that were mixed across the views made a difference of two augmentations one of the rows.

    https://github.com/lightly-ai/lightly/issues/1806
    """
    assert barlow_of_one_norm(X, 3 * X + 5) > 1
    assert jaxloss.barlow_twins_loss(X, 3 * X + 5, off_diagonal_weight=0.0) < 1e-6


def test_correlations_of_all_devices_have_a_gradient():
    """A sum over devices that is not differentiated: the right loss, and one by W of its gradient.

    https://github.com/lightly-ai/lightly/issues/1977, https://github.com/lightly-ai/lightly/issues/1920,
    https://github.com/facebookresearch/barlowtwins/issues/8
    """
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4], axis_types=(AxisType.Auto,))

    def on_devices(loss):
        return jax.shard_map(loss, mesh=mesh, in_specs=(P("data"), P("data")), out_specs=P())

    def detached(x, y):
        """Of views that are normalised already, so that the correlations alone are of all devices."""
        own = x.T @ y / 32
        others = jax.lax.stop_gradient(jax.lax.psum(own, "data") - own)
        # Each device has the same loss, and averages the gradients.
        return jax.lax.pmean(jnp.sum((own + others - jnp.eye(4)) ** 2), "data")

    def plain(x, y):
        return jnp.sum((x.T @ y / 32 - jnp.eye(4)) ** 2)

    value, gradient = jax.jit(jax.value_and_grad(on_devices(detached)))(X, Y)
    expected, slope = jax.value_and_grad(plain)(X, Y)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(4 * gradient, slope, rtol=1e-4, atol=1e-6)
    for loss in (jaxloss.barlow_twins_loss, jaxloss.vicreg_loss):
        found = jax.jit(jax.grad(on_devices(functools.partial(loss, axis_name="data"))))(X, Y)
        np.testing.assert_allclose(found, jax.grad(loss)(X, Y), rtol=1e-4, atol=1e-6)


def test_vicreg_has_the_half_of_its_authors_code():
    """The paper's formula adds up the variances of the two views, its code takes their mean.

    https://github.com/facebookresearch/vicreg/issues/8,
    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/467
    """
    variance = jaxloss.vicreg_loss(0.5 * X, 0.25 * Y, invariance_weight=0.0, variance_weight=1.0, covariance_weight=0.0)
    hinges = [np.maximum(1 - np.sqrt(view.var(0, ddof=1) + 1e-4), 0).mean() for view in (0.5 * X, 0.25 * Y)]
    np.testing.assert_allclose(variance, sum(hinges) / 2, rtol=1e-5)


def koleo_in_half_precision(rows):
    """DINOv2's, under automatic mixed precision: its eps is none in half precision."""
    units = rows / (jnp.linalg.norm(rows, axis=-1, keepdims=True) + jnp.float16(1e-8))
    near = jnp.argmax(units @ units.T - 3 * jnp.eye(len(rows), dtype=rows.dtype), 1)
    return -jnp.log(jnp.linalg.norm(units - units[near], axis=-1) + jnp.float16(1e-8)).mean()


def test_koleo_of_rows_that_all_but_coincide_is_finite():
    """Near-duplicates had a loss of inf.

    https://github.com/facebookresearch/dinov2/issues/101
    """
    rows = jnp.array([[1.0, 2.0], [1.0, 2.0], [0.5, -1.0]], jnp.float16)
    value, gradient = jax.value_and_grad(koleo_in_half_precision)(rows)
    assert not np.isfinite(value)
    assert not np.isfinite(gradient).all()
    value, gradient = jax.value_and_grad(jaxloss.koleo_loss)(rows)
    assert 0 < value < -np.log(1e-8)
    assert np.isfinite(gradient).all()
