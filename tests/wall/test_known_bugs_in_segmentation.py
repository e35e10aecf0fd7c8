"""The wall of segmentation: public reports, each reproduced in the formula of the library that is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxloss

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(2, 6, 6, 3)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 3, size=(2, 6, 6)))


def dice_by_products(p, y):
    return 1 - 2 * jnp.sum(p * y) / (jnp.sum(p) + jnp.sum(y))


def test_a_soft_target_is_its_own_best_prediction():
    """The target itself cost 0.79, and a harder prediction less.

    https://github.com/Project-MONAI/MONAI/issues/8094, https://github.com/qubvel-org/segmentation_models.pytorch/issues/927
    """
    soft = jnp.array([0.1, 0.3, 0.2, 0.15])
    assert dice_by_products(soft, soft) > 0.7
    assert dice_by_products(jnp.where(soft == 0.3, 1.0, 0.0), soft) < dice_by_products(soft, soft)
    for loss in (jaxloss.dice_loss, jaxloss.jaccard_loss, jaxloss.tversky_loss):
        assert loss(soft, soft, from_logits=False, soft="difference") == 0
        assert loss(soft + 0.01, soft, from_logits=False, soft="difference") > 0
        assert loss(soft - 0.01, soft, from_logits=False, soft="difference") > 0


def generalized_dice_with_infinities(p, y):
    weights = 1 / jnp.sum(y, 0) ** 2
    return 1 - 2 * jnp.sum(weights * jnp.sum(p * y, 0)) / jnp.sum(weights * jnp.sum(p + y, 0))


def test_an_absent_class_has_no_infinite_weight():
    """1 / 0^2 made the loss NaN.

    https://github.com/Project-MONAI/MONAI/issues/4656, https://github.com/Project-MONAI/MONAI/issues/371
    """
    logits, labels = LOGITS.reshape(-1, 3), LABELS.reshape(-1) % 2
    assert np.isnan(generalized_dice_with_infinities(jax.nn.softmax(logits), jax.nn.one_hot(labels, 3)))
    for weighting in ("square", "simple", "uniform"):
        value, gradient = jax.value_and_grad(jaxloss.generalized_dice_loss)(logits, labels, weighting=weighting)
        assert 0 < value < 1
        assert np.isfinite(gradient).all()


def test_the_weights_of_generalized_dice_do_not_cancel():
    """One sum of both, weighed class by class, and divided class by class, is Dice again.

    https://github.com/Project-MONAI/MONAI/issues/369
    """
    p, y = jax.nn.softmax(LOGITS).reshape(-1, 3), jax.nn.one_hot(LABELS.at[0].set(0), 3).reshape(-1, 3)
    weights = 1 / jnp.sum(y, 0) ** 2
    cancelled = jnp.mean(1 - 2 * weights * jnp.sum(p * y, 0) / (weights * jnp.sum(p + y, 0)))
    np.testing.assert_allclose(
        cancelled, jaxloss.dice_loss(p, y, from_logits=False, class_axis=-1, smooth=0.0), rtol=1e-5
    )
    ours = jaxloss.generalized_dice_loss(p, y, from_logits=False, smooth=0.0)
    np.testing.assert_allclose(ours, generalized_dice_with_infinities(p, y), rtol=1e-5)
    assert abs(ours - cancelled) > 1e-3


def jaccard_of_smoothed_dice(p, y, smooth):
    overlap = 2 * jnp.sum(p * y)
    return 1 - (overlap + smooth) / (jnp.sum(p + y) - overlap + smooth)


def test_jaccard_is_not_negative():
    """The doubled overlap was taken from the sum of both: less than nothing.

    https://github.com/Project-MONAI/MONAI/issues/644
    """
    mask = jnp.array([1.0, 1.0, 1.0, 0.0])
    almost = jnp.array([1.0, 1.0, 0.5, 0.0])
    assert jaccard_of_smoothed_dice(almost, mask, 1e-5) < 0
    np.testing.assert_allclose(jaxloss.jaccard_loss(almost, mask, from_logits=False), 1 / 6, rtol=1e-4)


def test_a_softmax_of_one_channel_is_refused():
    """It is 1 everywhere: nothing was learned, at a loss that looked like one.

    https://github.com/Project-MONAI/MONAI/issues/2509
    """
    assert (jax.nn.softmax(LOGITS[..., :1]) == 1).all()
    for loss in (jaxloss.dice_loss, jaxloss.generalized_dice_loss, jaxloss.lovasz_softmax_loss):
        with pytest.raises(AssertionError, match="`pred` must have at least two classes"):
            loss(LOGITS[..., :1], 0 * LABELS, class_axis=-1)


def test_alpha_weighs_false_positives_and_beta_false_negatives():
    """They were the other way round.

    https://github.com/keras-team/keras/issues/23333, https://github.com/FluxML/Flux.jl/issues/1993
    """
    extra, missing = jnp.array([1.0, 1.0]), jnp.array([0.0, 1.0])

    def cost(pred, target, **options):
        return jaxloss.tversky_loss(pred, target, from_logits=False, smooth=0.0, **options)

    np.testing.assert_allclose(cost(extra, missing, alpha=3.0, beta=0.0), 0.75)
    assert cost(extra, missing, alpha=0.0, beta=3.0) == 0
    np.testing.assert_allclose(cost(missing, extra, alpha=0.0, beta=3.0), 0.75)
    assert cost(missing, extra, alpha=3.0, beta=0.0) == 0


def dice_with_ignored_predictions(p, y, keep):
    """The mask was on the product alone."""
    return 1 - 2 * jnp.sum(p * y * keep) / (jnp.sum(p) + jnp.sum(y * keep))


def test_ignored_pixels_are_in_no_sum():
    """They stayed in the denominator, or `ignore_index` had no effect at all.

    https://github.com/qubvel-org/segmentation_models.pytorch/issues/852,
    https://github.com/qubvel-org/segmentation_models.pytorch/issues/366
    """
    y, keep = jnp.array([1.0, 0.0, 0.0]), jnp.array([1.0, 1.0, 0.0])
    assert dice_with_ignored_predictions(jnp.array([1.0, 0.0, 1.0]), y, keep) > 0.3
    void = LABELS.at[:, :2].set(255)
    for loss in (jaxloss.dice_loss, jaxloss.generalized_dice_loss, jaxloss.lovasz_softmax_loss):
        value, gradient = jax.value_and_grad(loss)(LOGITS, void, class_axis=-1, ignore_index=255)
        without = loss(LOGITS[:, 2:], LABELS[:, 2:], class_axis=-1)
        np.testing.assert_allclose(value, without, rtol=1e-5)
        assert not np.asarray(gradient[:, :2]).any()


def test_logits_are_not_taken_for_probabilities():
    """Dice of raw logits was 1e10, or far below 0; and clDice took them as they were.

    https://github.com/ScrollPrize/villa/issues/1488, https://github.com/Project-MONAI/MONAI/issues/8239
    """
    logits, mask = 20 * LOGITS[..., 0] - 5, (LABELS > 0).astype(jnp.float32)
    assert not 0 <= dice_by_products(logits, mask) <= 1
    for loss in (jaxloss.dice_loss, jaxloss.soft_cldice_loss):
        assert 0 <= loss(logits, mask) <= 1
        error, value = checkify.checkify(jax.jit(lambda x, loss=loss: loss(x, mask, from_logits=False)))(logits)
        with pytest.raises(checkify.JaxRuntimeError, match="`pred` must hold values in .*from_logits=True"):
            error.throw()
        assert np.isnan(value)


def test_two_channels_of_one_foreground_are_two_classes():
    """A binary head of two channels was read as one channel by the Lovasz loss.

    https://github.com/open-mmlab/mmsegmentation/issues/2034
    """
    two, labels = LOGITS[..., :2], LABELS % 2
    single = two[..., 1] - two[..., 0]
    mask = labels.astype(jnp.float32)
    np.testing.assert_allclose(
        jaxloss.dice_loss(two, labels, class_axis=-1, weight=jnp.array([0.0, 1.0])),
        jaxloss.dice_loss(single, mask),
        rtol=1e-5,
    )
    with pytest.raises(AssertionError, match="lovasz_hinge_loss: `target` must be floating, of shape"):
        jaxloss.lovasz_hinge_loss(two, mask)
    assert np.isfinite(jaxloss.lovasz_softmax_loss(two, labels))


def test_a_set_spans_an_image_and_not_the_classes():
    """All classes were flattened into one set; elsewhere smoothing and sums ran along the last axis.

    https://github.com/ProjectNeura/MIPCandy/issues/123, https://github.com/keras-team/keras/issues/23451
    """
    p, y = jax.nn.softmax(LOGITS), jax.nn.one_hot(LABELS.at[0].set(0), 3)
    each = [[dice_by_products(p[i, ..., c], y[i, ..., c]) for c in range(3)] for i in range(2)]
    ours = jaxloss.dice_loss(p, y, from_logits=False, class_axis=-1, axis=(1, 2), smooth=0.0, reduction="none")
    np.testing.assert_allclose(ours, each, rtol=1e-5)
    assert abs(dice_by_products(p, y) - ours.mean()) > 1e-2
