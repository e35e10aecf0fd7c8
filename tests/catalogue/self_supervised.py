"""Records of `jaxloss.self_supervised`."""

import math
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.catalogue.benchmarks import EMBEDDINGS, LARGE, normal
from tests.catalogue.common import LOGITS, PROBABILITIES, log_softmax, option
from tests.catalogue.contrastive import BEHIND, of_kept_rows
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


def sure(logits: np.ndarray) -> np.ndarray:
    """Of the first."""
    return logits + np.array([0.5, -0.5, 0.0, 0.0], np.float32)


def dino_oracle(pred, target, center, temperature=0.1, target_temperature=0.04):
    labels = np.exp(log_softmax((target - center) / target_temperature))
    return -(labels * log_softmax(pred / temperature)).sum(-1)


def views(rng: np.random.Generator, *size: int) -> Arrays:
    x = normal(rng, *size)
    return x, x + normal(rng, *size)


def prototypes(rng: np.random.Generator, *size: int) -> Arrays:
    return *(0.1 * normal(rng, 2, *size)), 0.1 * normal(rng, size[-1])


def off_diagonal_squares(products):
    return (np.where(np.eye(len(products), dtype=bool), 0, products) ** 2).sum()


def of_a_batch(oracle: Any) -> Any:
    """An oracle of the kept rows, which are one loss."""

    def of_kept(pred, target, where: Any = True, **options):
        where = np.broadcast_to(where, pred.shape[:1])
        if not where.any():
            return np.zeros((), pred.dtype), np.zeros(())
        return np.asarray(oracle(pred[where], target[where], **options)), np.ones(())

    return of_kept


def vicreg_oracle(pred, target, invariance_weight=25.0, variance_weight=25.0, covariance_weight=1.0, eps=1e-4):
    rows, features = pred.shape
    value = invariance_weight * ((pred - target) ** 2).mean()
    for view in (pred, target):
        centered = view - view.mean(0)
        covariance = centered.T @ centered / max(rows - 1, 1)
        deviations = np.sqrt(covariance.diagonal() + eps)
        value = value + variance_weight * np.maximum(1 - deviations, 0 * deviations).mean() / 2
        value = value + covariance_weight * off_diagonal_squares(covariance) / features
    return value


def barlow_oracle(pred, target, off_diagonal_weight=0.005, eps=1e-5):
    centered = [view - view.mean(0) for view in (pred, target)]
    x, y = (view / np.sqrt((view**2).mean(0) + eps) for view in centered)
    correlations = x.T @ y / len(x)
    return ((1 - correlations.diagonal()) ** 2).sum() + off_diagonal_weight * off_diagonal_squares(correlations)


def draw_rows(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return (rng.normal(size=(*batch, 4)),)


def squared_distances(pred):
    units = pred / np.sqrt(np.where((pred != 0).any(-1), (pred**2).sum(-1), 1))[:, None]
    return ((units[:, None] - units) ** 2).sum(-1)


def koleo_oracle(pred, eps=1e-8):
    """A row alone has none."""
    if len(pred) < 2:
        return 0 * pred.sum(-1), np.zeros(len(pred))
    far = squared_distances(pred) + np.diag(np.full(len(pred), 9))
    return -np.log(np.sqrt(far.min(-1)) + eps)


def uniformity_oracle(pred, where: Any = True, t=2.0):
    pred = pred[np.broadcast_to(where, len(pred))]
    if len(pred) < 2:
        return np.zeros((), pred.dtype), np.zeros(())
    others = np.exp(-t * squared_distances(pred))[~np.eye(len(pred), dtype=bool)]
    return np.asarray(np.log(others.mean())), np.ones(())


def plain_cosine(xp: Any, pred: Any, target: Any) -> Any:
    lengths = jnp.linalg.norm(pred, axis=-1) * jnp.linalg.norm(target, axis=-1)
    return (1 - (pred * target).sum(-1) / lengths).mean()


def plain_dino(xp: Any, pred: Any, target: Any, center: Any) -> Any:
    """The authors'."""
    labels = jax.lax.stop_gradient(jax.nn.softmax((target - center) / 0.04))
    return -(labels * jax.nn.log_softmax(pred / 0.1)).sum(-1).mean()


def off_diagonal(xp: Any, products: Any) -> Any:
    return products - xp.diag(xp.diag(products))


def plain_vicreg(xp: Any, pred: Any, target: Any) -> Any:
    """The authors'."""
    loss = 25 * ((pred - target) ** 2).mean()
    for view in (pred, target):
        centered = view - view.mean(0)
        loss += 25 * jnp.clip(1 - jnp.sqrt(jnp.var(view, 0, ddof=1) + 1e-4), 0).mean() / 2
        loss += (off_diagonal(xp, centered.T @ centered / (len(view) - 1)) ** 2).sum() / view.shape[1]
    return loss


def plain_barlow(xp: Any, pred: Any, target: Any) -> Any:
    """The authors'."""
    x, y = ((view - view.mean(0)) / jnp.sqrt(view.var(0) + 1e-5) for view in (pred, target))
    correlations = x.T @ y / len(x)
    return ((1 - xp.diag(correlations)) ** 2).sum() + 0.005 * (off_diagonal(xp, correlations) ** 2).sum()


def products(xp: Any, rows: Any) -> Any:
    units = rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)
    return units @ units.T


def plain_koleo(xp: Any, rows: Any) -> Any:
    """DINOv2's."""
    units = rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)
    near = jnp.argmax(products(xp, rows) - 3 * jnp.eye(len(rows), dtype=rows.dtype), 1)
    return -jnp.log(jnp.linalg.norm(units - units[near] + 1e-8, axis=-1) + 1e-8).mean()


def plain_uniformity(xp: Any, rows: Any) -> Any:
    size = len(rows)
    terms = jnp.exp(-4 * (1 - products(xp, rows)))
    return jnp.log((terms.sum() - jnp.trace(terms)) / (size * (size - 1)))


ROWS = np.eye(3, 4, dtype=np.float32)
OF_A_BATCH: dict[str, Any] = {
    "rows": True,
    "inner": (1, 1),
    "differentiable": (0, 1),
    "admits_any_value": True,
}
WRONG_BATCHES = (
    Bad((ROWS[None], ROWS[None]), {}, "`pred` must have the shape \\(rows, features\\)"),
    Bad((ROWS, ROWS), {"where": np.ones((2, 3), bool)}, "`where` must be boolean and broadcast to \\(3,\\)"),
    Bad((ROWS, ROWS), {"sample_weight": np.ones(3)}, "`sample_weight` must broadcast to \\(\\)"),
    option("axis_name", "data", (ROWS, ROWS)),
)
OF_ROWS: dict[str, Any] = OF_A_BATCH | {
    "arrays": ("pred",),
    "inner": (1,),
    "differentiable": (0,),
    "garbage": (GARBAGE,),
}
WRONG_ROWS = (
    Bad((ROWS[None],), {}, "`pred` must have the shape \\(rows, features\\)"),
    Bad((ROWS,), {"where": np.ones((2, 3), bool)}, "`where` must be boolean and broadcast to \\(3,\\)"),
    option("axis_name", "data", (ROWS,)),
)
OF_ROWS_SIZES: dict[str, Any] = {
    "sizes": ((1024, 128), (8192, 128)),
    "large": (8192, 256),
    "draw": lambda rng, *size: (normal(rng, *size),),
}


def of_any_length(options: dict[str, Any]) -> Any:
    def rows(seed: int) -> Arrays:
        rng = np.random.default_rng(seed)
        return ((2.0 ** rng.integers(-40, 60, (3, 1)) * rng.normal(size=(3, 3))).astype(np.float32),)

    return st.builds(rows, st.integers(0, 2**20))


VIEWS = apart(numbers((4, 3), -2, 2), numbers((4, 3), -2, 2))
OF_VIEWS: dict[str, Any] = {"sizes": ((256, 2048), (1024, 8192)), "large": (4096, 8192), "draw": views}
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
            Extreme(([[1e-12, 0.0]], [[1.0, 0.0]]), {}, [0.0]),
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
        # Where both are of one mind, the gradient is what is left of numbers that are near 1.
        stress=Stress(
            apart(numbers((4,), -0.1, 0.1).map(sure), *[numbers((4,), -0.05, 0.05)] * 2), (4, 12), unit="row"
        ),
        extremes=(
            Extreme(([[1e3, 0.0]], [[1e3, 0.0]], [0.0, 0.0]), {}, [0.0]),
            Extreme(([[0.0, 1e3]], [[1e3, 0.0]], [0.0, 0.0]), {}, [1e4]),
            Extreme(([[0.0, 0.0]], [[1e3, 0.0]], [1e3, 0.0]), {}, [math.log(2)]),
            Extreme(([[0.0, -INF]], [[1.0, -INF]], [0.0, 0.0]), {}, [0.0]),
            Extreme(([[3.0]], [[2.0]], [1.0]), {}, [0.0]),
        ),
        # A GPU stores the teacher's distribution in float32, where its logits are bfloat16.
        benchmark=Benchmark(
            plain_dino,
            sizes=((512, 65536),),
            large=(4096, 65536),
            draw=prototypes,
            gradients=(0,),
            behind={"bfloat16 gpu": "bytes, temporaries"},
        ),
    ),
    Record(
        jaxloss.vicreg_loss,
        draw_views,
        of_a_batch(vicreg_oracle),
        sets=True,
        about=About(
            "Self-supervised, two views of a batch",
            "one view of each row (rows, features)",
            "the other view, of the same shape",
            note="VICReg",
        ),
        **OF_A_BATCH,
        variants=({}, {"invariance_weight": 1.0, "variance_weight": 3.0, "covariance_weight": 0.5, "eps": 0.1}),
        traced=("invariance_weight", "variance_weight", "covariance_weight", "eps"),
        refuses=(
            *WRONG_BATCHES,
            *(option(f"{term}_weight", -1.0, (ROWS, ROWS)) for term in ("invariance", "variance", "covariance")),
            option("eps", 0.0, (ROWS, ROWS)),
        ),
        stress=Stress(VIEWS, (8, 20), unit="row", examples=4),
        extremes=(
            Extreme(([[0.0, 0.0]] * 3, [[0.0, 0.0]] * 3), {}, 25 * 0.99),
            Extreme(([[1.0, 2.0]], [[1.0, 2.0]]), {}, 25 * 0.99),
            Extreme(([[1e4], [-1e4]], [[1e4], [-1e4]]), {}, 0.0),
            Extreme(([[1e4, 1e4], [-1e4, -1e4]], [[1e4, 0.0], [-1e4, 0.0]]), {}, 4e16 + 25 * 0.5e8 + 25 * 0.99 / 4),
        ),
        # In half precision the plain form takes products of bfloat16, and this one of float32.
        benchmark=Benchmark(
            plain_vicreg,
            **OF_VIEWS,
            behind={"bfloat16 tpu": "temporaries", "bfloat16 gpu": "bytes, temporaries"},
        ),
    ),
    Record(
        jaxloss.barlow_twins_loss,
        draw_views,
        of_a_batch(barlow_oracle),
        sets=True,
        about=About(
            "Self-supervised, two views of a batch",
            "one view of each row (rows, features)",
            "the other view, of the same shape",
            shown="off_diagonal_weight",
        ),
        **OF_A_BATCH,
        variants=({}, {"off_diagonal_weight": 0.5, "eps": 0.1}),
        traced=("off_diagonal_weight", "eps"),
        refuses=(
            *WRONG_BATCHES,
            option("off_diagonal_weight", -1.0, (ROWS, ROWS)),
            option("eps", 0.0, (ROWS, ROWS)),
        ),
        stress=Stress(VIEWS, (8, 20), unit="row", examples=4),
        extremes=(
            Extreme(([[0.0, 0.0]] * 3, [[0.0, 0.0]] * 3), {}, 2.0),
            Extreme(([[1.0, 2.0]], [[1.0, 2.0]]), {}, 2.0),
            Extreme(([[1e30], [-1e30]], [[1.0], [-1.0]]), {}, 0.25e-10),
            Extreme(([[1e30, 1.0], [-1e30, -1.0]], [[1e30, 1.0], [-1e30, -1.0]]), {}, 1e-10 + 0.01),
            Extreme(([[1e-30], [-1e-30]], [[1e-30], [-1e-30]]), {}, 1.0),
        ),
        # The diagonal is a sum of its own. In half precision the plain form takes products of bfloat16.
        benchmark=Benchmark(
            plain_barlow,
            **OF_VIEWS,
            behind={
                "float32 gpu": "bytes",
                "bfloat16 tpu": "temporaries",
                "bfloat16 gpu": "bytes, temporaries",
            },
        ),
    ),
    Record(
        jaxloss.koleo_loss,
        draw_rows,
        of_kept_rows(koleo_oracle),
        about=About("Self-supervised, rows apart on the sphere", "rows (rows, features)", "", note="KoLeo"),
        **OF_ROWS,
        variants=({}, {"eps": 0.1}),
        traced=("eps",),
        refuses=(*WRONG_ROWS, option("eps", 0.0, (ROWS,))),
        stress=Stress(of_any_length, (16, 16), unit="row", examples=4),
        extremes=(
            Extreme(([[1.0, 0.0], [0.0, 1.0]],), {}, [-0.5 * math.log(2)] * 2),
            Extreme(([[1.0, 0.0], [2.0, 0.0]],), {}, [8 * math.log(10)] * 2),
            Extreme(([[0.0, 0.0], [2.0, 0.0]],), {}, [0.0, 0.0]),
            Extreme(([[0.0, 1e-12], [1e12, 0.0]],), {}, [-0.5 * math.log(2)] * 2),
            Extreme(([[1.0, 0.0]],), {}, [0.0]),
        ),
        benchmark=Benchmark(plain_koleo, **OF_ROWS_SIZES, behind=BEHIND),
    ),
    Record(
        jaxloss.uniformity_loss,
        draw_rows,
        uniformity_oracle,
        sets=True,
        about=About("Self-supervised, rows apart on the sphere", "rows (rows, features)", "", shown="t"),
        **OF_ROWS,
        variants=({}, {"t": 0.5}),
        traced=("t",),
        refuses=(*WRONG_ROWS, option("t", 0.0, (ROWS,))),
        stress=Stress(of_any_length, (16, 16), unit="row", examples=4),
        extremes=(
            Extreme(([[1.0, 0.0], [0.0, 1.0]],), {}, -4.0),
            Extreme(([[1.0, 0.0], [2.0, 0.0]],), {}, 0.0),
            Extreme(([[1.0, 0.0], [-1e30, 0.0]],), {"t": 100.0}, -400.0),
            Extreme(([[1.0, 0.0]],), {}, 0.0),
        ),
        benchmark=Benchmark(plain_uniformity, **OF_ROWS_SIZES, behind=BEHIND),
    ),
)
