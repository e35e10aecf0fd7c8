"""Records of `jaxloss.contrastive`."""

import importlib
import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.catalogue.benchmarks import LARGE, normal, pairs
from tests.catalogue.common import FLOATS, option
from tests.catalogue.domains import SIGNS, Domain, integers, scaled, together
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


def draw_views(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """Two of each row, more alike than others."""
    x, noise = rng.normal(size=(2, *batch, 4))
    return x, 2 * x + noise


def draw_labelled(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return rng.normal(size=(*batch, 4)), rng.integers(0, 3, size=batch)


def draw_pairs(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return *rng.normal(size=(2, *batch, 4)) / 2, 2.0 * rng.integers(0, 2, size=batch) - 1


def of_kept_rows(oracle: Callable[..., Any]) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """A hidden row is deleted."""

    def masked(*arrays: np.ndarray, where: np.ndarray | bool = True, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        kept = np.broadcast_to(where, len(arrays[0]))
        fixed = options.pop("constant_at", None)
        at = {} if fixed is None else {"constant_at": [array[kept] for array in fixed]}
        found = oracle(*(array[kept] for array in arrays), **options, **at)
        values, counts = found if isinstance(found, tuple) else (found, np.ones(found.shape))
        whole = np.zeros((2, *values.shape[:-1], len(kept)), values.dtype)
        whole[0][..., kept], whole[1][..., kept] = values, counts
        return whole[0], whole[1].astype(float)

    return masked


def similarities(x: np.ndarray, y: np.ndarray, similarity: str = "cosine") -> np.ndarray:
    def rows(x: np.ndarray) -> np.ndarray:
        squares = (x * x).sum(-1, keepdims=True)
        return x / np.sqrt(np.where(squares == 0, 1 + 0 * squares, squares))

    return (rows(x) if similarity == "cosine" else x) @ (rows(y) if similarity == "cosine" else y).T


def log_sum_exp(logits: np.ndarray, where: Any = True) -> np.ndarray:
    """Over the last axis, of nothing but a tiny number."""
    if not logits.size:
        return np.zeros(len(logits), logits.dtype)
    largest = logits.max(-1, keepdims=True)
    sums = np.where(where, np.exp(logits - largest), 0 * logits).sum(-1)
    return largest[..., 0] + np.log(np.where(sums == 0, 1e-300 + 0 * sums, sums))


def info_nce_oracle(pred, target, temperature=0.07, similarity="cosine", chunk_size=None):
    logits = similarities(pred, target, similarity) / temperature
    return log_sum_exp(logits) - logits.diagonal()


def clip_oracle(pred, target, temperature=0.07, similarity="cosine", chunk_size=None):
    logits = similarities(pred, target, similarity) / temperature
    return (log_sum_exp(logits) + log_sum_exp(logits.T)) / 2 - logits.diagonal()


def siglip_oracle(pred, target, temperature=0.1, logit_bias=-10.0, similarity="cosine", chunk_size=None):
    logits = similarities(pred, target, similarity) / temperature + logit_bias
    signed = np.where(np.eye(len(logits), dtype=bool), -logits, logits)
    return (np.maximum(signed, 0 * signed) + np.log1p(np.exp(-abs(signed)))).sum(-1)


def ntxent_oracle(pred, target, temperature=0.1, similarity="cosine", chunk_size=None):
    rows, size = np.concatenate([pred, target]), len(pred)
    logits = similarities(rows, rows, similarity) / temperature
    other = (np.arange(2 * size) + size) % max(2 * size, 1)
    own = logits[np.arange(2 * size), other]
    return (log_sum_exp(logits, ~np.eye(2 * size, dtype=bool)) - own).reshape(2, size)


def like_and_unlike(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    is_like = labels[:, None] == labels
    return is_like & ~np.eye(len(labels), dtype=bool), ~is_like


def supcon_oracle(pred, target, temperature=0.1, similarity="cosine", chunk_size=None):
    logits, (like, _) = similarities(pred, pred, similarity) / temperature, like_and_unlike(target)
    counts = like.sum(-1)
    values = log_sum_exp(logits, ~np.eye(len(logits), dtype=bool))
    values = values - np.where(like, logits, 0 * logits).sum(-1) / np.maximum(counts, 1)
    return np.where(counts, values, 0 * values), (counts > 0) * np.ones(counts.shape)


def log_of_1_and(exponents: np.ndarray, where: np.ndarray) -> np.ndarray:
    with_zero = np.concatenate([exponents, 0 * exponents[:, :1]], -1)
    return log_sum_exp(
        with_zero, np.concatenate([where, np.ones((len(where), len(where[0, :1]) if len(where) else 0), bool)], -1)
    )


def multi_similarity_oracle(pred, target, alpha=2.0, beta=50.0, base=0.5, similarity="cosine", chunk_size=None):
    above, (like, unlike) = similarities(pred, pred, similarity) - base, like_and_unlike(target)
    return log_of_1_and(-alpha * above, like) / alpha + log_of_1_and(beta * above, unlike) / beta


def circle_oracle(pred, target, margin=0.4, gamma=80.0, similarity="cosine", chunk_size=None, constant_at=None):
    fixed, (like, unlike) = pred if constant_at is None else constant_at[0], like_and_unlike(target)
    above, still = similarities(pred, pred, similarity), similarities(fixed, fixed, similarity)
    positives = -gamma * np.maximum(1 + margin - still, 0 * still) * (above - (1 - margin))
    negatives = gamma * np.maximum(still + margin, 0 * still) * (above - margin)
    has_both = like.any(-1) & unlike.any(-1)
    total = log_sum_exp(positives, like) + log_sum_exp(negatives, unlike)
    total = np.where(has_both, total, 0 * total)
    values = np.maximum(total, 0 * total) + np.log1p(np.exp(-abs(total)))
    return np.where(has_both, values, 0 * values), has_both * np.ones(has_both.shape)


def contrastive_oracle(input1, input2, target, margin=1.0):
    distance = np.sqrt(((input1 - input2) ** 2).sum(-1))
    apart = np.maximum(margin - distance, 0 * distance) ** 2
    return np.where(target == 1, distance**2, np.where(target == -1, apart, NAN))


# As people write them.


def units(*rows: Any) -> list[Any]:
    return [each / jnp.linalg.norm(each, axis=-1, keepdims=True) for each in rows]


def plain_info_nce(xp: Any, pred: Any, target: Any) -> Any:
    x, y = units(pred, target)
    return -jnp.diagonal(jax.nn.log_softmax(x @ y.T / 0.07)).mean()


def plain_clip(xp: Any, pred: Any, target: Any) -> Any:
    """open_clip's."""
    x, y = units(pred, target)
    logits = x @ y.T / 0.07
    return -sum(jnp.diagonal(jax.nn.log_softmax(each)).mean() for each in (logits, logits.T)) / 2


def plain_siglip(xp: Any, pred: Any, target: Any) -> Any:
    """open_clip's."""
    x, y = units(pred, target)
    signs = 2 * jnp.eye(len(x), dtype=x.dtype) - 1
    return -jax.nn.log_sigmoid(signs * (x @ y.T * 10 - 10)).sum() / len(x)


def plain_ntxent(xp: Any, pred: Any, target: Any) -> Any:
    (x,) = units(jnp.concatenate([pred, target]))
    logits = jnp.where(jnp.eye(len(x), dtype=bool), -jnp.inf, x @ x.T / 0.1)
    own = jnp.concatenate([jnp.diagonal(logits, len(pred)), jnp.diagonal(logits, -len(pred))])
    return (jax.nn.logsumexp(logits, -1) - own).mean()


def plain_supcon(xp: Any, pred: Any, target: Any) -> Any:
    """SupContrast's, of anchors that have positives."""
    (x,) = units(pred)
    same, others = target[:, None] == target, ~jnp.eye(len(x), dtype=bool)
    logits = x @ x.T / 0.1
    log_p = logits - jax.nn.logsumexp(jnp.where(others, logits, -jnp.inf), -1, keepdims=True)
    counts = jnp.sum(same & others, -1)
    losses = -jnp.sum(jnp.where(same & others, log_p, 0), -1) / jnp.maximum(counts, 1)
    return losses.sum() / jnp.sum(counts > 0)


def plain_multi_similarity(xp: Any, pred: Any, target: Any) -> Any:
    (x,) = units(pred)
    above, same, others = x @ x.T - 0.5, target[:, None] == target, ~jnp.eye(len(x), dtype=bool)
    like = jnp.log1p(jnp.sum(jnp.where(same & others, jnp.exp(-2 * above), 0), -1)) / 2
    return (like + jnp.log1p(jnp.sum(jnp.where(same, 0, jnp.exp(50 * above)), -1)) / 50).mean()


def plain_circle(xp: Any, pred: Any, target: Any) -> Any:
    (x,) = units(pred)
    s, same = x @ x.T, target[:, None] == target
    like, unlike = same & ~jnp.eye(len(x), dtype=bool), ~same
    weights = [jax.lax.stop_gradient(jax.nn.relu(each + 0.4)) for each in (1 - s, s)]
    sums = [
        jax.nn.logsumexp(jnp.where(mask, 80 * weight * off, -jnp.inf), -1)
        for mask, weight, off in zip((like, unlike), weights, (0.6 - s, s - 0.4), strict=True)
    ]
    has_both = like.any(-1) & unlike.any(-1)
    return jnp.where(has_both, jax.nn.softplus(sum(sums)), 0).sum() / has_both.sum()


def plain_contrastive(xp: Any, input1: Any, input2: Any, target: Any) -> Any:
    distance = jnp.linalg.norm(input1 - input2, axis=-1)
    return jnp.where(target == 1, distance**2, jnp.clip(1 - distance, 0) ** 2).mean()


def optax_ntxent(losses: Any, pred: Any, target: Any) -> Any:
    labels = jnp.tile(jnp.arange(len(pred)), 2)
    return losses.ntxent(jnp.concatenate([pred, target]), labels, temperature=0.1)


def metric_learning(name: str, **options: Any) -> Callable[..., Any]:
    """pytorch-metric-learning's, where it is installed."""

    def loss(torch: Any, pred: Any, target: Any) -> Any:
        if len(pred) > 4096:
            raise ValueError("It lists all pairs, which takes more than a minute of so many rows.")
        return getattr(importlib.import_module("pytorch_metric_learning.losses"), name)(**options)(pred, target)

    return loss


def views(rng: np.random.Generator, *size: int) -> Arrays:
    x = normal(rng, *size)
    return x, x + normal(rng, *size)


def labelled(rng: np.random.Generator, rows: int, features: int) -> Arrays:
    return normal(rng, rows, features), rng.integers(0, max(rows // 8, 2), rows, np.int32)


ROWS, OTHERS = np.eye(3, 4, dtype=np.float32), np.eye(3, 4, 1, dtype=np.float32)
LABELS = np.array([0, 0, 1], np.int32)
VIEWS, LABELLED = (ROWS, OTHERS), (ROWS, LABELS)
CHUNKED: dict[str, Any] = {"chunk_size": 5}
SIZES: dict[str, Any] = {"sizes": ((1024, 128), (8192, 128)), "large": (16384, 512)}
# Of so many rows the plain formula's matrices do not fit.
LARGEST: dict[str, Any] = SIZES | {"sizes": (*SIZES["sizes"], (32768, 128))}
HELD = {f"{dtype} {platform}": 0.15 for dtype in ("float32", "bfloat16") for platform in ("tpu", "gpu")}
# A GPU reads and writes each block of products a few times, and the sum of the gradients at each block.
BEHIND = {f"{dtype} gpu": "bytes" for dtype in ("float32", "bfloat16")}
LABELLED_ROWS: dict[str, Any] = {"draw": labelled, "held": HELD, "behind": BEHIND}


def compared(args: tuple[Any, ...], **fields: Any) -> dict[str, Any]:
    """What all have in common that compare rows with rows."""
    return {
        "rows": True,
        "admits_any_value": True,
        "inner": (1, 1) if args is VIEWS else (1, 0),
        "differentiable": (0, 1) if args is VIEWS else (0,),
        "garbage": ((NAN, INF, -INF, 1e30), (NAN, INF, -INF, 1e30) if args is VIEWS else (0, 1, 2, -1)),
        **fields,
    }


def wrong(args: tuple[Any, ...], *positive: str) -> tuple[Bad, ...]:
    """Calls that all refuse."""
    refused = (
        Bad((ROWS, LABELS), {}, "`target` must be floating.*supcon_loss")
        if args is VIEWS
        else Bad((ROWS, ROWS), {}, "`target` must hold integer labels of shape \\(3,\\).*ntxent_loss")
    )
    return (
        refused,
        Bad(tuple(arg[None] for arg in args), {}, "`pred` must have the shape \\(rows, features\\)"),
        option("similarity", "cos", args),
        option("chunk_size", 0, args),
        option("precision", "exact", args),
        option("axis_name", "data", args),
        Bad(args, {"where": np.ones((2, 3), bool)}, "`where` must be boolean and broadcast to \\(3,\\)"),
        *(option(name, 0.0, args) for name in positive),
    )


def of_any_length(*more: Any) -> Domain:
    """Rows in any direction; where they all but agree gradients cancel, and no digit of them is left."""

    def rows(seed: int, *rest: Any) -> Arrays:
        rng = np.random.default_rng(seed)
        lengths = 2.0 ** rng.integers(-40, 60, (3, 1))
        return *(lengths * rng.normal(size=(2 - len(rest), 3, 3))).astype(np.float32), *rest

    return lambda options: st.builds(rows, st.integers(0, 2**20), *more)


NEAR, FAR = [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]
ZEROS, TINY, HUGE = [[0.0, 0.0]] * 2, [[1e-12, 0.0], [0.0, 1e-12]], [[1e12, 0.0], [0.0, 1e12]]
LOG_2 = math.log(2)


def softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


RECORDS = (
    Record(
        jaxloss.info_nce_loss,
        draw_views,
        of_kept_rows(info_nce_oracle),
        about=About(
            "Contrastive, retrieval",
            "rows (rows, features), and their partners",
            "rows of the same shape",
            shown="temperature, negatives, ids",
        ),
        variants=({}, {"temperature": 0.5, "similarity": "dot"}, CHUNKED),
        traced=("temperature",),
        **compared(VIEWS),
        refuses=(
            *wrong(VIEWS, "temperature"),
            Bad(VIEWS, {"negatives": ROWS[:, :2]}, "`negatives` must have the shape \\(m, 4\\)"),
            Bad(VIEWS, {"negatives": np.ones((2, 5, 4))}, "`negatives` must have the shape"),
            Bad(VIEWS, {"negatives": LABELS}, "`negatives` must be floating"),
            Bad(VIEWS, {"negatives": ROWS, "negative_ids": LABELS}, "are compared with `ids`", ValueError),
            Bad(VIEWS, {"ids": LABELS, "negative_ids": LABELS}, "which are missing", ValueError),
            Bad(VIEWS, {"ids": FLOATS[:, 0]}, "`ids` must hold integer ids of shape \\(3,\\)"),
            Bad(VIEWS, {"ids": LABELS[:2]}, "`ids` must hold integer ids of shape \\(3,\\)"),
        ),
        stress=Stress(of_any_length(), (32, 16), ({}, {"temperature": 0.01}), unit="row", examples=4),
        extremes=(
            Extreme((NEAR, FAR), {"temperature": 1e-4}, [1e4, 1e4]),
            Extreme((NEAR, NEAR), {"temperature": 0.1}, [math.log1p(math.exp(-10))] * 2),
            Extreme((ZEROS, NEAR), {}, [LOG_2] * 2),
            Extreme((ZEROS, ZEROS), {}, [LOG_2] * 2),
            Extreme((TINY, HUGE), {"temperature": 0.1}, [math.log1p(math.exp(-10))] * 2),
            Extreme((NEAR[:1], FAR[:1]), {}, [0]),
        ),
        benchmark=Benchmark(plain_info_nce, **SIZES, draw=views, held=HELD, behind=BEHIND),
    ),
    Record(
        jaxloss.clip_loss,
        draw_views,
        of_kept_rows(clip_oracle),
        like="info_nce_loss",
        about=About(
            "Contrastive, images and texts",
            "rows (rows, features) of one kind",
            "rows of the other, of the same shape",
            shown="temperature, ids",
        ),
        variants=({}, {"temperature": 0.5, "similarity": "dot"}, CHUNKED),
        traced=("temperature",),
        **compared(VIEWS),
        refuses=wrong(VIEWS, "temperature"),
        stress=Stress(of_any_length(), (32, 16), unit="row", examples=4),
        extremes=(
            Extreme((NEAR, FAR), {"temperature": 1e-4}, [1e4, 1e4]),
            Extreme((ZEROS, NEAR), {}, [LOG_2] * 2),
            Extreme((TINY, HUGE), {"temperature": 0.1}, [math.log1p(math.exp(-10))] * 2),
            Extreme((NEAR[:1], FAR[:1]), {}, [0]),
        ),
        benchmark=Benchmark(plain_clip, **LARGEST, draw=views, held=HELD, behind=BEHIND),
    ),
    Record(
        jaxloss.siglip_loss,
        draw_views,
        of_kept_rows(siglip_oracle),
        about=About(
            "Contrastive, images and texts",
            "rows (rows, features) of one kind",
            "rows of the other, of the same shape",
            shown="temperature, logit_bias",
        ),
        variants=({}, {"temperature": 0.5, "logit_bias": -1.0, "similarity": "dot"}, CHUNKED),
        traced=("temperature", "logit_bias"),
        **compared(VIEWS),
        refuses=(*wrong(VIEWS, "temperature"), option("logit_bias", NAN, VIEWS)),
        stress=Stress(of_any_length(), (32, 16), unit="row", examples=4),
        extremes=(
            Extreme((NEAR, FAR), {"temperature": 1e-4, "logit_bias": 0.0}, [LOG_2 + 1e4] * 2),
            Extreme((NEAR, NEAR), {"temperature": 1e-4, "logit_bias": 0.0}, [LOG_2] * 2),
            Extreme((ZEROS, NEAR), {}, [10 + 2 * math.log1p(math.exp(-10))] * 2),
            Extreme((TINY, HUGE), {}, [LOG_2 + math.log1p(math.exp(-10))] * 2),
        ),
        benchmark=Benchmark(plain_siglip, **LARGEST, draw=views, held=HELD, behind=BEHIND),
    ),
    Record(
        jaxloss.ntxent_loss,
        draw_views,
        of_kept_rows(ntxent_oracle),
        like="info_nce_loss",
        about=About(
            "Contrastive, two views (SimCLR)",
            "one view of each row (rows, features)",
            "the other view, of the same shape",
            shown="temperature",
            optax="ntxent",
        ),
        variants=({}, {"temperature": 0.5, "similarity": "dot"}, CHUNKED),
        traced=("temperature",),
        **compared(VIEWS),
        refuses=wrong(VIEWS, "temperature"),
        stress=Stress(of_any_length(), (32, 16), unit="row", examples=4),
        extremes=(
            Extreme((NEAR, [[-1.0, 0.0], [0.0, -1.0]]), {"temperature": 1e-4}, [[1e4 + LOG_2] * 2] * 2),
            Extreme((ZEROS, ZEROS), {}, [[math.log(3)] * 2] * 2),
            Extreme((TINY, HUGE), {"temperature": 0.1}, [[math.log1p(2 * math.exp(-10))] * 2] * 2),
            Extreme((NEAR[:1], FAR[:1]), {}, [[0], [0]]),
        ),
        benchmark=Benchmark(plain_ntxent, **SIZES, draw=views, optax=optax_ntxent, held=HELD, behind=BEHIND),
    ),
    Record(
        jaxloss.supcon_loss,
        draw_labelled,
        of_kept_rows(supcon_oracle),
        about=About("Contrastive, with labels", "rows (rows, features)", "integer labels (rows,)", shown="temperature"),
        variants=({}, {"temperature": 0.5, "similarity": "dot"}, CHUNKED),
        traced=("temperature",),
        **compared(LABELLED),
        refuses=wrong(LABELLED, "temperature"),
        # Of several positives that are almost equally similar each is pulled by the difference of its share among them
        # and 1 by their number. Similarities rounded to 6e-8 leave 6e-8 / temperature of it, whatever the formula: an
        # ulp of the input moves such a gradient by hundreds. Here at most two are drawn.
        stress=Stress(
            of_any_length(integers(0, 1, (3,))), (32, 16), ({}, {"temperature": 1.0}), unit="row", examples=4
        ),
        extremes=(
            Extreme((NEAR, [0, 1]), {}, [0, 0]),
            Extreme((NEAR[:1], [0]), {}, [0]),
            Extreme((NEAR, [0, 0]), {"temperature": 1e-4}, [0, 0]),
            Extreme((ZEROS + NEAR, [0, 0, 1, 1]), {}, [math.log(3)] * 4),
        ),
        benchmark=Benchmark(plain_supcon, **SIZES, **LABELLED_ROWS, torch=metric_learning("SupConLoss")),
    ),
    Record(
        jaxloss.multi_similarity_loss,
        draw_labelled,
        of_kept_rows(multi_similarity_oracle),
        about=About(
            "Embeddings, with labels", "rows (rows, features)", "integer labels (rows,)", shown="alpha, beta, base"
        ),
        variants=({}, {"alpha": 1.5, "beta": 5.0, "base": 0.1, "similarity": "dot"}, CHUNKED),
        traced=("alpha", "beta", "base"),
        **compared(LABELLED),
        refuses=(*wrong(LABELLED, "alpha", "beta"), option("base", NAN, LABELLED)),
        stress=Stress(of_any_length(integers(0, 1, (3,))), (32, 16), unit="row", examples=4),
        extremes=(
            Extreme((NEAR, [0, 0]), {"alpha": 1e5}, [0.5, 0.5]),
            Extreme((NEAR, [0, 1]), {"beta": 1e5, "base": -1.0}, [1.0, 1.0]),
            Extreme((ZEROS, [0, 0]), {}, [math.log1p(math.exp(1)) / 2] * 2),
            Extreme((NEAR[:1], [0]), {}, [0]),
        ),
        benchmark=Benchmark(
            plain_multi_similarity, **SIZES, **LABELLED_ROWS, torch=metric_learning("MultiSimilarityLoss")
        ),
    ),
    Record(
        jaxloss.circle_loss,
        draw_labelled,
        of_kept_rows(circle_oracle),
        like="multi_similarity_loss",
        about=About(
            "Embeddings, with labels", "rows (rows, features)", "integer labels (rows,)", shown="margin, gamma"
        ),
        variants=({}, {"margin": 0.25, "gamma": 5.0, "similarity": "dot"}, CHUNKED),
        traced=("margin", "gamma"),
        constant_factor=True,
        **compared(LABELLED),
        refuses=(*wrong(LABELLED, "gamma"), option("margin", -0.1, LABELLED)),
        stress=Stress(of_any_length(integers(0, 1, (3,))), (32, 16), unit="row", examples=4),
        extremes=(
            Extreme((NEAR, [0, 0]), {}, [0, 0]),
            Extreme((NEAR[:1], [0]), {}, [0]),
            Extreme((ZEROS + NEAR[:1], [0, 0, 1]), {"gamma": 256.0}, [256 * (1.4 * 0.6 - 0.4 * 0.4)] * 2 + [0]),
        ),
        benchmark=Benchmark(plain_circle, **SIZES, **LABELLED_ROWS, torch=metric_learning("CircleLoss")),
    ),
    Record(
        jaxloss.contrastive_loss,
        draw_pairs,
        per_example(contrastive_oracle),
        two_ways=True,
        about=About(
            "Embeddings, pairs (Hadsell)", "two inputs (..., features)", "floats -1 or 1 (...)", shown="margin"
        ),
        arrays=("input1", "input2", "target"),
        inner=(1, 1, 0),
        variants=({}, {"margin": 2.5}),
        traced=("margin",),
        differentiable=(0, 1),
        garbage=((NAN, INF, -INF, 1e30), (NAN, INF, -INF, 1e30), (NAN, INF, 0.0, 0.5)),
        refuses=(
            option("margin", 0.0, (FLOATS, FLOATS, FLOATS[:, 0])),
            Bad((FLOATS, FLOATS, FLOATS), {}, "`target` must be floating, of shape \\(3,\\)"),
            Bad((np.float32(1),) * 3, {}, "`input1` must have the features on its last axis"),
        ),
        reports=(
            Bad((FLOATS, FLOATS, 0 * FLOATS[:, 0]), {}, "`target` must hold -1 or 1.*2 \\* target - 1"),
            Bad((FLOATS, FLOATS, 0.5 * FLOATS[:, 0]), {}, "`target` must hold -1 or 1"),
        ),
        stress=Stress(together(scaled((2, 3), (-50, 50)), SIGNS), (6, 6), ({}, {"margin": 10.0}), unit="norm"),
        extremes=(
            Extreme(([[1.0, 2.0]] * 2, [[1.0, 2.0]] * 2, [1.0, -1.0]), {}, [0, 1]),
            Extreme(([[1e15, 0.0]] * 2, [[0.0, 0.0]] * 2, [1.0, -1.0]), {}, [1e30, 0]),
            Extreme(([[1e-15, 0.0]] * 2, [[0.0, 0.0]] * 2, [1.0, -1.0]), {}, [1e-30, 1]),
        ),
        benchmark=Benchmark(plain_contrastive, sizes=((1024, 128), (8192, 128)), large=LARGE, draw=pairs),
    ),
)
