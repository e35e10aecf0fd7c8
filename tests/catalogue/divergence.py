"""Records of `jaxloss.divergence`."""

from typing import Any

import numpy as np

import jaxloss
from tests.catalogue.common import LOGITS, PROBABILITIES, fractions
from tests.catalogue.domains import apart, numbers
from tests.catalogue.record import INF, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


def draw_log_probabilities(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    logits = rng.normal(size=(2, *(batch or (1,))))
    pred, target = (logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)).reshape(2, *batch)
    return pred, target if options.get("log_target") else np.exp(target)


def draw_positive(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    pred, target = rng.normal(size=(2, *batch))
    return pred, target if options.get("log_target") else np.exp(target)


def kl_oracle(pred, target, log_target=False):
    return (
        np.exp(target) * (target - pred)
        if log_target
        else target * (np.log(np.where(target == 0, 1 + 0 * target, target)) - pred)
    )


def generalized_kl_oracle(pred, target, log_target=False):
    target = np.exp(target) if log_target else target
    log_target = np.log(np.where(target == 0, 1 + 0 * target, target))
    return target * (log_target - pred) - target + np.exp(pred)


def jensen_shannon_oracle(pred, target, log_target=False):
    p, q = np.exp(pred), np.exp(target) if log_target else target
    mixture = (p + q) / 2
    return sum(part * np.log(np.where(part == 0, 1 + 0 * part, part / mixture)) for part in (p, q)) / 2


def plain_jensen_shannon(xp: Any, p: Any, q: Any) -> Any:
    mixture = (p + q) / 2
    return (p * xp.log(p / mixture) + q * xp.log(q / mixture)).sum(-1).mean() / 2


DISTRIBUTION_REPORTS = (
    Bad((PROBABILITIES, PROBABILITIES), {}, "`pred` must hold log-probabilities.*log_softmax", plausible=True),
    Bad(
        (np.full((2, 4000), 1 / 4000, np.float32),) * 2,
        {},
        "`pred` must hold log-probabilities",
        plausible=True,
    ),
    Bad((np.log(PROBABILITIES), np.log(PROBABILITIES)), {}, "`target` must hold values in.*log_target=True"),
    Bad(
        (np.log(PROBABILITIES), PROBABILITIES),
        {"log_target": True},
        "`target` must hold log-probabilities",
        plausible=True,
    ),
    Bad((LOGITS - 9, PROBABILITIES), {}, "`pred` must hold distributions", plausible=True),
    Bad((np.log(PROBABILITIES), 2 * PROBABILITIES), {}, "`target` must hold distributions", plausible=True),
)
MEASURES = About(
    "Positive numbers",
    "their logarithms",
    "numbers at least 0, or `log_target=True`",
    optax="generalized_kl_divergence",
)
RECORDS = (
    Record(
        jaxloss.kl_div,
        draw_log_probabilities,
        per_example(kl_oracle),
        about=About(
            "Distributions",
            "log-probabilities",
            "probabilities, or `log_target=True`",
            torch="KLDivLoss",
            optax="kl_divergence",
            keras="KLDivergence",
        ),
        elementwise=True,
        variants=({}, {"log_target": True}),
        differentiable=(0, 1),
        torch_target=fractions,
        default_reduction="batchmean",
        reports=DISTRIBUTION_REPORTS,
        stress=Stress(
            lambda options: apart(numbers((), high=0), numbers((), -80, 0) if options else numbers((), 0, 1))(options),
            (4, 4),
            ({}, {"log_target": True}),
            unit="inputs",
        ),
        extremes=(
            Extreme(([-INF, -1.0], [0.0, 0.0]), {}, [0.0, 0.0]),
            Extreme(([-INF, 0.0], [1.0, 1.0]), {}, [INF, 0.0]),
            Extreme(([-INF, -1e4], [-INF, 0.0]), {"log_target": True}, [0.0, 1e4]),
        ),
        benchmark=Benchmark(
            lambda xp, log_p, target: (target * (xp.log(target) - log_p)).sum(-1).mean(),
            optax=lambda losses, *arrays: losses.kl_divergence(*arrays).mean(),
            torch=lambda torch, *tensors: torch.nn.functional.kl_div(*tensors, reduction="batchmean"),
            kernels=3.0,
        ),
    ),
    Record(
        jaxloss.generalized_kl_div,
        draw_positive,
        per_example(generalized_kl_oracle),
        about=MEASURES,
        variants=({}, {"log_target": True}),
        differentiable=(0, 1),
        default_reduction="batchmean",
        reports=(
            Bad((LOGITS, LOGITS - 1), {}, "`target` must hold values at least 0, got values from -1.*log_target=True"),
        ),
        stress=Stress(
            lambda options: apart(numbers((), high=80), numbers((), -80, 80) if options else numbers((), 0))(options),
            (4, 4),
            ({}, {"log_target": True}),
            unit="inputs",
        ),
        extremes=(
            Extreme(([-INF, -1e4, 0.0], [0.0, 0.0, 0.0]), {}, [0.0, 0.0, 1.0]),
            Extreme(([-INF, 0.0, 0.0], [1.0, 1.0, 1 + 2.0**-20]), {}, [INF, 0.0, 2.0**-41]),
            Extreme(([-INF, -1e4, 0.0], [-INF, 0.0, 2.0**-20]), {"log_target": True}, [0.0, 9999.0, 2.0**-41]),
        ),
        benchmark=Benchmark(
            lambda xp, log_p, target: (target * (xp.log(target) - log_p) - target + xp.exp(log_p)).sum(-1).mean(),
            optax=lambda losses, *arrays: losses.generalized_kl_divergence(*arrays).mean(),
            kernels=3.0,
        ),
    ),
    Record(
        jaxloss.jensen_shannon_div,
        draw_log_probabilities,
        per_example(jensen_shannon_oracle),
        about=About(
            "Distributions",
            "log-probabilities",
            "probabilities, or `log_target=True`",
            note="symmetric, bounded",
        ),
        variants=({}, {"log_target": True}),
        differentiable=(0, 1),
        default_reduction="batchmean",
        reports=DISTRIBUTION_REPORTS,
        stress=Stress(
            lambda options: apart(numbers((), high=0), numbers((), -80, 0) if options else numbers((), 0, 1))(options),
            (4, 4),
            ({}, {"log_target": True}),
            unit="inputs",
        ),
        extremes=(
            Extreme(([-INF, -1e4, 0.0], [0.0, 0.0, 0.0]), {}, [0.0, 0.0, np.log(2) / 2]),
            Extreme(([-INF, 0.0, 0.0], [1.0, 1.0, 1 - 2.0**-20]), {}, [np.log(2) / 2, 0.0, 2.0**-43]),
            Extreme(([-INF, -1e4, -INF], [-INF, 0.0, 0.0]), {"log_target": True}, [0.0] + [np.log(2) / 2] * 2),
        ),
        benchmark=Benchmark(
            lambda xp, log_p, target: plain_jensen_shannon(xp, xp.exp(log_p), target),
            kernels=6.0,
        ),
    ),
)
