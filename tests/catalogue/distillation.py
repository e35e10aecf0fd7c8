"""Records of `jaxloss.distillation`."""

import math
from typing import Any

import jax
import numpy as np

import jaxloss
from tests.catalogue.benchmarks import normal
from tests.catalogue.common import LABELS, LOGITS, PROBABILITIES, axis_fits, insert, log_softmax, option
from tests.catalogue.domains import apart, numbers
from tests.catalogue.record import INF, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


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
)
