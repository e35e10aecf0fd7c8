"""Records of `jaxloss.detection`."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.catalogue.common import FLOATS, option
from tests.catalogue.domains import scaled
from tests.catalogue.record import About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


def draw_boxes(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    low, size = rng.random(size=(2, *batch, 2)), 0.2 + rng.random(size=(2, *batch, 2))
    return tuple(np.concatenate([low, low + size], -1))


def box_areas(pred, target):
    def area(low, high):
        return np.prod(np.maximum(high - low, 0), -1)

    p1, p2, t1, t2 = pred[..., :2], pred[..., 2:], target[..., :2], target[..., 2:]
    intersection = area(np.maximum(p1, t1), np.minimum(p2, t2))
    return intersection, area(p1, p2) + area(t1, t2) - intersection, np.minimum(p1, t1), np.maximum(p2, t2)


def iou_oracle(pred, target, eps=1e-7):
    intersection, union, _, _ = box_areas(pred, target)
    return 1 - intersection / (union + eps)


def giou_oracle(pred, target, eps=1e-7):
    _, union, low, high = box_areas(pred, target)
    hull = np.prod(high - low, -1)
    return iou_oracle(pred, target, eps) + (hull - union) / (hull + eps)


def diou_oracle(pred, target, eps=1e-7):
    _, _, low, high = box_areas(pred, target)
    centre = (pred[..., :2] + pred[..., 2:]) / 2 - (target[..., :2] + target[..., 2:]) / 2
    return iou_oracle(pred, target, eps) + (centre**2).sum(-1) / (((high - low) ** 2).sum(-1) + eps)


def aspect_oracle(pred, target):
    def angle(boxes):
        width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
        return np.where(
            height == 0, np.where(width == 0, 0, math.pi / 2), np.arctan(width / np.where(height == 0, 1, height))
        )

    return 4 / math.pi**2 * (angle(target) - angle(pred)) ** 2


def ciou_oracle(pred, target, eps=1e-7, constant_at=None):
    """`constant_at`: the boxes at which the weight of the aspect term stands, while `pred` and `target` move."""
    at_pred, at_target = (pred, target) if constant_at is None else constant_at
    v = aspect_oracle(at_pred, at_target)
    weight = v / (iou_oracle(at_pred, at_target, eps) + v + eps)
    return diou_oracle(pred, target, eps) + weight * aspect_oracle(pred, target)


def eiou_oracle(pred, target, eps=1e-7):
    _, _, low, high = box_areas(pred, target)
    sides = (pred[..., 2:] - pred[..., :2]) - (target[..., 2:] - target[..., :2])
    of_hull = (high - low) ** 2 + eps
    return diou_oracle(pred, target, eps) + (sides**2 / np.where(of_hull == 0, 1, of_hull)).sum(-1)


def draw_any_boxes(options: dict[str, Any]) -> Any:
    """Two boxes, of which the corners are sorted; beyond these sizes areas overflow and underflow."""
    corners = scaled((2, 2, 2), (-40, 50))
    return corners.map(lambda corners: tuple(np.sort(corners, axis=1).reshape(2, 4)))


def areas(xp: Any, pred: Any, target: Any) -> tuple[Any, Any, Any, Any]:
    """Intersection over union, the union, and the width and height of the hull."""
    low, high = xp.maximum(pred[:, :2], target[:, :2]), xp.minimum(pred[:, 2:], target[:, 2:])
    hull = xp.maximum(pred[:, 2:], target[:, 2:]) - xp.minimum(pred[:, :2], target[:, :2])
    extent, extent1, extent2 = xp.clip(high - low, 0), pred[:, 2:] - pred[:, :2], target[:, 2:] - target[:, :2]
    intersection = extent[:, 0] * extent[:, 1]
    union = extent1[:, 0] * extent1[:, 1] + extent2[:, 0] * extent2[:, 1] - intersection
    return intersection / (union + 1e-7), union, hull[:, 0], hull[:, 1]


def plain_iou(xp: Any, pred: Any, target: Any) -> Any:
    return (1 - areas(xp, pred, target)[0]).mean()


def plain_giou(xp: Any, pred: Any, target: Any) -> Any:
    overlap, union, width, height = areas(xp, pred, target)
    return (1 - overlap + (width * height - union) / (width * height + 1e-7)).mean()


def plain_diou(xp: Any, pred: Any, target: Any) -> Any:
    overlap, _, width, height = areas(xp, pred, target)
    offset = (pred[:, :2] + pred[:, 2:] - target[:, :2] - target[:, 2:]) / 2
    return (1 - overlap + (offset**2).sum(-1) / (width**2 + height**2 + 1e-7)).mean()


def plain_ciou(xp: Any, pred: Any, target: Any) -> Any:
    def angle(box: Any) -> Any:
        return xp.arctan((box[:, 2] - box[:, 0]) / (box[:, 3] - box[:, 1]))

    overlap = areas(xp, pred, target)[0]
    aspect = 4 / math.pi**2 * (angle(target) - angle(pred)) ** 2
    alpha = aspect / (1 - overlap + aspect + 1e-7)
    alpha = jax.lax.stop_gradient(alpha) if xp is jnp else alpha.detach()
    return plain_diou(xp, pred, target) + (alpha * aspect).mean()


def plain_eiou(xp: Any, pred: Any, target: Any) -> Any:
    _, _, width, height = areas(xp, pred, target)
    sides = (pred[:, 2:] - pred[:, :2]) - (target[:, 2:] - target[:, :2])
    parts = sides[:, 0] ** 2 / (width**2 + 1e-7) + sides[:, 1] ** 2 / (height**2 + 1e-7)
    return plain_diou(xp, pred, target) + parts.mean()


BOXES = np.tile(np.array([0, 0, 1, 1], np.float32), (3, 1))
BOX_REPORTS = (
    Bad((BOXES[:, [2, 1, 0, 3]], BOXES), {}, "`pred` must hold boxes", plausible=True),
    Bad((BOXES, BOXES[:, [0, 3, 2, 1]]), {}, "`target` must hold boxes", plausible=True),
)
BOX_EXTREMES = (
    Extreme((np.zeros((1, 4)), np.zeros((1, 4))), {}, [1.0]),
    Extreme((np.zeros((1, 4)), np.zeros((1, 4))), {"eps": 0.0}, [1.0]),
)
BOX_VARIANTS = ({}, {"eps": 1e-2})

RECORDS = (
    *(
        Record(
            loss,
            draw_boxes,
            per_example(oracle),
            about=About(
                "Boxes", "boxes (..., 4): x1, y1, x2, y2", "boxes of the same shape", torchvision=in_torchvision
            ),
            like="" if loss in (jaxloss.box_iou_loss, jaxloss.complete_box_iou_loss) else "box_iou_loss",
            inner=(1, 1),
            variants=BOX_VARIANTS,
            traced=("eps",),
            constant_factor=loss is jaxloss.complete_box_iou_loss,
            two_ways=True,
            differentiable=(0, 1),
            refuses=(
                option("eps", -1.0, (BOXES, BOXES)),
                Bad((FLOATS[:, :3], FLOATS[:, :3]), {}, "`pred` must have x1, y1, x2, y2 on its last axis"),
                Bad((np.float32(1), np.float32(1)), {}, "`pred` must have x1, y1, x2, y2 on its last axis"),
            ),
            reports=BOX_REPORTS,
            stress=Stress(draw_any_boxes, (4, 6), BOX_VARIANTS, unit="norm"),
            extremes=(*BOX_EXTREMES, *extremes),
            benchmark=Benchmark(plain, sizes=((200_000,),)),
        )
        for loss, oracle, plain, in_torchvision, extremes in (
            (
                jaxloss.box_iou_loss,
                iou_oracle,
                plain_iou,
                "",
                (Extreme(([[0.0, 0, 1, 1]], [[5.0, 5, 6, 6]]), {}, [1.0]),),
            ),
            (
                jaxloss.generalized_box_iou_loss,
                giou_oracle,
                plain_giou,
                "generalized_box_iou_loss",
                (Extreme(([[0.0, 0, 1, 1]], [[5.0, 5, 6, 6]]), {"eps": 0.0}, [1 + 34 / 36]),),
            ),
            (
                jaxloss.distance_box_iou_loss,
                diou_oracle,
                plain_diou,
                "distance_box_iou_loss",
                (Extreme(([[0.0, 0, 1, 1]], [[5.0, 5, 6, 6]]), {"eps": 0.0}, [1 + 50 / 72]),),
            ),
            (
                jaxloss.complete_box_iou_loss,
                ciou_oracle,
                plain_ciou,
                "complete_box_iou_loss",
                (
                    Extreme(([[0.0, 0, 2, 0]], [[0.0, 0, 2, 2]]), {"eps": 0.0}, [1 + 1 / 8 + 0.25**2 / 1.25]),
                    Extreme(([[0.0, 0, 0, 2]], [[0.0, 0, 2, 2]]), {"eps": 0.0}, [1 + 1 / 8 + 0.25**2 / 1.25]),
                ),
            ),
            (
                jaxloss.efficient_box_iou_loss,
                eiou_oracle,
                plain_eiou,
                "",
                (
                    Extreme(([[0.0, 0, 1, 1]], [[5.0, 5, 6, 6]]), {"eps": 0.0}, [1 + 50 / 72]),
                    # Without a width or a height in either, that side says nothing.
                    Extreme(([[0.0, 0, 2, 0]], [[0.0, 0, 2, 2]]), {"eps": 0.0}, [1 + 1 / 8 + 1]),
                    Extreme(([[0.0, 0, 0, 2]], [[0.0, 0, 0, 2]]), {"eps": 0.0}, [1.0]),
                ),
            ),
        )
    ),
)
