"""Records of `jaxloss.segmentation`."""

from typing import Any

import jax
import numpy as np

import jaxloss
from tests.catalogue.common import BINARY_REPORTS, FLOATS, option, sigmoid
from tests.catalogue.domains import apart, numbers
from tests.catalogue.record import INF, About, Arrays, Bad, Benchmark, Extreme, Record, Stress


def draw_masks(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    pred = 3 * rng.normal(size=batch) if options.get("from_logits", True) else rng.random(size=batch)
    return pred, rng.integers(0, 2, size=batch).astype(float)


def dice_oracle(pred, target, where: Any = True, from_logits=True, axis: Any = None, smooth=1e-5):
    p = np.where(where, sigmoid(pred) if from_logits else pred, 0)
    target = np.where(where, target, 0)
    axis = tuple(axis) if isinstance(axis, list) else axis
    kept = np.broadcast_to(where, target.shape).any(axis)
    overlap = (2 * (p * target).sum(axis) + smooth) / (p.sum(axis) + target.sum(axis) + np.where(kept, smooth, 1))
    return np.where(kept, 1 - overlap, 0), np.asarray(kept, float)


def plain_dice(xp: Any, logits: Any, target: Any) -> Any:
    p = 1 / (1 + xp.exp(-logits))
    overlap, total = (p * target).sum((1, 2)), (p + target).sum((1, 2))
    return (1 - (2 * overlap + 1e-5) / (total + 1e-5)).mean()


def optax_dice(losses: Any, logits: Any, target: Any) -> Any:
    """It takes one class."""
    return jax.vmap(lambda *masks: losses.binary_dice_loss(*masks, smooth=1e-5), in_axes=-1)(logits, target).mean()


RECORDS = (
    Record(
        jaxloss.dice_loss,
        draw_masks,
        dice_oracle,
        about=About(
            "Segmentation",
            "logits, no sigmoid (or `from_logits=False`)",
            "floats in [0, 1] of the same shape",
            optax="binary_dice_loss",
            keras="Dice",
        ),
        sets=True,
        fits=lambda options, batch: len(batch) >= np.size(options.get("axis", [])),
        in_a_shard={"axis": -1},
        variants=(
            {},
            {"axis": -1, "smooth": 1.0},
            {"axis": [0, -1], "from_logits": False, "smooth": 0.0},
        ),
        traced=("smooth",),
        differentiable=(0, 1),
        refuses=(option("smooth", -1.0), option("axis_name", "data"), option("axis", 2), option("axis", (0, 0))),
        reports=(
            *BINARY_REPORTS,
            Bad(
                (FLOATS + 1, FLOATS), {"from_logits": False}, "`pred` must hold values in \\[0, 1\\].*from_logits=True"
            ),
        ),
        stress=Stress(
            lambda options: apart(
                numbers((4,), -80) if options.get("from_logits", True) else numbers((4,), 0, 1), numbers((4,), 0, 1)
            )(options),
            (4, 5),
            ({"axis": -1}, {"axis": -1, "smooth": 1.0}, {"axis": -1, "from_logits": False}),
            unit="row",
        ),
        extremes=(
            Extreme(([1e4, -1e4], [1.0, 0.0]), {}, 0.0),
            Extreme(([1e4, -1e4], [0.0, 1.0]), {}, 1.0 - 1e-5 / (2 + 1e-5)),
            Extreme(([INF, -INF], [1.0, 0.0]), {}, 0.0),
            Extreme(([0.0, 0.0], [0.0, 0.0]), {"from_logits": False, "smooth": 0.0}, 0.0),
        ),
        benchmark=Benchmark(
            plain_dice,
            sizes=((8, 128, 128, 16),),
            optax=optax_dice,
            call=lambda *arrays: jaxloss.dice_loss(*arrays, axis=(1, 2)),
            kernels=3.0,
        ),
    ),
)
