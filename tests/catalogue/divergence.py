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


def kl_oracle(pred, target, log_target=False):
    return (
        np.exp(target) * (target - pred)
        if log_target
        else target * (np.log(np.where(target == 0, 1 + 0 * target, target)) - pred)
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
        reports=(
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
        ),
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
)
