"""Records of `jaxloss.metric_learning`."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.catalogue.benchmarks import EMBEDDINGS, LARGE, normal, pairs
from tests.catalogue.common import FLOATS, option
from tests.catalogue.domains import SIGNS, scaled, together
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


TRIPLETS = together(scaled((3, 3), (-100, 110)))

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
)
