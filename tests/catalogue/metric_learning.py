"""Records of `jaxloss.metric_learning`."""

import math
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.catalogue.benchmarks import EMBEDDINGS, LARGE, at, normal, pairs
from tests.catalogue.common import FLOATS, log_softmax, option
from tests.catalogue.domains import SIGNS, integers, scaled, together
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


def draw_triplets(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return tuple(rng.normal(size=(3, *batch, 4)))


def triplet_oracle(anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False):
    def distance(x, y):
        size = np.abs(x - y + eps)
        return size.max(-1) if p == INF else (size**p).sum(-1) ** (1 / p)

    far = distance(anchor, negative)
    if swap:
        far = np.minimum(far, distance(positive, negative))
    return np.maximum(distance(anchor, positive) - far + margin, 0)


def manhattan(x, y):
    """A distance that NumPy, PyTorch and JAX can all compute."""
    return abs(x - y).sum(-1)


def squared_distance(x, y):
    return ((x - y) ** 2).sum(-1)


def triplet_with_distance_oracle(anchor, positive, negative, distance_function=None, margin=1.0, swap=False):
    distance = distance_function or (lambda x, y: np.sqrt(squared_distance(x, y - 1e-6)))
    far = distance(anchor, negative)
    if swap:
        far = np.minimum(far, distance(positive, negative))
    return np.maximum(distance(anchor, positive) - far + margin, 0)


def triplet_from_torch(*, distance_function=None, **given):
    """PyTorch's samples have no distance but PairwiseDistance."""
    if distance_function is not None:
        given["distance_function"] = lambda x, y: jnp.linalg.norm(x - y + 1e-6, axis=-1)
    return jaxloss.triplet_margin_with_distance_loss(**given)


def draw_pairs(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return *rng.normal(size=(2, *batch, 4)), 2.0 * rng.integers(0, 2, size=batch) - 1


def cosine_oracle(input1, input2, target, margin=0.0):
    squares = ((input1**2).sum(-1) + 1e-12) * ((input2**2).sum(-1) + 1e-12)
    cosine = (input1 * input2).sum(-1) / np.sqrt(squares)
    return np.where(target == 1, 1 - cosine, np.where(target == -1, np.maximum(cosine - margin, 0), NAN))


def torch_cosine(nn, input1, input2, target, *, reduction, **options):
    """PyTorch takes one axis of pairs."""
    rows = input1.flatten(0, -2), input2.flatten(0, -2), target.flatten()
    values = nn.cosine_embedding_loss(*rows, reduction=reduction, **options)
    return values.reshape(target.shape) if reduction == "none" else values


def triplets(rng: np.random.Generator, *size: int) -> Arrays:
    return tuple(normal(rng, 3, *size))


def plain_triplet(xp: Any, anchor: Any, positive: Any, negative: Any) -> Any:
    near, far = (jnp.sqrt(((anchor - other + 1e-6) ** 2).sum(-1)) for other in (positive, negative))
    return jnp.clip(near - far + 1, 0).mean()


def plain_cosine(xp: Any, input1: Any, input2: Any, target: Any) -> Any:
    similarity = (input1 * input2).sum(-1) / jnp.linalg.norm(input1, axis=-1) / jnp.linalg.norm(input2, axis=-1)
    return jnp.where(target == 1, 1 - similarity, jnp.clip(similarity, 0)).mean()


def optax_cosine(losses: Any, input1: Any, input2: Any, target: Any) -> Any:
    similarity = losses.cosine_similarity(input1, input2)
    return jnp.where(target == 1, 1 - similarity, jnp.clip(similarity, 0)).mean()


def draw_with_proxies(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return rng.normal(size=(*batch, 4)), rng.normal(size=(4, 6)), rng.integers(0, 6, size=batch)


def cosines(pred, kernel):
    """0 for zeros."""

    def lengths(squares):
        return np.sqrt(np.where(squares == 0, 1 + 0 * squares, squares))

    product = (pred[..., None] * kernel).sum(-2)
    return product / lengths((pred**2).sum(-1))[..., None] / lengths((kernel**2).sum(-2))


def with_own(function: Any) -> Any:
    """The cross-entropy of cosines times a scale, where that of the label becomes function(cosine, **options)."""

    def oracle(pred, kernel, target, scale=64.0, chunk_size=None, **options):
        cosine = cosines(pred, kernel)
        is_own = np.arange(cosine.shape[-1]) == target[..., None]
        own = function(cosine[is_own].reshape(target.shape), **options)
        return -(log_softmax(scale * np.where(is_own, own[..., None], cosine)) * is_own).sum(-1)

    return oracle


def arcface_own(cosine, margin=0.5, easy_margin=False):
    """By the angle."""
    angle = np.arccos(cosine)
    within, beyond = np.cos(angle + margin), cosine - margin * math.sin(margin)
    return np.where(cosine > 0, within, cosine) if easy_margin else np.where(angle <= math.pi - margin, within, beyond)


def cosface_own(cosine, margin=0.35):
    return cosine - margin


def proxy_nca_oracle(pred, kernel, target, scale=8.0, chunk_size=None):
    distances = 2 - 2 * cosines(pred, kernel)
    is_own = np.arange(distances.shape[-1]) == target[..., None]
    return -(log_softmax(-scale * distances) * is_own).sum(-1)


def proxy_anchor_oracle(pred, kernel, target, where: Any = True, margin=0.1, scale=32.0, chunk_size=None):
    kept = np.broadcast_to(where, target.shape)
    pred, target = pred[kept], target[kept]
    if not len(pred):
        return np.zeros((), pred.dtype), np.zeros(())
    cosine = cosines(pred, kernel)
    is_own = np.arange(cosine.shape[-1]) == target[:, None]
    near = np.log1p(np.where(is_own, np.exp(-scale * (cosine - margin)), 0 * cosine).sum(0))
    far = np.log1p(np.where(is_own, 0 * cosine, np.exp(scale * (cosine + margin))).sum(0))
    return np.asarray(near[is_own.any(0)].mean() + far.mean()), np.ones(())


def plain_cosines(pred: Any, kernel: Any) -> Any:
    return (pred / jnp.linalg.norm(pred, axis=-1, keepdims=True)) @ (kernel / jnp.linalg.norm(kernel, axis=0))


def plain_arcface(xp: Any, pred: Any, kernel: Any, target: Any) -> Any:
    """insightface's."""
    cosine = plain_cosines(pred, kernel)
    own = at(cosine, target)
    within = own * math.cos(0.5) - jnp.sqrt(1 - own**2) * math.sin(0.5)
    own = jnp.where(own > -math.cos(0.5), within, own - 0.5 * math.sin(0.5))
    return plain_with_own(cosine, target, own, 64)


def plain_with_own(cosine: Any, target: Any, own: Any, scale: float) -> Any:
    logits = scale * cosine.at[jnp.arange(len(target)), target].set(own.astype(cosine.dtype))
    return -at(jax.nn.log_softmax(logits), target).mean()


def plain_cosface(xp: Any, pred: Any, kernel: Any, target: Any) -> Any:
    cosine = plain_cosines(pred, kernel)
    return plain_with_own(cosine, target, at(cosine, target) - 0.35, 64)


def plain_proxy_nca(xp: Any, pred: Any, kernel: Any, target: Any) -> Any:
    return -at(jax.nn.log_softmax(16 * plain_cosines(pred, kernel) - 16), target).mean()


def plain_proxy_anchor(xp: Any, pred: Any, kernel: Any, target: Any) -> Any:
    """The authors'."""
    cosine = plain_cosines(pred, kernel)
    is_own = target[:, None] == jnp.arange(kernel.shape[1])
    near = jnp.log1p(jnp.where(is_own, jnp.exp(-32 * (cosine - 0.1)), 0).sum(0))
    far = jnp.log1p(jnp.where(is_own, 0, jnp.exp(32 * (cosine + 0.1))).sum(0))
    return near.sum() / is_own.any(0).sum() + far.mean()


def with_proxies(rng: np.random.Generator, rows: int, features: int, classes: int) -> Arrays:
    return normal(rng, rows, features), normal(rng, features, classes), rng.integers(0, classes, rows, np.int32)


def rows_and_proxies(options: dict[str, Any]) -> Any:
    """In any direction and of any length; where they all but agree gradients cancel, and no digit of them is left."""

    def drawn(seed: int, labels: np.ndarray) -> Arrays:
        rng = np.random.default_rng(seed)
        rows, proxies = rng.normal(size=(2, 3)), rng.normal(size=(3, 4))
        rows, proxies = rows * 2.0 ** rng.integers(-40, 60, (2, 1)), proxies * 2.0 ** rng.integers(-40, 60, 4)
        return rows.astype(np.float32), proxies.astype(np.float32), labels

    return st.builds(drawn, st.integers(0, 2**20), integers(0, 3, (2,)))


def of_one_row(options: dict[str, Any]) -> Any:
    return rows_and_proxies(options).map(lambda arrays: (arrays[0][0], arrays[1], arrays[2][0]))


TRIPLETS = together(scaled((3, 3), (-100, 110)))

PROXIES = np.eye(4, 5, dtype=np.float32)
CLASSIFIED = (np.eye(3, 4, dtype=np.float32), PROXIES, np.arange(3, dtype=np.int32))
CHUNKED: dict[str, Any] = {"chunk_size": 2}
# Rows at an angle of 0, of 90 degrees and of pi to the first proxy, and rows and proxies of zeros.
AXES, NONE = [[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0]]
OPPOSITE = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]


def log1p_exp(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


LOG_2 = math.log(2)


def of_proxies(*more: Bad, **fields: Any) -> dict[str, Any]:
    """What all have in common that compare rows with the proxies of classes."""
    sizes: dict[str, Any] = {"sizes": ((1024, 512, 10_000), (4096, 512, 65_536)), "large": (8192, 512, 131_072)}
    return {
        "arrays": ("pred", "kernel", "target"),
        "inner": (1, 0, 0),
        "differentiable": (0, 1),
        "shared": (1,),
        "sharded_classes": (1,),
        "garbage": ((NAN, INF, -INF, 1e30), (), (-1, 99, -(2**31))),
        "refuses": (
            Bad((CLASSIFIED[0], PROXIES.T, CLASSIFIED[2]), {}, "`kernel` must be floating, of shape .*transposed"),
            Bad((*CLASSIFIED[:2], np.eye(3, 5, dtype=np.float32)), {}, "`target` must hold integer class indices"),
            Bad((CLASSIFIED[2], PROXIES, CLASSIFIED[0]), {}, "They are swapped"),
            option("scale", 0.0, CLASSIFIED),
            option("chunk_size", 0, CLASSIFIED),
            option("precision", "exact", CLASSIFIED),
            option("class_axis_name", "model", CLASSIFIED),
            *more,
        ),
        "reports": (
            Bad(
                (*CLASSIFIED[:2], CLASSIFIED[2] + 3),
                {},
                "`target` must hold class indices in \\[0, 5\\), got values from 3 to 5",
            ),
            Bad((*CLASSIFIED[:2], CLASSIFIED[2] - 1), {}, "`target` must hold class indices"),
        ),
        "stress": Stress(of_one_row, (32, 16), unit="row", examples=4),
        "benchmark": Benchmark(
            fields.pop("plain"), **sizes, draw=with_proxies, gradients=(0, 1), **fields.pop("counts")
        ),
        **fields,
    }


# A GPU reads all rows at each block and adds to their gradient, in exchange for the logits, which never exist.
ON_GPU = {"behind": dict.fromkeys(("float32 gpu", "bfloat16 gpu"), "bytes")}
HELD: dict[str, Any] = {
    "held": {"float32 tpu": 0.035, "bfloat16 tpu": 0.035, "float32 gpu": 0.035, "bfloat16 gpu": 0.03}
}

RECORDS = (
    Record(
        jaxloss.triplet_margin_loss,
        draw_triplets,
        per_example(triplet_oracle),
        two_ways=True,
        about=About(
            "Embeddings",
            "anchor, positive, negative (..., features)",
            "",
            torch="TripletMarginLoss",
            optax="triplet_margin_loss",
        ),
        arrays=("anchor", "positive", "negative"),
        inner=(1, 1, 1),
        admits_any_value=True,
        variants=(
            {},
            {"margin": 0.5, "p": 1.0, "swap": True},
            {"p": 3.5, "eps": 1e-2},
            {"p": INF},
            {"p": 0.5, "margin": 20.0},
        ),
        traced=("margin", "p", "eps"),
        differentiable=(0, 1, 2),
        garbage=((NAN, INF, -INF, 1e30),) * 3,
        refuses=(
            option("margin", 0.0, (FLOATS,) * 3),
            option("p", 0.0, (FLOATS,) * 3),
            option("eps", -1.0, (FLOATS,) * 3),
            Bad((np.float32(1),) * 3, {}, "`anchor` must have the features on its last axis"),
        ),
        stress=Stress(
            TRIPLETS,
            (6, 8),
            ({}, {"margin": 0.5, "p": 1.0, "swap": True}, {"p": 3.5, "eps": 1e-2}, {"p": INF}),
            unit="norm",
        ),
        extremes=(
            *(Extreme(([[1.0, 2.0]],) * 3, {"p": p, "eps": 0.0}, [1.0]) for p in (0.5, 1.0, 2.0, 3.0, INF)),
            Extreme(([[1e30, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]), {}, [1.0]),
            Extreme(([[0.0, 0.0]], [[1e30, 0.0]], [[0.0, 0.0]]), {}, [1e30]),
            Extreme(([[0.0, 0.0]], [[1e-30, 0.0]], [[0.0, 0.0]]), {"eps": 0.0}, [1.0]),
        ),
        benchmark=Benchmark(
            plain_triplet,
            sizes=EMBEDDINGS,
            large=LARGE,
            draw=triplets,
            optax=lambda losses, *arrays: losses.triplet_margin_loss(*arrays).mean(),
        ),
    ),
    Record(
        jaxloss.triplet_margin_with_distance_loss,
        draw_triplets,
        per_example(triplet_with_distance_oracle),
        two_ways=True,
        like="triplet_margin_loss",
        about=About(
            "Embeddings, any distance",
            "anchor, positive, negative (..., features)",
            "",
            torch="TripletMarginWithDistanceLoss",
        ),
        arrays=("anchor", "positive", "negative"),
        inner=(1, 1, 1),
        admits_any_value=True,
        variants=(
            {},
            {"distance_function": manhattan, "margin": 0.5},
            {"distance_function": squared_distance, "swap": True},
        ),
        traced=("margin",),
        differentiable=(0, 1, 2),
        garbage=((NAN, INF, -INF, 1e30),) * 3,
        from_torch=triplet_from_torch,
        refuses=(
            option("margin", 0.0, (FLOATS,) * 3),
            Bad((np.float32(1),) * 3, {}, "`anchor` must have the features on its last axis"),
            Bad(
                (FLOATS,) * 3,
                {"distance_function": lambda x, y: abs(x - y)},
                "`distance_function` must .*\\(3,\\), got",
            ),
            Bad(
                (FLOATS,) * 3, {"distance_function": lambda x, y: (x == y).sum(-1)}, "`distance_function` must be float"
            ),
        ),
        stress=Stress(TRIPLETS, (6, 8), ({}, {"distance_function": manhattan, "margin": 0.5}), unit="norm"),
        extremes=(
            Extreme(([[1.0, 2.0]],) * 3, {}, [1.0]),
            Extreme(([[0.0, 0.0]], [[1e30, 0.0]], [[0.0, 0.0]]), {}, [1e30]),
        ),
        benchmark=Benchmark(plain_triplet, sizes=EMBEDDINGS, large=LARGE, draw=triplets),
    ),
    Record(
        jaxloss.cosine_embedding_loss,
        draw_pairs,
        per_example(cosine_oracle),
        two_ways=True,
        about=About(
            "Embeddings, pairs", "two inputs (..., features)", "floats -1 or 1 (...)", torch="CosineEmbeddingLoss"
        ),
        arrays=("input1", "input2", "target"),
        inner=(1, 1, 0),
        variants=({}, {"margin": 0.3}, {"margin": -0.5}),
        traced=("margin",),
        differentiable=(0, 1),
        garbage=((NAN, INF, -INF, 1e30), (NAN, INF, -INF, 1e30), (NAN, INF, 0.0, 0.5)),
        torch=torch_cosine,
        refuses=(
            option("margin", 1.5, (FLOATS, FLOATS, FLOATS[:, 0])),
            option("margin", -1.5, (FLOATS, FLOATS, FLOATS[:, 0])),
            Bad((FLOATS, FLOATS, FLOATS), {}, "`target` must be floating, of shape \\(3,\\)"),
            Bad((np.float32(1),) * 3, {}, "`input1` must have the features on its last axis"),
        ),
        reports=(
            Bad((FLOATS, FLOATS, 0 * FLOATS[:, 0]), {}, "`target` must hold -1 or 1.*2 \\* target - 1"),
            Bad((FLOATS, FLOATS, 0.5 * FLOATS[:, 0]), {}, "`target` must hold -1 or 1"),
        ),
        stress=Stress(together(scaled((2, 3), (-40, 110)), SIGNS), (6, 6), ({}, {"margin": 0.3}), unit="norm"),
        extremes=(
            Extreme(([[0.0, 0.0]] * 2, [[1.0, 2.0]] * 2, [1.0, -1.0]), {}, [1, 0]),
            Extreme(([[0.0, 0.0]] * 2, [[0.0, 0.0]] * 2, [1.0, -1.0]), {}, [1, 0]),
            Extreme(([[1e30, 0.0]] * 2, [[1e30, 1e30]] * 2, [1.0, -1.0]), {}, [1 - math.sqrt(0.5), math.sqrt(0.5)]),
            Extreme(([[1e-30, 0.0]], [[1.0, 0.0]], [1.0]), {}, [1.0]),
            Extreme(([[1.0, 1e-4]], [[1.0, 0.0]], [1.0]), {}, [0.5e-8 + 1e-12]),
        ),
        benchmark=Benchmark(plain_cosine, sizes=EMBEDDINGS, large=LARGE, draw=pairs, optax=optax_cosine),
    ),
    Record(
        jaxloss.arcface_loss,
        draw_with_proxies,
        per_example(with_own(arcface_own)),
        two_ways=True,
        about=About(
            "Faces, identities, a proxy a class",
            "rows (..., features), and the last layer's kernel",
            "integer indices (...)",
            shown="margin, scale, easy_margin",
        ),
        variants=({}, {"margin": 0.3, "scale": 10.0, "easy_margin": True}, CHUNKED),
        traced=("margin", "scale"),
        **of_proxies(
            option("margin", -0.1, CLASSIFIED),
            option("margin", 28.6, CLASSIFIED),
            plain=plain_arcface,
            counts=HELD,
            extremes=(
                Extreme((OPPOSITE, [[1.0], [0.0]], [0, 0, 0]), {}, [0, 0, 0]),
                Extreme(
                    (OPPOSITE, AXES, [0, 0, 0]),
                    {"scale": 4.0},
                    [
                        log1p_exp(-4 * math.cos(0.5)),
                        log1p_exp(4 + 4 * math.sin(0.5)),
                        log1p_exp(4 + 2 * math.sin(0.5)),
                    ],
                ),
                Extreme(
                    ([[1e30, 1e30], [1e-12, 0.0]], AXES, [0, 0]), {"margin": 0.0, "scale": 4.0}, [LOG_2, log1p_exp(-4)]
                ),
                Extreme((NONE, AXES, [0]), {"scale": 4.0}, [log1p_exp(4 * math.sin(0.5))]),
                Extreme((OPPOSITE, AXES, [0, 0, 0]), {"margin": 0.0, "scale": 1e4}, [0, 1e4, 1e4]),
            ),
        ),
    ),
    Record(
        jaxloss.cosface_loss,
        draw_with_proxies,
        per_example(with_own(cosface_own)),
        two_ways=True,
        like="arcface_loss",
        about=About(
            "Faces, identities, a proxy a class",
            "rows (..., features), and the last layer's kernel",
            "integer indices (...)",
            shown="margin, scale",
        ),
        variants=({}, {"margin": 0.0, "scale": 10.0, **CHUNKED}),
        traced=("margin", "scale"),
        **of_proxies(
            option("margin", -0.1, CLASSIFIED),
            plain=plain_cosface,
            counts=HELD,
            extremes=(
                Extreme((OPPOSITE, AXES, [0, 0, 0]), {"margin": 0.5, "scale": 1e4}, [0, 1.5e4, 1.5e4]),
                Extreme(
                    ([[1e30, 1e30], [1e-12, 0.0]], AXES, [0, 0]), {"margin": 0.0, "scale": 4.0}, [LOG_2, log1p_exp(-4)]
                ),
                Extreme((NONE, [[0.0, 1.0], [0.0, 0.0]], [0]), {"scale": 4.0}, [log1p_exp(1.4)]),
            ),
        ),
    ),
    Record(
        jaxloss.proxy_nca_loss,
        draw_with_proxies,
        per_example(proxy_nca_oracle),
        two_ways=True,
        like="arcface_loss",
        about=About(
            "Embeddings, a proxy a class",
            "rows (..., features), and the last layer's kernel",
            "integer indices (...)",
            shown="scale",
            note="Proxy-NCA++",
        ),
        variants=({}, {"scale": 2.0, **CHUNKED}),
        traced=("scale",),
        **of_proxies(
            plain=plain_proxy_nca,
            counts=HELD | ON_GPU,
            extremes=(
                Extreme((OPPOSITE, AXES, [0, 0, 0]), {"scale": 1e4}, [0, 2e4, 2e4]),
                Extreme(([[1e30, 1e30], [1e-12, 0.0]], AXES, [0, 0]), {"scale": 2.0}, [LOG_2, log1p_exp(-4)]),
                Extreme((NONE, [[0.0, 1.0], [0.0, 0.0]], [0]), {}, [LOG_2]),
            ),
        ),
    ),
    Record(
        jaxloss.proxy_anchor_loss,
        draw_with_proxies,
        proxy_anchor_oracle,
        sets=True,
        rows=True,
        about=About(
            "Embeddings, a proxy a class",
            "rows (rows, features), and the last layer's kernel",
            "integer indices (rows,)",
            shown="margin, scale",
        ),
        variants=({}, {"margin": 0.0, "scale": 4.0, **CHUNKED}),
        traced=("margin", "scale"),
        **of_proxies(
            option("margin", -0.1, CLASSIFIED),
            option("axis_name", "data", CLASSIFIED),
            Bad(CLASSIFIED, {"sample_weight": np.ones(3)}, "`sample_weight` must broadcast to \\(\\)"),
            Bad(CLASSIFIED, {"where": np.ones((2, 3), bool)}, "`where` must be boolean and broadcast to \\(3,\\)"),
            plain=plain_proxy_anchor,
            counts=HELD | ON_GPU,
            extremes=(
                Extreme(([[0.0, 1.0]], AXES, [0]), {"scale": 1e4}, 1e3 + 1.1e4 / 2),
                Extreme(([[-1.0, 0.0]], AXES, [0]), {"scale": 1e4}, 1.1e4 + 1e3 / 2),
                Extreme(
                    ([[1e30, 0.0]], [[1e-30, 0.0], [0.0, 0.0]], [0]),
                    {"scale": 10.0},
                    log1p_exp(-9) + log1p_exp(1) / 2,
                ),
                Extreme((NONE, AXES, [1]), {"scale": 10.0}, log1p_exp(1) * 1.5),
            ),
            stress=Stress(rows_and_proxies, (32, 16), unit="row", examples=4),
        ),
    ),
)
