"""Records of `jaxloss.self_supervised`."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.catalogue.benchmarks import EMBEDDINGS, LARGE, normal
from tests.catalogue.common import LOGITS, PROBABILITIES, log_softmax, option
from tests.catalogue.domains import apart, numbers, scaled, together
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example

GARBAGE = (NAN, INF, -INF, 1e30)


def draw_views(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    x = rng.normal(size=(*batch, 4))
    return x, x + rng.normal(size=(*batch, 4))


def cosine_oracle(pred, target):
    lengths = np.sqrt((pred**2).sum(-1)) * np.sqrt((target**2).sum(-1))
    is_zero = lengths == 0
    return np.where(is_zero, 1 + 0 * lengths, 1 - (pred * target).sum(-1) / np.where(is_zero, 1 + lengths, lengths))


def draw_prototypes(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return 0.2 * rng.normal(size=(*batch, 5)), 0.1 * rng.normal(size=(*batch, 5)), 0.1 * rng.normal(size=5)


def dino_oracle(pred, target, center, temperature=0.1, target_temperature=0.04):
    labels = np.exp(log_softmax((target - center) / target_temperature))
    return -(labels * log_softmax(pred / temperature)).sum(-1)


def views(rng: np.random.Generator, *size: int) -> Arrays:
    x = normal(rng, *size)
    return x, x + normal(rng, *size)


def prototypes(rng: np.random.Generator, *size: int) -> Arrays:
    return *(0.1 * normal(rng, 2, *size)), 0.1 * normal(rng, size[-1])


def plain_cosine(xp: Any, pred: Any, target: Any) -> Any:
    lengths = jnp.linalg.norm(pred, axis=-1) * jnp.linalg.norm(target, axis=-1)
    return (1 - (pred * target).sum(-1) / lengths).mean()


def plain_dino(xp: Any, pred: Any, target: Any, center: Any) -> Any:
    """The authors'."""
    labels = jax.lax.stop_gradient(jax.nn.softmax((target - center) / 0.04))
    return -(labels * jax.nn.log_softmax(pred / 0.1)).sum(-1).mean()


CENTER = np.zeros(5, np.float32)
TEACHER = (LOGITS, LOGITS, CENTER)

RECORDS = (
    Record(
        jaxloss.cosine_distance,
        draw_views,
        per_example(cosine_oracle),
        two_ways=True,
        about=About(
            "Self-supervised, two views (BYOL, SimSiam)",
            "vectors (..., features)",
            "vectors of the same shape",
            optax="cosine_distance",
        ),
        inner=(1, 1),
        differentiable=(0, 1),
        admits_any_value=True,
        refuses=(Bad((np.float32(1),) * 2, {}, "`pred` must have the features on its last axis"),),
        stress=Stress(together(scaled((2, 3), (-40, 110))), (6, 6), unit="norm"),
        extremes=(
            Extreme(([[0.0, 0.0]], [[1.0, 2.0]]), {}, [1]),
            Extreme(([[1.0, 2.0]], [[0.0, 0.0]]), {}, [1]),
            Extreme(([[0.0, 0.0]], [[0.0, 0.0]]), {}, [1]),
            Extreme(([[1e30, 0.0]], [[1e30, 1e30]]), {}, [1 - math.sqrt(0.5)]),
            Extreme(([[1e-30, 0.0]], [[1.0, 0.0]]), {}, [0.0]),
            Extreme(([[1.0, 1e-4]], [[1.0, 0.0]]), {}, [0.5e-8]),
            Extreme(([[1.0, 0.0]], [[-2.0, 0.0]]), {}, [2]),
        ),
        benchmark=Benchmark(
            plain_cosine,
            sizes=EMBEDDINGS,
            large=LARGE,
            draw=views,
            optax=lambda losses, *arrays: losses.cosine_distance(*arrays).mean(),
        ),
    ),
    Record(
        jaxloss.dino_loss,
        draw_prototypes,
        per_example(dino_oracle),
        two_ways=True,
        about=About(
            "Self-supervised, a student and its teacher (DINO)",
            "logits (..., prototypes)",
            "the teacher's logits of another view, and their centre (prototypes,)",
            shown="temperature, target_temperature",
        ),
        arrays=("pred", "target", "center"),
        inner=(1, 1, 0),
        shared=(2,),
        garbage=(GARBAGE, GARBAGE, GARBAGE),
        variants=({}, {"temperature": 1.0, "target_temperature": 0.3}),
        traced=("temperature", "target_temperature"),
        refuses=(
            *(option(name, value, TEACHER) for name in ("temperature", "target_temperature") for value in (0.0, -1.0)),
            Bad((LOGITS, LOGITS, LOGITS), {}, "`center` must be floating, of shape \\(5,\\).*One number a prototype"),
            Bad((LOGITS[:, :0], LOGITS[:, :0], CENTER), {}, "`pred` must have an axis of at least one class"),
        ),
        reports=(
            Bad((PROBABILITIES, LOGITS, CENTER), {}, "`pred` must hold logits, got probabilities", plausible=True),
        ),
        # Where both are sure of one prototype, the gradient is what is left of two ones.
        stress=Stress(apart(numbers((4,), -0.2, 0.2), *[numbers((4,), -0.05, 0.05)] * 2), (8, 32), unit="row"),
        extremes=(
            Extreme(([[1e3, 0.0]], [[1e3, 0.0]], [0.0, 0.0]), {}, [0.0]),
            Extreme(([[0.0, 1e3]], [[1e3, 0.0]], [0.0, 0.0]), {}, [1e4]),
            Extreme(([[0.0, 0.0]], [[1e3, 0.0]], [1e3, 0.0]), {}, [math.log(2)]),
            Extreme(([[0.0, -INF]], [[1.0, -INF]], [0.0, 0.0]), {}, [0.0]),
            Extreme(([[3.0]], [[2.0]], [1.0]), {}, [0.0]),
        ),
        benchmark=Benchmark(plain_dino, sizes=((512, 65536),), large=(4096, 65536), draw=prototypes, gradients=(0,)),
    ),
)
