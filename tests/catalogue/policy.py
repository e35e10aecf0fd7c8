"""Records of `jaxloss.policy`."""

import math
from typing import Any

import jax
import numpy as np

import jaxloss
from tests.catalogue.common import ANYTHING, FLOATS, LIKELY, above_0, option
from tests.catalogue.domains import apart, numbers, together
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


def draw_log_probabilities(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """Of a model, and of one that is not far from it."""
    pred = -rng.gamma(2.0, 0.5, size=batch)
    return pred, pred * np.exp(0.3 * rng.normal(size=batch))


def draw_tokens(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """With an advantage a token, or, where there are options, one a sequence."""
    pred, old = draw_log_probabilities(rng, batch, options)
    return pred, old, rng.normal(size=batch[:-1] if options else batch)


def per_token(advantage, pred):
    return advantage[..., None] + 0 * pred if advantage.ndim < pred.ndim else advantage


def clipped_oracle(pred, old, advantage, where=True, clip_low=0.2, clip_high=None, dual_clip=None, importance="token"):
    advantage, kept = per_token(advantage, pred), np.broadcast_to(where, pred.shape)
    log_ratio = np.where(kept, pred - old, 0)
    if importance == "sequence":
        log_ratio = log_ratio.sum(-1, keepdims=True) / np.maximum(kept.sum(-1, keepdims=True), 1) + 0 * log_ratio
    ratio = np.exp(log_ratio)
    clipped = np.minimum(np.maximum(ratio, 1 - clip_low), 1 + (clip_low if clip_high is None else clip_high))
    values = np.maximum(-advantage * ratio, -advantage * clipped)
    if dual_clip is not None:
        values = np.where(advantage < 0, np.minimum(values, -advantage * dual_clip), values)
    return np.where(kept, values, 0), kept * np.ones(values.shape)


def cispo_oracle(pred, old, advantage, ratio_low=0.0, ratio_high=5.0, constant_at=None):
    at_pred = pred if constant_at is None else constant_at[0]
    weight = np.minimum(np.maximum(np.exp(at_pred - old), ratio_low), ratio_high)
    return -per_token(advantage, pred) * weight * pred


def value_oracle(pred, target, old, clip=0.2):
    clipped = np.minimum(np.maximum(pred, old - clip), old + clip)
    return np.maximum((pred - target) ** 2, (clipped - target) ** 2) / 2


def kl_oracle(pred, reference, estimator="k3", bound=None):
    log_ratio = pred - reference
    if bound is not None:
        log_ratio = np.minimum(np.maximum(log_ratio, 0 * log_ratio - bound), 0 * log_ratio + bound)
    return {"k1": log_ratio, "k2": log_ratio**2 / 2, "k3": np.exp(-log_ratio) - 1 + log_ratio}[estimator]


def plain_clipped(xp: Any, pred: Any, old: Any, advantage: Any) -> Any:
    ratio = xp.exp(pred - old)
    return -xp.minimum(ratio * advantage, xp.clip(ratio, 0.8, 1.2) * advantage).mean()


def plain_cispo(xp: Any, pred: Any, old: Any, advantage: Any) -> Any:
    ratio = xp.clip(xp.exp(pred - old), 0.0, 5.0)
    ratio = ratio.detach() if hasattr(ratio, "detach") else jax.lax.stop_gradient(ratio)
    return -(ratio * advantage * pred).mean()


def plain_value(xp: Any, pred: Any, target: Any, old: Any) -> Any:
    clipped = old + xp.clip(pred - old, -0.2, 0.2)
    return 0.5 * xp.maximum((pred - target) ** 2, (clipped - target) ** 2).mean()


def plain_k3(xp: Any, pred: Any, reference: Any) -> Any:
    return (xp.exp(reference - pred) - (reference - pred) - 1).mean()


ADVANTAGE = Bad((LIKELY, FLOATS[0]), {}, "`advantage` must be floating, of shape \\(3, 4\\) or \\(3,\\), got")
RATIOS = numbers((2,), -80, 0)
OF_TOKENS: dict[str, Any] = {
    "arrays": ("pred", "old", "advantage"),
    "inner": (0, 0, 0),
    "elementwise": True,
    "garbage": (ANYTHING,) * 3,
    "reports": tuple(above_0(name, position, 2, (FLOATS,)) for position, name in enumerate(("pred", "old"))),
}
ARGS = (LIKELY, LIKELY, FLOATS)

RECORDS = (
    Record(
        jaxloss.policy_gradient_loss,
        lambda rng, batch, options: draw_tokens(rng, batch, options)[::2],
        per_example(lambda pred, advantage: -per_token(advantage, pred) * pred),
        about=About(
            "Policies, on the samples of this very model",
            "log-probabilities of sampled tokens (..., time)",
            "advantages (..., time) or (...)",
        ),
        arrays=("pred", "advantage"),
        elementwise=True,
        refuses=(ADVANTAGE,),
        reports=(above_0("pred", 0, 1, (FLOATS,)),),
        stress=Stress(apart(numbers((), high=0), numbers(())), (2, 2)),
        extremes=(
            Extreme(([-1e4, 0.0, -INF], [2.0, 1e30, 0.0]), {}, [2e4, 0, 0]),
            Extreme(([[-1e4, -1.0]], [2.0]), {}, [[2e4, 2]]),
        ),
        benchmark=Benchmark(lambda xp, pred, advantage: -(advantage * pred).mean()),
    ),
    Record(
        jaxloss.clipped_policy_loss,
        draw_tokens,
        clipped_oracle,
        about=About(
            "Policies, on the samples of an older model (PPO, GRPO, DAPO, GSPO)",
            "log-probabilities of sampled tokens (..., time), of the model and of the older one",
            "advantages (..., time) or (...)",
            shown="clip_low, clip_high, dual_clip, importance",
        ),
        fits=lambda options, batch: bool(batch) or "importance" not in options,
        variants=(
            {},
            {"clip_low": 0.1, "clip_high": 0.28, "dual_clip": 1.5},
            {"clip_low": 0.05, "importance": "sequence"},
        ),
        traced=("clip_low", "clip_high", "dual_clip"),
        refuses=(
            option("clip_low", 1.5, ARGS),
            option("clip_low", -0.1, ARGS),
            option("clip_high", -0.1, ARGS),
            option("dual_clip", 1.0, ARGS),
            Bad(ARGS, {"importance": "tokens"}, '`importance` must be "token" or "sequence", got', ValueError),
            Bad((np.float32(-1), np.float32(-1), np.float32(1)), {"importance": "sequence"}, "tokens on its last axis"),
            Bad((LIKELY, LIKELY, FLOATS[0]), {}, "`advantage` must be floating, of shape \\(3, 4\\) or \\(3,\\), got"),
        ),
        stress=Stress(
            together(RATIOS, numbers((), -1e3, 1e3)), (6, 6), ({}, {"clip_high": 0.28, "dual_clip": 3.0}), unit="inputs"
        ),
        extremes=(
            # A ratio that overflows: clipped; without weight; against the advantage, up to the dual bound.
            Extreme(([0.0, 0.0], [-1e4, -1e4], [2.0, 0.0]), {}, [-2.4, 0]),
            Extreme(([0.0, -1e4, -1e4], [-1e4, 0.0, 0.0], [-2.0, -2.0, 2.0]), {"dual_clip": 3.0}, [6, 1.6, 0]),
            Extreme(([[0.0, 0.0]], [[-1e4, -2e4]], [2.0]), {"importance": "sequence"}, [[-2.4, -2.4]]),
        ),
        benchmark=Benchmark(plain_clipped),
        **OF_TOKENS,
    ),
    Record(
        jaxloss.cispo_loss,
        draw_tokens,
        per_example(cispo_oracle),
        like="clipped_policy_loss",
        about=About(
            "Policies, on the samples of an older model, every token with a gradient",
            "log-probabilities of sampled tokens (..., time), of the model and of the older one",
            "advantages (..., time) or (...)",
            shown="ratio_low, ratio_high",
        ),
        variants=({}, {"ratio_low": 0.8, "ratio_high": 1.2}),
        traced=("ratio_low", "ratio_high"),
        constant_factor=True,
        refuses=(option("ratio_low", -0.1, ARGS), option("ratio_high", 0.0, ARGS)),
        stress=Stress(
            together(RATIOS, numbers((), -1e3, 1e3)), (6, 6), ({}, {"ratio_low": 0.8, "ratio_high": 1.2}), unit="inputs"
        ),
        extremes=(
            Extreme(([-1.0, -1e4, -1.0], [-1e4, -1.0, -1e4], [2.0, 2.0, 0.0]), {}, [10, 0, 0]),
            Extreme(([-INF], [-1.0], [2.0]), {}, [0]),
        ),
        benchmark=Benchmark(plain_cispo),
        **OF_TOKENS,
    ),
    Record(
        jaxloss.value_loss,
        lambda rng, batch, options: (rng.normal(size=batch), 2 * rng.normal(size=batch), 0.5 * rng.normal(size=batch)),
        per_example(value_oracle),
        about=About(
            "Values of states (PPO)", "values, and those of the older model", "returns of the same shape", shown="clip"
        ),
        arrays=("pred", "target", "old"),
        inner=(0, 0, 0),
        elementwise=True,
        admits_any_value=True,
        garbage=(ANYTHING,) * 3,
        variants=({}, {"clip": 1.0}),
        traced=("clip",),
        refuses=(option("clip", -0.1, (FLOATS,) * 3), option("clip", NAN, (FLOATS,) * 3)),
        stress=Stress(together(numbers((3,), -1e18, 1e18)), (4, 4), ({}, {"clip": 1.0}, {"clip": 1e10}), unit="inputs"),
        extremes=(
            Extreme(([1e18, 0.0], [0.0, 0.0], [1e18, 0.0]), {}, [0.5e36, 0]),
            Extreme(([1e4], [2e4], [0.0]), {}, [0.5 * 19999.8**2]),
            Extreme(([1e4], [2e4], [0.0]), {"clip": INF}, [0.5e8]),
        ),
        benchmark=Benchmark(plain_value),
    ),
    Record(
        jaxloss.kl_penalty,
        draw_log_probabilities,
        per_example(kl_oracle),
        about=About(
            "Policies, near a reference",
            "log-probabilities of sampled tokens (..., time), of the model and of the reference",
            "",
            shown="estimator, bound",
        ),
        arrays=("pred", "reference"),
        elementwise=True,
        variants=({}, {"estimator": "k1"}, {"estimator": "k2", "bound": 0.3}, {"bound": 0.3}),
        traced=("bound",),
        refuses=(
            option("bound", 0.0, (LIKELY, LIKELY)),
            Bad((LIKELY, LIKELY), {"estimator": "k4"}, "`estimator` must be one of k1, k2, k3, got 'k4'", ValueError),
        ),
        reports=tuple(above_0(name, position, 2) for position, name in enumerate(("pred", "reference"))),
        stress=Stress(
            together(numbers((2,), -80, 0)),
            (6, 6),
            ({}, {"estimator": "k1"}, {"estimator": "k2"}, {"bound": 10.0}),
            unit="inputs",
        ),
        extremes=(
            Extreme(([0.0, -1e4], [-1e4, -1e4]), {}, [1e4 - 1, 0]),
            Extreme(([-1e4, -INF, 0.0], [0.0, 0.0, -INF]), {"bound": 20.0}, [math.exp(20) - 21] * 2 + [19]),
            *(
                Extreme(([-1.0], [-1.0 + 2.0**-n]), {}, [2.0 ** (-2 * n - 1) + 2.0 ** (-3 * n) / 6])
                for n in (8, 16, 23)
            ),
        ),
        benchmark=Benchmark(plain_k3),
    ),
)
