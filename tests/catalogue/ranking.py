"""Records of `jaxloss.ranking`."""

from typing import Any

import numpy as np

import jaxloss
from tests.catalogue.common import FLOATS, option
from tests.catalogue.domains import apart, numbers
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress


def draw_lists(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """Some items are as relevant as others."""
    return 2 * rng.normal(size=batch), rng.integers(0, 4, size=batch).astype(float)


def draw_similarities(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return 0.1 * rng.normal(size=batch), rng.integers(0, 4, size=batch).astype(float)


def per_list(oracle: Any) -> Any:
    """An oracle of the kept items of one list, which gives None for a list that does not count."""

    def of_lists(pred, target, where: Any = True, axis=-1, **options):
        arrays = [np.moveaxis(np.broadcast_to(array, pred.shape), axis, -1) for array in (pred, target, where)]
        shape = arrays[0].shape[:-1]
        values, counts = np.zeros(shape, pred.dtype), np.zeros(shape)
        for index in np.ndindex(shape):
            scores, grades, kept = (array[index] for array in arrays)
            value = oracle(scores[kept], grades[kept], **options) if kept.any() else None
            value = value if all(scores[kept] == scores[kept]) and all(grades[kept] == grades[kept]) else NAN
            if value is not None:
                values[index], counts[index] = value, 1
        return values, counts

    return of_lists


def softmax_of(scores, grades):
    largest = scores.max()
    return (grades * (largest + np.log(np.exp(scores - largest).sum()) - scores)).sum()


def list_mle_of(scores, grades):
    ordered = scores[np.argsort(-grades, kind="stable")]
    total = 0 * scores.sum()
    for place in range(len(ordered) - 1):
        later = ordered[place + 1 :] - ordered[place]
        largest = max(later.max(), 0)
        total += largest + np.log(np.exp(-largest) + np.exp(later - largest).sum())
    return total


def pairwise_of(scores, grades):
    worse = [other - item for item, y in zip(scores, grades, strict=True) for other in scores[grades < y]]
    return sum(max(gap, 0) + np.log1p(np.exp(-abs(gap))) for gap in worse) / len(worse) if worse else None


def cosent_of(scores, grades, scale=20.0):
    gaps = [scale * (other - item) for item, y in zip(scores, grades, strict=True) for other in scores[grades < y]]
    if not gaps:
        return None
    largest = np.maximum(max(gaps), 0)
    return largest + np.log(np.exp(-largest) + np.exp(np.array(gaps) - largest).sum())


def log_sum_exp(xp: Any, x: Any) -> Any:
    largest = x.max(-1)
    return largest + xp.log(xp.exp(x - largest[..., None]).sum(-1))


def plain_softmax(xp: Any, scores: Any, grades: Any) -> Any:
    return (grades * (log_sum_exp(xp, scores)[..., None] - scores)).sum(-1).mean()


def plain_list_mle(xp: Any, scores: Any, grades: Any) -> Any:
    """As rax has it, relative to the largest score of the list."""
    ordered = xp.take_along_axis(scores, xp.argsort(-grades, -1), -1)
    ordered = ordered - ordered.max(-1)[..., None]
    left = xp.flip(xp.cumsum(xp.flip(xp.exp(ordered), (-1,)), -1), (-1,))
    return (xp.log(left) - ordered).sum(-1).mean()


def plain_pairwise(xp: Any, scores: Any, grades: Any) -> Any:
    gaps = scores[..., None, :] - scores[..., :, None]
    more = (grades[..., :, None] > grades[..., None, :]) * 1.0
    losses = xp.where(gaps > 0, gaps, 0.0) + xp.log1p(xp.exp(-abs(gaps)))
    return ((more * losses).sum((-1, -2)) / more.sum((-1, -2))).mean()


def plain_cosent(xp: Any, scores: Any, grades: Any) -> Any:
    """As sentence-transformers has it: all pairs, those that do not count moved by -1e12."""
    gaps = 20.0 * (scores[:, None] - scores[None, :])
    gaps = gaps - 1e12 * (grades[:, None] >= grades[None, :])
    gaps = xp.concatenate([xp.zeros_like(gaps[:1, 0]), gaps.reshape(-1)])
    return log_sum_exp(xp, gaps)


NEGATIVE = Bad((FLOATS, -FLOATS), {}, "`target` must hold values at least 0, got values from -1.*`where`")
NO_NUMBER = Bad((FLOATS, FLOATS * NAN), {}, "`target` must hold ")
OF_LISTS: dict[str, Any] = {
    "sets": True,
    "fits": lambda options, batch: -len(batch) <= options.get("axis", -1) < len(batch),
    "variants": ({}, {"axis": 0}),
}
LISTS = (
    "Ranking",
    "scores (..., items)",
    "grades at least 0 of the same shape",
)
PAIRS = apart(numbers((4,), -80, 80), numbers((4,), 0, 3))

RECORDS = (
    Record(
        jaxloss.ranking_softmax_loss,
        draw_lists,
        per_list(softmax_of),
        about=About(*LISTS, optax="ranking_softmax_loss"),
        two_ways=True,
        differentiable=(0, 1),
        refuses=(option("axis", 2),),
        reports=(NEGATIVE, NO_NUMBER),
        stress=Stress(PAIRS, (6, 6), unit="row"),
        extremes=(
            Extreme(([1e4, -1e4, 0.0], [1.0, 0.0, 0.0]), {}, 0.0),
            Extreme(([1e4, -1e4, 0.0], [0.0, 1.0, 0.5]), {}, 2.5e4),
            Extreme(([0.0, -INF], [1.0, 0.0]), {}, 0.0),
            Extreme(([3.0, -2.0], [0.0, 0.0]), {}, 0.0),
        ),
        benchmark=Benchmark(
            plain_softmax,
            sizes=((4096, 128),),
            optax=lambda losses, *lists: losses.ranking_softmax_loss(*lists),
            # A few numbers a list are stored, of which there are many.
            behind={"float32 gpu": "temporaries", "bfloat16 gpu": "bytes, temporaries"},
        ),
        **OF_LISTS,
    ),
    Record(
        jaxloss.list_mle_loss,
        draw_lists,
        per_list(list_mle_of),
        about=About(*LISTS),
        refuses=(option("axis", 2),),
        reports=(NEGATIVE, NO_NUMBER),
        stress=Stress(PAIRS, (12, 12), unit="row"),
        extremes=(
            Extreme(([0.0, -50.0], [1.0, 0.0]), {}, np.log1p(np.exp(-50.0))),
            Extreme(([0.0, 100.0], [1.0, 0.0]), {}, 100.0),
            Extreme(([1e4, 0.0, -1e4], [0.0, 1.0, 2.0]), {}, 3e4),
            Extreme(([1.0, 1.0], [1.0, 1.0]), {}, np.log(2.0)),
        ),
        # Larger ones take the accelerators' compilers minutes, with their sorts and cumulative sums.
        benchmark=Benchmark(
            plain_list_mle,
            sizes=((4096, 128),),
            large=(2048, 8),
            # Each next item is by the logarithm of a cumulative sum, where the plain form takes the sum itself.
            behind=dict.fromkeys(("float32 gpu", "bfloat16 gpu"), "bytes"),
        ),
        **OF_LISTS,
    ),
    Record(
        jaxloss.pairwise_logistic_loss,
        draw_lists,
        per_list(pairwise_of),
        about=About(*LISTS),
        two_ways=True,
        refuses=(option("axis", 2),),
        reports=(NEGATIVE, NO_NUMBER),
        stress=Stress(PAIRS, (6, 6), unit="row"),
        extremes=(
            Extreme(([1e4, -1e4], [0.0, 1.0]), {}, 2e4),
            Extreme(([1e4, -1e4], [1.0, 0.0]), {}, 0.0),
            Extreme(([0.0, 5.0, 0.0], [2.0, 2.0, 2.0]), {}, 0.0),
        ),
        benchmark=Benchmark(
            plain_pairwise,
            sizes=((256, 128),),
            large=(1024, 128),
            # Pairs are counted apart from their losses, and half precision is cast once.
            behind=dict.fromkeys(("float32 tpu", "bfloat16 tpu"), "bytes"),
        ),
        **OF_LISTS,
    ),
    Record(
        jaxloss.cosent_loss,
        draw_similarities,
        per_list(cosent_of),
        about=About(
            "Ranking, similarities of pairs",
            "similarities (..., examples)",
            "how alike each should be, floats of the same shape",
            shown="scale",
        ),
        traced=("scale",),
        refuses=(option("scale", 0.0), option("scale", -1.0), option("axis", 2)),
        reports=(Bad((FLOATS, FLOATS * NAN), {}, "`target` must hold numbers"),),
        stress=Stress(apart(numbers((4,), -1, 1), numbers((4,))), (12, 12), unit="row"),
        extremes=(
            Extreme(([1.0, -1.0], [0.0, 1.0]), {}, 40.0),
            Extreme(([1e4, -1e4], [0.0, 1.0]), {"scale": 1.0}, 2e4),
            Extreme(([1.0, -1.0], [1.0, 0.0]), {}, np.log1p(np.exp(-40.0))),
            Extreme(([1.0, -1.0], [0.5, 0.5]), {}, 0.0),
        ),
        benchmark=Benchmark(plain_cosent, sizes=((1024,), (8192,), (32768,)), large=(16384,)),
        sets=True,
        fits=OF_LISTS["fits"],
        variants=({}, {"axis": 0, "scale": 1.0}),
    ),
)
