"""Records of `jaxloss.distillation`."""

import math
from typing import Any

import jax
import numpy as np

import jaxloss
from tests.catalogue.benchmarks import normal
from tests.catalogue.common import LABELS, LOGITS, PROBABILITIES, axis_fits, insert, log_softmax, option
from tests.catalogue.domains import apart, numbers
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


def draw_two_logits(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """Of a student, and of a teacher that is not far from it."""
    pred = 3 * rng.normal(size=insert(batch, options.get("axis", -1), 5))
    return pred, pred + rng.normal(size=pred.shape)


def kl(log_p, log_q):
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def jsd_oracle(pred, target, axis=-1, beta=0.5, temperature=1.0):
    log_s, log_t = (log_softmax(np.moveaxis(logits, axis, -1) / temperature) for logits in (pred, target))
    if beta in (0, 1):
        return kl(log_s, log_t) if beta else kl(log_t, log_s)
    log_m = np.log(beta * np.exp(log_t) + (1 - beta) * np.exp(log_s))
    return beta * kl(log_t, log_m) + (1 - beta) * kl(log_s, log_m)


def draw_two_layers(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """Of a student, and of a teacher with features of its own."""
    return tuple(rng.normal(size=size) for size in ((*batch, 4), (4, 5), (*batch, 3), (3, 5)))


def linear_jsd_oracle(pred, kernel, target, target_kernel, bias=0.0, target_bias=0.0, chunk_size=None, **options):
    student, teacher = ((x[..., None] * k).sum(-2) for x, k in ((pred, kernel), (target, target_kernel)))
    return jsd_oracle(student + np.asarray(bias), teacher + np.asarray(target_bias), **options)


def two_heads(rng: np.random.Generator, tokens: int, features: int, classes: int) -> Arrays:
    size = np.float32(math.sqrt(features))
    head = tokens, features, classes
    return tuple(array for _ in range(2) for array in (normal(rng, *head[:2]), normal(rng, *head[1:]) / size))


def plain_jsd(xp: Any, pred: Any, target: Any) -> Any:
    """As TRL writes it."""
    log_softmax = getattr(xp, "log_softmax", jax.nn.log_softmax)
    log_s, log_t = log_softmax(pred, -1), log_softmax(target, -1)
    log_m = xp.logaddexp(log_t + math.log(0.5), log_s + math.log(0.5))
    terms = 0.5 * xp.exp(log_t) * (log_t - log_m) + 0.5 * xp.exp(log_s) * (log_s - log_m)
    return terms.sum(-1).mean()


RECORDS = (
    Record(
        jaxloss.generalized_jsd_loss,
        draw_two_logits,
        per_example(jsd_oracle),
        two_ways=True,
        about=About(
            "Distillation",
            "logits",
            "the teacher's logits, of the same shape",
            shown="beta, temperature",
        ),
        class_axis=True,
        inner=(1, 1),
        fits=axis_fits,
        variants=(
            {},
            {"beta": 0.2, "temperature": 2.0},
            {"axis": 1, "beta": 0.9},
            {"beta": 0},
            {"beta": 1, "temperature": 0.7},
        ),
        traced=("temperature",),
        differentiable=(0, 1),
        refuses=(
            Bad((LOGITS, LABELS), {}, "`target` must be floating, of shape \\(3, 5\\)"),
            Bad((LOGITS, LOGITS[:1]), {}, "`target` must be floating, of shape \\(3, 5\\)"),
            Bad((LABELS, LOGITS), {}, "`pred` must be floating"),
            option("beta", 1.5, (LOGITS, LOGITS)),
            option("beta", -0.5, (LOGITS, LOGITS)),
            option("temperature", 0.0, (LOGITS, LOGITS)),
            option("axis", 2, (LOGITS, LOGITS)),
        ),
        reports=(
            Bad((PROBABILITIES, LOGITS), {}, "`pred` must hold logits, got probabilities", plausible=True),
            Bad((LOGITS, PROBABILITIES), {}, "`target` must hold logits, got probabilities", plausible=True),
        ),
        # Beyond, where each is certain of what the other takes for impossible, slopes below 1e-20 have no digits.
        stress=Stress(apart(numbers((4,), -5, 5), numbers((4,), -5, 5)), (32, 16), unit="row"),
        extremes=(
            # No class in common, and one in common.
            Extreme(([0.0, -INF], [-INF, 0.0]), {}, math.log(2)),
            Extreme(([0.0, -INF], [-INF, 0.0]), {"beta": 0.1}, -0.1 * math.log(0.1) - 0.9 * math.log(0.9)),
            Extreme(([0.0, 0.0, -INF], [0.0, -INF, -INF]), {}, 0.75 * math.log(4 / 3)),
            Extreme(([1e4, 0.0], [0.0, 1e4]), {}, math.log(2)),
            Extreme(([1e4, 0.0, -INF], [1e4, 0.0, -INF]), {}, 0.0),
            Extreme(([1e4, 0.0], [0.0, 1e4]), {"beta": 0}, 1e4),
            Extreme(([0.0, 0.0], [0.0, -INF]), {"beta": 0}, math.log(2)),
            Extreme(([0.0, -INF], [0.0, -INF]), {"beta": 1}, 0.0),
        ),
        benchmark=Benchmark(
            plain_jsd,
            sizes=((4096, 1024), (4096, 50_304)),
            draw=lambda rng, *size: (normal(rng, *size), normal(rng, *size)),
        ),
    ),
    Record(
        jaxloss.linear_generalized_jsd_loss,
        draw_two_layers,
        per_example(linear_jsd_oracle),
        two_ways=True,
        about=About(
            "Distillation, large vocabularies, without the logits' memory",
            "features, and the last layer's kernel",
            "the teacher's features, and its kernel",
            shown="beta, temperature",
        ),
        arrays=("pred", "kernel", "target", "target_kernel"),
        inner=(1, 0, 1, 0),
        variants=(
            # Blocks of two classes of five, the last of which begins with one of the block before it.
            {"chunk_size": 5},
            {},
            {
                "bias": [0.5, -1.0, 2.0, 0.1, 0.0],
                "target_bias": [1.0, 0.2, -0.5, 0.3, 0.4],
                "beta": 0.2,
                "temperature": 2.0,
                "chunk_size": 1,
            },
            {"beta": 0, "bias": [0.5, -1.0, 2.0, 0.1, 0.0]},
            {"beta": 1, "temperature": 0.7},
        ),
        traced=("bias", "target_bias", "temperature"),
        differentiable=(0, 1, 2, 3),
        shared=(1, 3),
        sharded_classes=(1, 3),
        garbage=((NAN, INF, -INF, 1e30), (), (NAN, INF, -INF, 1e30), ()),
        refuses=(
            Bad((LOGITS, LOGITS, LOGITS, LOGITS.T), {}, "`kernel` must be floating, of shape .*transposed"),
            Bad((LOGITS, LOGITS.T, LOGITS, LOGITS), {}, "`target_kernel` must be floating, of shape .*transposed"),
            Bad((LOGITS, LOGITS.T, LABELS, LOGITS.T), {}, "`target` must be floating"),
            Bad((LOGITS, LOGITS.T, LOGITS[:1], LOGITS.T), {}, "`target` must have features for the tokens \\(3,\\)"),
            Bad((LOGITS, LOGITS.T, LOGITS, LOGITS.T[:, :2]), {}, "`target_kernel` must have the 3 classes of `kernel`"),
            Bad((LOGITS, LOGITS.T) * 2, {"target_bias": np.ones(5, np.float32)}, "`target_bias` must have one number"),
            option("beta", 1.5, (LOGITS, LOGITS.T) * 2),
            option("temperature", 0.0, (LOGITS, LOGITS.T) * 2),
            option("chunk_size", 0, (LOGITS, LOGITS.T) * 2),
        ),
        admits_any_value=True,
        stress=Stress(
            apart(numbers((2,), -2, 2), numbers((2, 3), -2, 2), numbers((2,), -2, 2), numbers((2, 3), -2, 2)),
            (32, 32),
            unit="norm",
            examples=4,
        ),
        extremes=(
            Extreme(([[1e4, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[1e4]], [[0.0, 1.0]]), {}, [math.log(2)]),
            Extreme(([[1e4, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[1e4]], [[0.0, 1.0]]), {"beta": 0}, [1e4]),
            # No class in common, and one in common.
            Extreme(
                ([[0.0]], [[1.0, 1.0]], [[0.0]], [[1.0, 1.0]]),
                {"bias": [0.0, -INF], "target_bias": [-INF, 0.0]},
                [math.log(2)],
            ),
            Extreme(([[0.0]], [[1.0, 1.0]], [[0.0]], [[1.0, 1.0]]), {"beta": 1, "bias": [0.0, -INF]}, [math.log(2)]),
        ),
        benchmark=Benchmark(
            lambda xp, pred, kernel, target, target_kernel: plain_jsd(xp, pred @ kernel, target @ target_kernel),
            sizes=((2048, 512, 32_768),),
            # With twice as many tokens the plain version does not fit a TPU v5e in float32.
            large=(8192, 2048, 131_072),
            # Blocks read the kernels three times, and not once; in exchange for the logits, which never exist.
            behind=dict.fromkeys(("float32 gpu", "bfloat16 tpu", "bfloat16 gpu"), "bytes"),
            held=dict.fromkeys(("float32 tpu", "float32 gpu", "bfloat16 tpu", "bfloat16 gpu"), 0.02),
            draw=two_heads,
            gradients=(0, 1),
        ),
    ),
)
