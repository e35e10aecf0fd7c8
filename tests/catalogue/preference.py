"""Records of `jaxloss.preference`."""

import math
from typing import Any

import numpy as np

import jaxloss
from tests.catalogue.common import ANYTHING, FLOATS, LIKELY, SUMMABLE, above_0, option, sigmoid, weights_fit
from tests.catalogue.domains import HARD, LIMITS, numbers, together
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example

PAIRS = ("chosen", "rejected", "reference_chosen", "reference_rejected")


def drawn(how_many: int, mean: float):
    """Log-probabilities of responses: sums over tokens, or means if near 0."""

    def draw(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
        return tuple(mean * rng.gamma(2.0, 0.5, size=batch) for _ in range(how_many))

    return draw


def gap_to_reference(chosen, rejected, reference_chosen, reference_rejected):
    return (chosen - reference_chosen) - (rejected - reference_rejected)


def softplus(x):
    """Without overflow in extended precision, whose exponent goes far; and in exact arithmetic."""
    return np.log1p(np.exp(x))


def dpo_oracle(*arrays, beta=0.1, label_smoothing=0.0, robust=False):
    margin = beta * gap_to_reference(*arrays)
    right, wrong = (1 - label_smoothing) * softplus(-margin), label_smoothing * softplus(margin)
    return (right - wrong) / (1 - 2 * label_smoothing) if robust else right + wrong


def orpo_oracle(chosen, rejected):
    odds = [log_p - np.log(1 - np.exp(log_p)) for log_p in (chosen, rejected)]
    return softplus(odds[1] - odds[0])


def draw_responses(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """With the divergence, one number for all."""
    pred, reference = drawn(2, -20.0)(rng, batch, options)
    return pred, reference, rng.integers(0, 2, size=batch).astype(float), np.array(0.75)


def kto_oracle(pred, reference, target, kl, beta=0.1, desirable_weight=1.0, undesirable_weight=1.0):
    gain = beta * (pred - reference - kl)
    return target * desirable_weight * sigmoid(-gain) + (1 - target) * undesirable_weight * sigmoid(gain)


def plain_softplus(xp: Any, value: Any) -> Any:
    return xp.clip(value, 0, None) + xp.log1p(xp.exp(-abs(value)))


def plain_dpo(xp: Any, chosen: Any, rejected: Any, reference_chosen: Any, reference_rejected: Any) -> Any:
    return plain_softplus(xp, -0.1 * ((chosen - rejected) - (reference_chosen - reference_rejected))).mean()


def plain_ipo(xp: Any, chosen: Any, rejected: Any, reference_chosen: Any, reference_rejected: Any) -> Any:
    return (((chosen - rejected) - (reference_chosen - reference_rejected) - 5.0) ** 2).mean()


def plain_orpo(xp: Any, chosen: Any, rejected: Any) -> Any:
    log_odds = (chosen - rejected) - (xp.log1p(-xp.exp(chosen)) - xp.log1p(-xp.exp(rejected)))
    return plain_softplus(xp, -log_odds).mean()


def plain_kto(xp: Any, pred: Any, reference: Any, target: Any, kl: Any) -> Any:
    gain = 0.1 * (pred - reference - kl)
    return xp.where(target == 1, 1 - 1 / (1 + xp.exp(-gain)), 1 - 1 / (1 + xp.exp(gain))).mean()


# Beyond, their differences overflow.
LOG_PROBABILITIES = numbers((4,), -SUMMABLE, 0)
# With a log-probability of 0 no odds are finite.
UNCERTAIN = numbers((2,), -SUMMABLE, -float(LIMITS.tiny))
AGAINST_A_REFERENCE: dict[str, Any] = {
    "arrays": PAIRS,
    "inner": (0, 0, 0, 0),
    "elementwise": True,
    "differentiable": (0, 1),
    "garbage": (ANYTHING,) * 4,
    "reports": tuple(above_0(name, position, 4) for position, name in enumerate(PAIRS)),
}
OF_MEANS: dict[str, Any] = {
    "arrays": PAIRS[:2],
    "elementwise": True,
    "differentiable": (0, 1),
    "reports": tuple(above_0(name, position, 2) for position, name in enumerate(PAIRS[:2])),
}

RECORDS = (
    Record(
        jaxloss.dpo_loss,
        drawn(4, -20.0),
        per_example(dpo_oracle),
        about=About(
            "Preferences, against a reference",
            "log-probabilities of the chosen and the rejected responses",
            "the same of the reference model",
            shown="beta, label_smoothing, robust",
        ),
        variants=({}, {"label_smoothing": 0.2, "beta": 0.5}, {"label_smoothing": 0.2, "robust": True}),
        traced=("beta", "label_smoothing"),
        refuses=(
            option("beta", 0.0, (LIKELY,) * 4),
            option("beta", NAN, (LIKELY,) * 4),
            option("label_smoothing", 1.5, (LIKELY,) * 4),
            Bad((LIKELY,) * 4, {"label_smoothing": 0.5, "robust": True}, "`label_smoothing` must be in ", ValueError),
        ),
        stress=Stress(
            together(LOG_PROBABILITIES),
            (5, 5),
            ({}, {"label_smoothing": 0.2}, {"label_smoothing": 0.2, "robust": True}, {"beta": 1e-20}),
            unit="inputs",
        ),
        extremes=(
            Extreme(([-1e4, -2e4, -INF], [-2e4, -1e4, 0.0], [0.0] * 3, [0.0] * 3), {"beta": 1.0}, [0, 1e4, INF]),
            Extreme(([-2e4], [-1e4], [0.0], [0.0]), {"beta": 1.0, "label_smoothing": 1e-3}, [9990]),
            Extreme(([-1e4], [-2e4], [0.0], [0.0]), {"beta": 1.0, "label_smoothing": 1e-3}, [10]),
            Extreme(([0.0], [-3e4], [0.0], [0.0]), {"beta": 1.0, "label_smoothing": 0.25, "robust": True}, [-1.5e4]),
        ),
        benchmark=Benchmark(plain_dpo),
        **AGAINST_A_REFERENCE,
    ),
    Record(
        jaxloss.ipo_loss,
        drawn(4, -20.0),
        per_example(lambda *arrays, beta=0.1: (gap_to_reference(*arrays) - 1 / (2 * beta)) ** 2),
        like="dpo_loss",
        about=About(
            "Preferences, against a reference",
            "log-probabilities of the chosen and the rejected responses",
            "the same of the reference model",
            shown="beta",
        ),
        variants=({}, {"beta": 0.5}),
        traced=("beta",),
        refuses=(option("beta", 0.0, (LIKELY,) * 4), option("beta", -1, (LIKELY,) * 4)),
        stress=Stress(together(numbers((4,), -1e17, 0)), (5, 4), ({}, {"beta": 1e-10}), unit="inputs"),
        extremes=(Extreme(([-1e4, -2e4], [-2e4, -1e4], [0.0] * 2, [0.0] * 2), {"beta": 0.5}, [9999.0**2, 10001.0**2]),),
        benchmark=Benchmark(plain_ipo),
        **AGAINST_A_REFERENCE,
    ),
    Record(
        jaxloss.simpo_loss,
        drawn(2, -1.0),
        per_example(lambda chosen, rejected, beta=2.0, gamma=1.0: softplus(gamma - beta * (chosen - rejected))),
        about=About(
            "Preferences, without a reference",
            "mean log-probabilities of the chosen and the rejected responses",
            "",
            shown="beta, gamma",
        ),
        variants=({}, {"beta": 0.5, "gamma": 0.0}),
        traced=("beta", "gamma"),
        refuses=(option("beta", 0.0, (LIKELY,) * 2), option("gamma", -1.0, (LIKELY,) * 2)),
        stress=Stress(together(numbers((2,), -SUMMABLE, 0)), (6, 6), ({}, {"beta": 0.5, "gamma": 0.0}), unit="inputs"),
        extremes=(
            Extreme(([-1e4, 0.0, -INF], [0.0, -1e4, 0.0]), {}, [20001, 0, INF]),
            Extreme(([-1.0], [-1.0]), {"gamma": 0.0}, [math.log(2)]),
        ),
        benchmark=Benchmark(lambda xp, chosen, rejected: plain_softplus(xp, 1.0 - 2.0 * (chosen - rejected)).mean()),
        **OF_MEANS,
    ),
    Record(
        jaxloss.orpo_loss,
        drawn(2, -1.0),
        per_example(orpo_oracle),
        about=About(
            "Preferences, without a reference",
            "mean log-probabilities of the chosen and the rejected responses",
            "",
            note="the odds-ratio term",
        ),
        stress=Stress(together(UNCERTAIN), (8, 8), unit="inputs"),
        extremes=(
            Extreme(
                ([-1e4, -1.0, -1e4], [-1.0, -1e4, -1e4]), {}, [1e4 - 1 - math.log1p(-math.exp(-1)), 0, math.log(2)]
            ),
            *(
                # The chosen response's odds are one by its distance to p = 1.
                Extreme(([-tiny], [-1.0]), {}, [math.log1p(math.expm1(tiny) * math.exp(-1) / -math.expm1(-1))])
                for tiny in (1e-3, 3e-8, 1e-20, 1e-37, 0.0)
            ),
            Extreme(([-3e-8, -1e-15], [-6e-8, -1e-15]), {}, [math.log1p(0.5), math.log(2)]),
            Extreme(([-1.0], [-1e-30]), {}, [30 * math.log(10) - math.log(math.exp(-1) / -math.expm1(-1))]),
        ),
        benchmark=Benchmark(plain_orpo),
        **OF_MEANS,
    ),
    Record(
        jaxloss.kto_loss,
        draw_responses,
        per_example(kto_oracle),
        about=About(
            "Responses, good or not",
            "log-probabilities of the responses, of the model and of the reference",
            "floats, 1 if desirable, 0 if not; and their divergence, one number",
            shown="beta, desirable_weight, undesirable_weight",
        ),
        arrays=("pred", "reference", "target", "kl"),
        inner=(0, 0, 0, 0),
        shared=(3,),
        garbage=(ANYTHING,) * 4,
        variants=({}, {"beta": 0.5, "desirable_weight": 2.0, "undesirable_weight": 0.5}),
        traced=("beta", "desirable_weight", "undesirable_weight"),
        refuses=(
            option("beta", 0.0, (LIKELY, LIKELY, FLOATS, np.float32(0))),
            option("desirable_weight", -1.0, (LIKELY, LIKELY, FLOATS, np.float32(0))),
            Bad((LIKELY, LIKELY, FLOATS, FLOATS), {}, "`kl` must be floating, of shape \\(\\), got"),
        ),
        reports=(
            above_0("pred", 0, 2, (FLOATS, np.float32(0))),
            above_0("reference", 1, 2, (FLOATS, np.float32(0))),
            Bad((LIKELY, LIKELY, 2 * FLOATS, np.float32(0)), {}, "`target` must hold values in \\[0, 1\\]"),
            Bad((LIKELY, LIKELY, FLOATS, np.float32(-1)), {}, "`kl` must hold values at least 0, got values from -1"),
        ),
        stress=Stress(together(numbers((2,), -SUMMABLE, 0), HARD, numbers((), 0, SUMMABLE)), (6, 6), unit="inputs"),
        extremes=(
            Extreme(([-1e4, 0.0, -INF], [0.0, -1e4, 0.0], [1.0] * 3, 0.0), {"beta": 1.0}, [1, 0, 1]),
            Extreme(([-1e4, 0.0, -50.0], [0.0, -1e4, 0.0], [0.0] * 3, 0.0), {"beta": 1.0}, [0, 1, math.exp(-50)]),
        ),
        benchmark=Benchmark(plain_kto),
    ),
    Record(
        jaxloss.bradley_terry_loss,
        lambda rng, batch, options: (rng.normal(size=batch), rng.normal(size=batch)),
        per_example(lambda chosen, rejected, margin=0.0: softplus(np.asarray(margin) - (chosen - rejected))),
        about=About("Rewards", "rewards of the chosen and the rejected responses", "", shown="margin"),
        arrays=PAIRS[:2],
        elementwise=True,
        admits_any_value=True,
        differentiable=(0, 1),
        fits=weights_fit,
        variants=({}, {"margin": 0.5}, {"margin": [0.5, 0.0, 1.5, 2.0]}),
        traced=("margin",),
        refuses=(
            option("margin", -1.0),
            Bad((FLOATS, FLOATS), {"margin": FLOATS[:, :2]}, "`margin` must broadcast to \\(3, 4\\)"),
        ),
        stress=Stress(together(numbers((2,), -SUMMABLE, SUMMABLE)), (6, 6), ({}, {"margin": 0.5}), unit="inputs"),
        extremes=(
            Extreme(([-1e4, 1e4, 0.0, -INF], [0.0] * 4), {}, [1e4, 0, math.log(2), INF]),
            Extreme(([1e4], [0.0]), {"margin": 2e4}, [1e4]),
        ),
        benchmark=Benchmark(lambda xp, chosen, rejected: plain_softplus(xp, rejected - chosen).mean()),
    ),
)
