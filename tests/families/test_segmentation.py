import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from scipy.ndimage import distance_transform_edt

import jaxloss
from tests.catalogue.segmentation import cldice_oracle
from tests.support import assert_close


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


SETS = (jaxloss.dice_loss, jaxloss.jaccard_loss, jaxloss.tversky_loss, jaxloss.generalized_dice_loss)


@pytest.mark.parametrize("loss", SETS, ids=lambda loss: loss.__name__)
def test_indices_are_one_hot_floats_and_what_is_ignored_is_hidden(loss):
    logits = jax.random.normal(jax.random.key(0), (2, 5, 3, 4))
    labels = jax.random.randint(jax.random.key(1), (2, 5, 4), 0, 4) - 1

    def both(logits):
        by_index = loss(logits, labels, class_axis=2, axis=1, ignore_index=-1, reduction="none")
        one_hot = jax.nn.one_hot(labels, 3, axis=2)
        return by_index, loss(logits, one_hot, class_axis=2, axis=1, where=labels >= 0, reduction="none")

    by_index, by_probability = jax.jit(both)(logits)
    np.testing.assert_allclose(by_index, by_probability, rtol=1e-6)
    assert by_index.shape == ((2, 4) if loss is jaxloss.generalized_dice_loss else (2, 3, 4))


def test_weights_of_classes_normalise_the_mean():
    logits, labels = jax.random.normal(jax.random.key(0), (8, 3)), jnp.arange(8) % 3
    each = jaxloss.jaccard_loss(logits, labels, class_axis=-1, reduction="none")
    weighted = jaxloss.jaccard_loss(logits, labels, class_axis=-1, weight=jnp.array([1.0, 0.0, 3.0]))
    np.testing.assert_allclose(weighted, (each[0] + 3 * each[2]) / 4, rtol=1e-6)


def test_at_hard_predictions_lovasz_is_jaccard():
    masks = jax.random.bernoulli(jax.random.key(0), 0.4, (2, 6, 30)).astype(jnp.float32)
    jaccard = jaxloss.jaccard_loss(*masks, from_logits=False, axis=-1, smooth=0.0, reduction="none")
    pred, target = masks
    hinge = jaxloss.lovasz_hinge_loss(2 * pred - 1, target, axis=-1, reduction="none")
    np.testing.assert_allclose(hinge, 2 * jaccard, rtol=1e-6)  # A wrong margin of 1 is an error of 2.
    softmax = jaxloss.lovasz_softmax_loss(
        1e4 * jnp.stack([1 - pred, pred], -1), target.astype(int), axis=1, reduction="none"
    )
    np.testing.assert_allclose(softmax[:, 1], jaccard, rtol=1e-6)


@pytest.mark.parametrize(
    ("axes", "spacing"), [((1, 2), 1.0), ((2, 1), (0.5, 2.0)), ((0, 1, 2), (1.0, 3.0, 0.7)), (1, 2)]
)
def test_signed_distances_are_exact(axes, spacing):
    mask = np.random.default_rng(0).random((5, 9, 14)) < 0.3
    ours = jaxloss.signed_distance(mask, spatial_axes=axes, spacing=spacing)
    among, sampling = np.atleast_1d(axes), np.broadcast_to(spacing, np.size(axes))
    others = [axis for axis in range(3) if axis not in among]
    order = (*others, *among)
    images = mask.transpose(order).reshape(-1, *(mask.shape[axis] for axis in among))
    expected = [
        np.subtract(*(np.asarray(distance_transform_edt(each, sampling)) for each in (~image, image)))
        if 0 < image.sum() < image.size
        else np.zeros(image.shape)
        for image in images
    ]
    np.testing.assert_allclose(np.transpose(ours, order).reshape(images.shape), expected, rtol=1e-6)


def test_skeletons_in_two_and_three_dimensions_end_where_elements_are_hidden():
    rng = np.random.default_rng(0)
    pred, target, where = rng.normal(size=(2, 5, 6, 7)), rng.random((2, 5, 6, 7)), rng.random((2, 5, 6, 7)) < 0.9
    options = {"iterations": 1, "smooth": 0.5}
    for axes in ((2, 3), (1, 2, 3)):
        given = options | {"spatial_axes": axes, "axis": (1, 2, 3)}
        expected, _ = cldice_oracle(pred, target, where, **given)
        ours = jaxloss.soft_cldice_loss(pred, target, where=where, reduction="none", **given)
        np.testing.assert_allclose(ours, expected, rtol=1e-5)
    cut = jaxloss.soft_cldice_loss(pred[..., :4], target[..., :4], **options)
    hidden = jaxloss.soft_cldice_loss(pred, target, where=np.arange(7) < 4, **options)
    np.testing.assert_allclose(hidden, cut, rtol=1e-6)


def test_skeletons_of_a_set_that_spans_devices_are_those_of_one_device():
    """Of images that lie whole on theirs, one of which has nothing left."""
    rng = np.random.default_rng(0)
    pred, target = 2 * rng.normal(size=(8, 5, 4)), (rng.random(size=(8, 5, 4)) < 0.5).astype(float)
    where = (rng.random(size=(8, 5, 4)) < 0.8) & (np.arange(8) != 3)[:, None, None]
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def loss(pred, target, where, **options):
        return jaxloss.soft_cldice_loss(pred, target, where=where, **options)

    spanning = jax.shard_map(
        functools.partial(loss, axis_name="data"), mesh=mesh, in_specs=(P("data"),) * 3, out_specs=P()
    )
    with jax.enable_x64(True):
        arrays = [jnp.asarray(array) for array in (pred, target, where)]
        (value, slope), (exact, expected) = (
            jax.jit(jax.value_and_grad(function))(*arrays) for function in (spanning, loss)
        )
    assert_close(value, exact, 1e-12)
    assert_close(slope, expected, 1e-12)
