import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

LOSSES = [
    jaxloss.box_iou_loss,
    jaxloss.generalized_box_iou_loss,
    jaxloss.distance_box_iou_loss,
    jaxloss.complete_box_iou_loss,
    jaxloss.efficient_box_iou_loss,
]
PRED, TARGET = jnp.array([[100.0, 100.0, 200.0, 200.0]]), jnp.array([[105.0, 105.0, 205.0, 205.0]])


def test_the_box_example_of_the_documents():
    iou = 95**2 / (2 * 100**2 - 95**2)
    np.testing.assert_allclose(jaxloss.box_iou_loss(PRED, TARGET), 1 - iou, rtol=1e-5)
    np.testing.assert_allclose(
        jaxloss.generalized_box_iou_loss(PRED, TARGET), 1 - iou + (105**2 - 2 * 100**2 + 95**2) / 105**2, rtol=1e-5
    )
    np.testing.assert_allclose(jaxloss.distance_box_iou_loss(PRED, TARGET), 1 - iou + 50 / (2 * 105**2), rtol=1e-5)
    np.testing.assert_allclose(jaxloss.complete_box_iou_loss(PRED, TARGET), 1 - iou + 50 / (2 * 105**2), rtol=1e-5)


def test_iou_says_nothing_to_boxes_apart_and_the_others_pull_them_together():
    far = TARGET + 1000
    for loss in LOSSES:
        gradient = jax.grad(loss)(PRED, far)
        if loss is jaxloss.box_iou_loss:
            assert (gradient == 0).all()
        else:
            assert (gradient[:, 2:] < 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_boxes_that_coincide_have_no_loss_and_a_finite_gradient(loss):
    value, gradient = jax.value_and_grad(loss)(PRED, PRED)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    assert np.isfinite(gradient).all()


# A point, two boxes without an area, and a point that lies apart from the other box.
EMPTY = jnp.array([[1.0, 1, 1, 1], [1.0, 1, 3, 1], [1.0, 1, 1, 3], [5.0, 5, 5, 5]])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("eps", [0.0, 1e-7])
def test_empty_boxes_have_a_finite_loss_and_gradient(loss, eps):
    @jax.jit
    def step(pred, target):
        losses = lambda pred, target: loss(pred, target, eps=eps, reduction="none")  # noqa: E731
        value, pull = jax.vjp(losses, pred, target)
        return value, *pull(jnp.ones_like(value))

    other = jnp.broadcast_to(jnp.array([0.0, 0, 2, 2]), EMPTY.shape)
    for pred, target in ((EMPTY, other), (other, EMPTY), (EMPTY, EMPTY)):
        assert all(np.isfinite(each).all() for each in step(pred, target))


def test_a_predicted_box_inside_out_is_judged_as_torchvision_does():
    """An untrained regressor may put x2 before x1; unchecked, the loss stays finite and pushes it back."""
    inverted = jnp.array([3.0, 0.0, 1.0, 2.0])
    value, gradient = jax.value_and_grad(jaxloss.complete_box_iou_loss)(inverted, jnp.array([0.0, 0.0, 2.0, 2.0]))
    angle = np.arctan(1.0) - np.arctan(-1.0)
    v = 4 / np.pi**2 * angle**2
    iou = 0.0
    # The hull spans x from min(3, 0) to max(1, 2), y from 0 to 2; the centres are (2, 1) and (1, 1).
    distance = 1.0 / (2.0**2 + 2.0**2)
    np.testing.assert_allclose(value, 1 - iou + distance + v**2 / (1 - iou + v), rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_the_weight_of_the_aspect_term_is_constant_in_the_gradient():
    pred, target = jnp.array([0.0, 0.0, 2.0, 1.0]), jnp.array([0.0, 0.0, 1.0, 3.0])
    angle = np.arctan(1 / 3) - np.arctan(2.0)
    v = 4 / np.pi**2 * angle**2
    iou = 1 / (2 + 3 - 1)
    weight = v / (1 - iou + v)
    # d atan(w / h) = (h dw - w dh) / (w^2 + h^2), at w = 2, h = 1.
    slope = weight * 4 / np.pi**2 * 2 * angle * -np.array([-1, 2, 1, -2]) / 5
    rest = jax.grad(jaxloss.complete_box_iou_loss)(pred, target) - jax.grad(jaxloss.distance_box_iou_loss)(pred, target)
    np.testing.assert_allclose(rest, slope, rtol=1e-4, atol=1e-6)


def test_sides_pull_where_the_aspect_ratio_does_not():
    """Boxes of one centre and one shape: CIoU's further terms are 0, EIoU's tell the sizes apart."""
    small, large = jnp.array([1.0, 1.0, 3.0, 3.0]), jnp.array([0.0, 0.0, 4.0, 4.0])
    np.testing.assert_allclose(jaxloss.complete_box_iou_loss(small, large, eps=0.0), 1 - 4 / 16, rtol=1e-6)
    np.testing.assert_allclose(jaxloss.efficient_box_iou_loss(small, large, eps=0.0), 1 - 4 / 16 + 2 / 4, rtol=1e-6)
    # To x2, of the target: d IoU = -2 / 16, and of the sides 2 (-2) / 16; the centre stands at its minimum.
    slope = jax.grad(jaxloss.efficient_box_iou_loss)(small, large, eps=0.0)
    np.testing.assert_allclose(slope, [3 / 8, 3 / 8, -3 / 8, -3 / 8], rtol=1e-5)
