"""Against torchvision's losses, whose definitions are written here in PyTorch: torchvision is no dependency."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch  # pyright: ignore[reportMissingImports] an extra of its own

import jaxloss
from tests.support import assert_close

REDUCE = {"none": lambda values: values, "mean": lambda values: values.mean(), "sum": lambda values: values.sum()}


def sides(boxes):
    return boxes[:, 2:] - boxes[:, :2]


def overlap(pred, target):
    """Areas of what two boxes share and of what they cover; boxes that only touch share nothing."""
    shared = torch.minimum(pred[:, 2:], target[:, 2:]) - torch.maximum(pred[:, :2], target[:, :2])
    intersection = torch.where((shared > 0).all(1), shared.prod(1), 0.0)
    return intersection, sides(pred).prod(1) + sides(target).prod(1) - intersection


def hull(pred, target):
    return torch.maximum(pred[:, 2:], target[:, 2:]) - torch.minimum(pred[:, :2], target[:, :2])


def iou(pred, target, eps):
    intersection, union = overlap(pred, target)
    return intersection / (union + eps)


def box_iou_loss(pred, target, eps):
    return 1 - iou(pred, target, eps)


def generalized_box_iou_loss(pred, target, eps):
    area, (_, union) = hull(pred, target).prod(1), overlap(pred, target)
    return 1 - iou(pred, target, eps) + (area - union) / (area + eps)


def distance_box_iou_loss(pred, target, eps):
    apart = (pred[:, :2] + pred[:, 2:]) / 2 - (target[:, :2] + target[:, 2:]) / 2
    return 1 - iou(pred, target, eps) + (apart**2).sum(1) / ((hull(pred, target) ** 2).sum(1) + eps)


def complete_box_iou_loss(pred, target, eps):
    angles = [torch.atan(sides(boxes)[:, 0] / sides(boxes)[:, 1]) for boxes in (target, pred)]
    aspect = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    weight = (aspect / (1 - iou(pred, target, eps) + aspect + eps)).detach()
    return distance_box_iou_loss(pred, target, eps) + weight * aspect


def sigmoid_focal_loss(pred, target, alpha, gamma):
    p = pred.sigmoid()
    p_t = p * target + (1 - p) * (1 - target)
    loss = (1 - p_t) ** gamma * torch.nn.functional.binary_cross_entropy_with_logits(pred, target, reduction="none")
    return loss if alpha < 0 else (alpha * target + (1 - alpha) * (1 - target)) * loss


BOX_LOSSES = [box_iou_loss, generalized_box_iou_loss, distance_box_iou_loss, complete_box_iou_loss]
UNIT = [[0.0, 0, 2, 2]]
BOXES = {
    "ordinary": tuple(np.random.default_rng(0).random((2, 20, 4)) + np.array([0, 0, 1, 1])),
    "apart": (np.array([[5.0, 6, 7, 9]]), np.array(UNIT)),
    "nested": (np.array([[0.5, 0.5, 1, 1.5]]), np.array(UNIT)),
    "touching": (np.array([[2.0, 0.5, 3, 1]]), np.array(UNIT)),
    "the same": (np.array(UNIT), np.array(UNIT)),
    "flat": (np.array([[0.0, 1, 2, 1]]), np.array(UNIT)),
    "thin": (np.array([[1.0, 0, 1, 1]]), np.array(UNIT)),
    "point": (np.array([[1.0, 1, 1, 1]]), np.array(UNIT)),
    "two points": (np.array([[1.0, 1, 1, 1]]), np.array([[1.0, 1, 1, 1]])),
}


@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES.keys())
@pytest.mark.parametrize("loss", BOX_LOSSES)
def test_losses_of_boxes_agree_and_are_finite_where_torchvisions_are_not(loss, boxes):
    for eps in (1e-7, 0.1):
        check(loss, boxes, {"eps": eps})


@pytest.mark.parametrize(
    "target", [np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.1, 0.5, 0.0])], ids=["0, 1", "soft"]
)
@pytest.mark.parametrize("alpha", [0.25, 0.0, 1.0, -1])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_sigmoid_focal_loss_agrees_and_none_is_torchvisions_negative_alpha(target, alpha, gamma):
    pred = np.array([0.5, -2.0, -3.0, 8.0])
    check(sigmoid_focal_loss, (pred, target), {"alpha": alpha, "gamma": gamma}, differentiable=1)
    with jax.enable_x64(True):
        # torchvision differentiates the target too.
        assert not jax.grad(jaxloss.sigmoid_focal_loss, 1)(jnp.asarray(pred), jnp.asarray(target)).any()


def test_the_iou_is_that_of_matching_boxes_and_0_for_two_points():
    """`torchvision.ops.box_iou` has no epsilon."""
    for name, boxes in BOXES.items():
        expected = iou(*map(torch.tensor, boxes), eps=0.0).nan_to_num(nan=0.0).numpy()
        assert np.isfinite(expected).all(), name
        with jax.enable_x64(True):
            assert_close(jaxloss.box_iou_loss(*map(jnp.asarray, boxes), eps=0.0, reduction="none"), 1 - expected, 1e-12)


def test_the_mean_over_no_boxes_is_0_in_both():
    for loss in BOX_LOSSES:
        assert getattr(jaxloss, loss.__name__)(jnp.zeros((0, 4)), jnp.zeros((0, 4))) == 0


def check(loss, arrays, options, differentiable=2):
    """Values and gradients, where torchvision's are finite; elsewhere ours are."""
    tensors = [torch.tensor(array, requires_grad=place < differentiable) for place, array in enumerate(arrays)]
    ours = {name: None if name == "alpha" and value < 0 else value for name, value in options.items()}
    with jax.enable_x64(True):
        for reduction, reduce in REDUCE.items():

            def call(*arrays, reduction=reduction):
                return getattr(jaxloss, loss.__name__)(*arrays, **ours, reduction=reduction)

            value, pull = jax.vjp(call, *map(jnp.asarray, arrays))
            theirs = reduce(loss(*tensors, **options))
            gradients = torch.autograd.grad(theirs.sum(), tensors[:differentiable])
            found = [value, *pull(jnp.ones_like(value))[:differentiable]]
            for mine, tensor in zip(found, [theirs, *gradients], strict=True):
                yours = tensor.detach().numpy()
                defined = np.isfinite(yours)
                # The angle of a box without height is 0 / 0 there.
                assert defined.all() or loss is complete_box_iou_loss
                assert np.isfinite(mine).all()
                assert mine.shape == yours.shape
                assert_close(np.where(defined, mine, 0), np.where(defined, yours, 0), 1e-8)
