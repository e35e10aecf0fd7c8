"""Records of `jaxloss.regression`."""

import math
from typing import Any

import numpy as np

import jaxloss
from tests.catalogue.common import FLOATS, option
from tests.catalogue.domains import LARGEST, apart, numbers, together
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


def draw_errors(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return rng.normal(size=batch), 2 * rng.normal(size=batch)


def smooth_l1_oracle(pred, target, beta=1.0):
    error = np.abs(pred - target)
    return np.where(error < beta, 0.5 * error**2 / (beta or 1.0), error - 0.5 * beta)


def huber_oracle(pred, target, delta=1.0):
    error = np.abs(pred - target)
    return np.where(error <= delta, 0.5 * error**2, delta * (error - 0.5 * delta))


def log_cosh_oracle(pred, target):
    error = np.abs(pred - target)
    return np.log(np.cosh(error))


def charbonnier_oracle(pred, target, scale=1.0):
    return np.sqrt(1 + ((pred - target) / scale) ** 2) - 1


def cauchy_oracle(pred, target, scale=1.0):
    return np.log1p(((pred - target) / scale) ** 2 / 2)


def geman_mcclure_oracle(pred, target, scale=1.0):
    square = ((pred - target) / scale) ** 2
    return 2 * square / (square + 4)


def welsch_oracle(pred, target, scale=1.0):
    return 1 - np.exp(-(((pred - target) / scale) ** 2) / 2)


def general_robust_oracle(pred, target, alpha=1.0, scale=1.0):
    limits = {2: lambda u: u / 2, 0: lambda u: np.log1p(u / 2), -INF: lambda u: 1 - np.exp(-u / 2)}
    square, b = ((pred - target) / scale) ** 2, abs(alpha - 2)
    if alpha in limits:
        return limits[alpha](square)
    return b / alpha * ((1 + square / b) ** (alpha / 2) - 1)


def tukey_oracle(pred, target, scale=4.685):
    z = (pred - target) / scale
    return (scale * (1 + 0 * z)) ** 2 / 6 * np.where(abs(z) < 1, 1 - (1 - z**2) ** 3, 1 + 0 * z)


def draw_positive(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    return 3 * rng.random(size=batch), 0.1 + 3 * rng.random(size=batch)


def msle_oracle(pred, target):
    return (np.log1p(pred) - np.log1p(target)) ** 2


def mape_oracle(pred, target, eps=1e-7):
    return 100 * abs(pred - target) / np.maximum(abs(target), eps)


def draw_quantiles(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """An array of quantiles has as many as the last axis of the batch."""
    pred, target = draw_errors(rng, batch, options)
    return pred, target[..., 0] if np.ndim(options.get("quantile", 0)) else target


def quantiles_fit(options: dict[str, Any], batch: tuple[int, ...]) -> bool:
    quantile = np.shape(options.get("quantile", 0.5))
    return batch[len(batch) - len(quantile) :] == quantile


def quantile_oracle(pred, target, quantile=0.5):
    quantile = np.asarray(quantile)
    error = (target[..., None] if quantile.ndim else target) - pred
    return np.maximum(quantile * error, (quantile - 1) * error)


def draw_gaussians(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    """A variance for each element; the variants have one for each row, with and without the last axis."""
    var = 0.7 + rng.random(size=batch)
    if batch and options.get("full"):
        var = var[..., :1]
    elif batch and "eps" in options:
        var = var[..., 0]
    return *draw_errors(rng, batch, options), var


def gaussian_oracle(pred, target, var, full=False, eps=1e-6, constant_at=None):
    """`constant_at`: where a variance is clamped, while its slope is that of one that is not."""
    if constant_at is not None:
        at_var = constant_at[2]
        var, eps = np.maximum(at_var, eps) + (var - at_var), 0
    var = np.maximum(var[..., None] if var.ndim < pred.ndim else var, eps) + 0 * pred
    return 0.5 * (np.log(var) + (pred - target) ** 2 / var) + (0.5 * math.log(2 * math.pi) if full else 0)


def draw_counts(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    pred = rng.normal(size=batch) if options.get("log_input", True) else 0.1 + rng.random(size=batch)
    return pred, rng.poisson(2.0, size=batch) + 0.1 + 0.5 * rng.random(size=batch)


def poisson_oracle(pred, target, log_input=True, full=False, eps=1e-8):
    values = np.exp(pred) - target * pred if log_input else pred - target * np.log(pred + eps)
    stirling = target * np.log(target) - target + 0.5 * np.log(2 * np.pi * target)
    return values + np.where(target > 1, stirling, 0) if full else values


def plain_smooth_l1(xp: Any, pred: Any, target: Any) -> Any:
    error = abs(pred - target)
    return xp.where(error < 1, 0.5 * error**2, error - 0.5).mean()


def plain_tukey(xp: Any, pred: Any, target: Any) -> Any:
    error = pred - target
    inside = 1 - (1 - (error / 4.685) ** 2) ** 3
    return 4.685**2 / 6 * xp.where(abs(error) < 4.685, inside, 1.0).mean()


def plain_quantile(xp: Any, pred: Any, target: Any) -> Any:
    error = target - pred
    return xp.maximum(0.9 * error, -0.1 * error).mean()


def plain_gaussian(xp: Any, pred: Any, target: Any, var: Any) -> Any:
    var = xp.maximum(var, 1e-6)
    return 0.5 * (xp.log(var) + (pred - target) ** 2 / var).mean()


PAIRS = together(numbers((2,)))

RECORDS = (
    Record(
        jaxloss.mse_loss,
        draw_errors,
        per_example(lambda pred, target: (pred - target) ** 2),
        about=About(
            "Regression",
            "values",
            "floats of the same shape",
            torch="MSELoss",
            optax="squared_error",
            keras="MeanSquaredError",
        ),
        elementwise=True,
        admits_any_value=True,
        unstored_sums=("bfloat16",),
        differentiable=(0, 1),
        stress=Stress(PAIRS, (4, 4)),
        extremes=(Extreme(([1e18, 0.0], [0.0, 0.0]), {}, [1e36, 0.0]),),
        benchmark=Benchmark(
            lambda xp, pred, target: ((pred - target) ** 2).mean(),
            optax=lambda losses, *arrays: losses.squared_error(*arrays).mean(),
            kernels=1.3,
        ),
    ),
    Record(
        jaxloss.l1_loss,
        draw_errors,
        per_example(lambda pred, target: np.abs(pred - target)),
        about=About(
            "Regression, outliers", "values", "floats of the same shape", torch="L1Loss", keras="MeanAbsoluteError"
        ),
        elementwise=True,
        admits_any_value=True,
        unstored_sums=("bfloat16",),
        differentiable=(0, 1),
        stress=Stress(PAIRS, (4, 4)),
        extremes=(Extreme(([1e38, 0.0, -INF], [0.0, 0.0, 0.0]), {}, [1e38, 0.0, INF]),),
        benchmark=Benchmark(lambda xp, pred, target: abs(pred - target).mean(), kernels=1.3),
    ),
    Record(
        jaxloss.smooth_l1_loss,
        draw_errors,
        per_example(smooth_l1_oracle),
        like="huber_loss",
        about=About("Regression, outliers", "values", "floats of the same shape", shown="beta", torch="SmoothL1Loss"),
        elementwise=True,
        admits_any_value=True,
        variants=({}, {"beta": 0.3}, {"beta": 0.0}),
        traced=("beta",),
        differentiable=(0, 1),
        refuses=(option("beta", -1.0), option("beta", NAN)),
        stress=Stress(PAIRS, (4, 4), ({}, {"beta": 0.3}, {"beta": 0.0}, {"beta": 1e-30}, {"beta": 1e30})),
        extremes=(
            Extreme(([1e38, 0.0, -INF], [0.0, 0.0, 0.0]), {}, [1e38, 0.0, INF]),
            Extreme(([0.0, 2.0], [0.0, 0.0]), {"beta": 0.0}, [0.0, 2.0]),
            Extreme(([0.0, 2.0], [0.0, 0.0]), {"beta": 1e-39}, [0.0, 2.0]),
        ),
        benchmark=Benchmark(plain_smooth_l1, kernels=1.3),
    ),
    Record(
        jaxloss.huber_loss,
        draw_errors,
        per_example(huber_oracle),
        about=About(
            "Regression, outliers",
            "values",
            "floats of the same shape",
            shown="delta",
            torch="HuberLoss",
            optax="huber_loss",
            keras="Huber",
        ),
        elementwise=True,
        admits_any_value=True,
        variants=({}, {"delta": 0.3}),
        traced=("delta",),
        differentiable=(0, 1),
        refuses=(option("delta", -1.0), option("delta", 0), option("delta", np.float32(-1))),
        stress=Stress(PAIRS, (4, 4), ({}, {"delta": 0.3}, {"delta": 1e-30}, {"delta": 1e30})),
        extremes=(Extreme(([1e37, 0.0, -INF], [0.0, 0.0, 0.0]), {"delta": 2.0}, [2e37, 0.0, INF]),),
        benchmark=Benchmark(
            plain_smooth_l1, optax=lambda losses, *arrays: losses.huber_loss(*arrays).mean(), kernels=1.3
        ),
    ),
    Record(
        jaxloss.log_cosh_loss,
        draw_errors,
        per_example(log_cosh_oracle),
        about=About(
            "Regression, outliers, smooth", "values", "floats of the same shape", optax="log_cosh", keras="LogCosh"
        ),
        elementwise=True,
        admits_any_value=True,
        differentiable=(0, 1),
        stress=Stress(PAIRS, (4, 4)),
        extremes=(
            Extreme(([1e38, 0.0, -INF, 1e4], [0.0, 0.0, 0.0, 0.0]), {}, [1e38, 0.0, INF, 1e4 - math.log(2)]),
            *(Extreme(([d], [0.0]), {}, [d**2 / 2 - d**4 / 12]) for d in (1e-1, 1e-2, 1e-4, 1e-8, 1e-15)),
        ),
        benchmark=Benchmark(
            lambda xp, pred, target: xp.log(xp.cosh(pred - target)).mean(),
            optax=lambda losses, *arrays: losses.log_cosh(*arrays).mean(),
        ),
    ),
    Record(
        jaxloss.charbonnier_loss,
        draw_errors,
        per_example(charbonnier_oracle),
        about=About("Regression, outliers, smooth", "values", "floats of the same shape", shown="scale"),
        elementwise=True,
        admits_any_value=True,
        variants=({}, {"scale": 0.3}),
        traced=("scale",),
        differentiable=(0, 1),
        refuses=(option("scale", -1.0), option("scale", 0)),
        stress=Stress(PAIRS, (4, 5), ({}, {"scale": 0.3}, {"scale": 1e-30}, {"scale": 1e30})),
        extremes=(
            Extreme(([1e38, 0.0, 1e-15], [0.0, 0.0, 0.0]), {}, [1e38, 0.0, 5e-31]),
            Extreme(([3e38, 1e-20], [-3e38, 0.0]), {"scale": 1e10}, [6e28, 0.0]),
        ),
        benchmark=Benchmark(lambda xp, pred, target: (xp.sqrt(1 + (pred - target) ** 2) - 1).mean()),
    ),
    Record(
        jaxloss.cauchy_loss,
        draw_errors,
        per_example(cauchy_oracle),
        like="charbonnier_loss",
        about=About("Regression, outliers, smooth", "values", "floats of the same shape", shown="scale"),
        elementwise=True,
        admits_any_value=True,
        variants=({}, {"scale": 0.3}),
        traced=("scale",),
        differentiable=(0, 1),
        refuses=(option("scale", -1.0), option("scale", 0)),
        stress=Stress(PAIRS, (5, 5), ({}, {"scale": 0.3}, {"scale": 1e-30}, {"scale": 1e30})),
        extremes=(
            Extreme(([3e38, 0.0, 1e-15], [-3e38, 0.0, 0.0]), {}, [2 * math.log(6e38) - math.log(2), 0.0, 5e-31]),
            Extreme(([1e38], [0.0]), {"scale": 1e-30}, [2 * 68 * math.log(10) - math.log(2)]),
        ),
        benchmark=Benchmark(lambda xp, pred, target: xp.log1p(0.5 * (pred - target) ** 2).mean()),
    ),
    Record(
        jaxloss.geman_mcclure_loss,
        draw_errors,
        per_example(geman_mcclure_oracle),
        like="charbonnier_loss",
        about=About(
            "Regression, outliers, smooth", "values", "floats of the same shape", shown="scale", note="at most 2"
        ),
        elementwise=True,
        admits_any_value=True,
        variants=({}, {"scale": 0.3}),
        traced=("scale",),
        differentiable=(0, 1),
        refuses=(option("scale", -1.0), option("scale", 0)),
        stress=Stress(PAIRS, (5, 8), ({}, {"scale": 0.3}, {"scale": 1e-30}, {"scale": 1e30})),
        extremes=(
            Extreme(([3e38, 0.0, 1e-15], [-3e38, 0.0, 0.0]), {}, [2.0, 0.0, 5e-31]),
            Extreme(([2e-15], [0.0]), {"scale": 1e-15}, [1.0]),
        ),
        benchmark=Benchmark(lambda xp, pred, target: (2 * (pred - target) ** 2 / ((pred - target) ** 2 + 4)).mean()),
    ),
    Record(
        jaxloss.welsch_loss,
        draw_errors,
        per_example(welsch_oracle),
        like="charbonnier_loss",
        about=About(
            "Regression, outliers, smooth", "values", "floats of the same shape", shown="scale", note="at most 1"
        ),
        elementwise=True,
        admits_any_value=True,
        variants=({}, {"scale": 0.3}),
        traced=("scale",),
        differentiable=(0, 1),
        refuses=(option("scale", -1.0), option("scale", 0)),
        stress=Stress(PAIRS, (5, 8), ({}, {"scale": 0.3}, {"scale": 1e-30}, {"scale": 1e30}), unit="inputs"),
        extremes=(
            Extreme(([3e38, 0.0, 1e-15], [-3e38, 0.0, 0.0]), {}, [1.0, 0.0, 5e-31]),
            Extreme(([1e-15], [0.0]), {"scale": 1e-15}, [-math.expm1(-0.5)]),
        ),
        benchmark=Benchmark(lambda xp, pred, target: (1 - xp.exp(-0.5 * (pred - target) ** 2)).mean()),
    ),
    Record(
        jaxloss.general_robust_loss,
        draw_errors,
        per_example(general_robust_oracle),
        about=About(
            "Regression, outliers, smooth",
            "values",
            "floats of the same shape",
            shown="alpha, scale",
            note="all of these",
        ),
        elementwise=True,
        admits_any_value=True,
        variants=({"alpha": 0.7, "scale": 0.8}, {"alpha": 0.0}, {"alpha": -INF}, {"alpha": 2.6, "scale": 1.5}),
        traced=("alpha", "scale"),
        differentiable=(0, 1),
        refuses=(option("scale", -1.0), option("scale", 0), option("alpha", NAN)),
        stress=Stress(
            PAIRS, (64, 64), ({"alpha": 1.0}, {"alpha": 0.0}, {"alpha": -INF}, {"alpha": 1.75}), unit="inputs"
        ),
        extremes=(
            Extreme(([1e38, 0.0, 1e-15], [0.0, 0.0, 0.0]), {}, [1e38, 0.0, 5e-31]),
            Extreme(([1e15, 3.0, 1e-15], [0.0, 0.0, 0.0]), {"alpha": 2.0}, [5e29, 4.5, 5e-31]),
            Extreme(
                ([3e38, 0.0, 1e-15], [-3e38, 0.0, 0.0]), {"alpha": 0.0}, [2 * math.log(6e38) - math.log(2), 0, 5e-31]
            ),
            Extreme(([3e38, 0.0, 1e-15], [-3e38, 0.0, 0.0]), {"alpha": -INF}, [1.0, 0.0, 5e-31]),
            Extreme(([2.0, 0.0, 1e-15], [0.0, 0.0, 0.0]), {"alpha": INF}, [math.expm1(2), 0.0, 5e-31]),
            Extreme(([3e38, 1.0], [-3e38, 0.0]), {"alpha": 1e-30}, [2 * math.log(6e38) - math.log(2), math.log(1.5)]),
        ),
        benchmark=Benchmark(lambda xp, pred, target: (xp.sqrt(1 + (pred - target) ** 2) - 1).mean()),
    ),
    Record(
        jaxloss.tukey_loss,
        draw_errors,
        per_example(tukey_oracle),
        about=About(
            "Regression, outliers, smooth", "values", "floats of the same shape", shown="scale", note="constant beyond"
        ),
        elementwise=True,
        admits_any_value=True,
        variants=({}, {"scale": 2.0}),
        traced=("scale",),
        differentiable=(0, 1),
        refuses=(option("scale", -1.0), option("scale", 0)),
        stress=Stress(PAIRS, (6, 8), ({"scale": 4.685}, {"scale": 0.3}, {"scale": 1e18}), unit="inputs"),
        extremes=(
            Extreme(([3e38, 0.0, 1e-15], [-3e38, 0.0, 0.0]), {}, [4.685**2 / 6, 0.0, 5e-31]),
            Extreme(([1e15, 3e20], [0.0, 0.0]), {"scale": 1e18}, [5e29, 1e36 / 6]),
        ),
        benchmark=Benchmark(plain_tukey),
    ),
    Record(
        jaxloss.msle_loss,
        draw_positive,
        per_example(msle_oracle),
        about=About(
            "Regression, relative errors",
            "values at least 0",
            "floats of the same shape, at least 0",
            keras="MeanSquaredLogarithmicError",
        ),
        elementwise=True,
        differentiable=(0, 1),
        reports=(
            Bad((FLOATS, -FLOATS), {}, "`target` must hold values at least 0, got values from -1"),
            Bad((-FLOATS, FLOATS), {}, "`pred` must hold values at least 0.*softplus"),
        ),
        stress=Stress(together(numbers((2,), 0)), (6, 6)),
        extremes=(
            Extreme(([3e38, 0.0, 0.0], [0.0, 3e38, 0.0]), {}, [math.log(3e38) ** 2, math.log(3e38) ** 2, 0.0]),
            Extreme(([1e-15, 1.0], [0.0, 1.0 + 2**-20]), {}, [1e-30, 2.0**-42]),
        ),
        benchmark=Benchmark(lambda xp, pred, target: ((xp.log1p(pred) - xp.log1p(target)) ** 2).mean()),
    ),
    Record(
        jaxloss.mape_loss,
        draw_errors,
        per_example(mape_oracle),
        about=About(
            "Regression, relative errors",
            "values",
            "floats of the same shape",
            shown="eps",
            keras="MeanAbsolutePercentageError",
        ),
        elementwise=True,
        admits_any_value=True,
        variants=({}, {"eps": 0.5}),
        traced=("eps",),
        differentiable=(0, 1),
        refuses=(option("eps", -1.0), option("eps", 0)),
        stress=Stress(PAIRS, (5, 8), ({"eps": 1e-7}, {"eps": 0.5})),
        extremes=(
            Extreme(([3e38, 0.0, 1.0], [-3e38, 0.0, 0.0]), {}, [200.0, 0.0, 1e9]),
            Extreme(([1e-20], [2e-20]), {"eps": 1e-30}, [50.0]),
        ),
        benchmark=Benchmark(lambda xp, pred, target: 100 * (abs(pred - target) / xp.maximum(abs(target), 1e-7)).mean()),
    ),
    Record(
        jaxloss.quantile_loss,
        draw_quantiles,
        per_example(quantile_oracle),
        about=About(
            "Regression, quantiles",
            "values, or (..., quantiles)",
            "floats of the same shape, or (...)",
            shown="quantile",
        ),
        elementwise=True,
        fits=quantiles_fit,
        variants=({}, {"quantile": 0.9}, {"quantile": [0.05, 0.5, 0.9, 0.99]}),
        traced=("quantile",),
        differentiable=(0, 1),
        refuses=(
            option("quantile", 1.5),
            option("quantile", -0.1),
            option("quantile", NAN),
            Bad((FLOATS, FLOATS), {"quantile": FLOATS[0]}, "`target` must .* of shape \\(3,\\).* lacks the last axis"),
            Bad((FLOATS, FLOATS[:, 0]), {"quantile": FLOATS[0, :3]}, "`quantile` must have one number for each entry"),
            Bad((FLOATS, FLOATS[:, 0]), {"quantile": FLOATS}, "`quantile` must have one number for each entry"),
            Bad((FLOATS, FLOATS[:, 0]), {"quantile": FLOATS[0] > 0}, "`quantile` must hold numbers"),
        ),
        reports=(
            Bad((FLOATS, FLOATS[:, 0]), {"quantile": 2 * FLOATS[0]}, "`quantile` must hold values in \\[0, 1\\]"),
        ),
        stress=Stress(PAIRS, (4, 4), ({}, {"quantile": 0.9}, {"quantile": 1.0})),
        extremes=(
            Extreme(([1e38, -1e38, 0.0], [0.0, 0.0, 0.0]), {"quantile": 0.25}, [0.75e38, 0.25e38, 0.0]),
            Extreme(([INF, -INF], [0.0, 0.0]), {"quantile": 1.0}, [0.0, INF]),
            Extreme(([[0.0, 0.0, 2.0]], [2.0]), {"quantile": [0.0, 1.0, 0.5]}, [[0.0, 2.0, 0.0]]),
        ),
        benchmark=Benchmark(plain_quantile, call=lambda *arrays: jaxloss.quantile_loss(*arrays, quantile=0.9)),
    ),
    Record(
        jaxloss.gaussian_nll_loss,
        draw_gaussians,
        per_example(gaussian_oracle),
        about=About(
            "Regression, with a variance",
            "means, and variances `var`",
            "floats of the same shape",
            torch="GaussianNLLLoss",
        ),
        arrays=("pred", "target", "var"),
        inner=(0, 0, 0),
        broadcast=(2,),
        variants=({}, {"full": True}, {"eps": 0.5}),
        traced=("eps",),
        differentiable=(0, 1, 2),
        garbage=((NAN, INF, -INF, 1e30), (NAN, INF, -INF, 1e30), (NAN, INF, -INF, 0.0, -1.0)),
        refuses=(
            option("eps", -1.0, (FLOATS,) * 3),
            Bad((FLOATS, FLOATS, FLOATS[0]), {}, "`var` must be floating, of shape \\(3, 4\\) or \\(1, 4\\) or"),
            Bad((FLOATS, FLOATS, np.bool_(True)), {}, "`var` must hold numbers"),
        ),
        reports=(Bad((FLOATS, FLOATS, -FLOATS), {}, "`var` must hold values at least 0, got values from -1"),),
        stress=Stress(
            together(numbers((2,)), numbers((), 0)),
            (4, 5),
            ({}, {"full": True}, {"eps": 0.5}),
            unit="inputs",
            clamped=True,
        ),
        extremes=(
            Extreme(([1.0, 3.0], [1.0, 1.0], [0.0, 0.0]), {}, [math.log(1e-6) / 2, math.log(1e-6) / 2 + 2e6]),
            Extreme(([1e25], [0.0], [1e30]), {}, [math.log(1e30) / 2 + 0.5e20]),
            Extreme(([-3.4e38], [2.5e37], [3.4e38]), {}, [math.log(3.4e38) / 2 + 0.5 * 3.65e38 * (3.65 / 3.4)]),
            Extreme(([[1.0], [2.0]], [[0.0], [0.0]], 4.0), {}, [[math.log(2) + 1 / 8], [math.log(2) + 1 / 2]]),
        ),
        benchmark=Benchmark(plain_gaussian),
    ),
    Record(
        jaxloss.poisson_nll_loss,
        draw_counts,
        per_example(poisson_oracle),
        about=About(
            "Counts",
            "log-rates, or rates with `log_input=False`",
            "floats of the same shape",
            torch="PoissonNLLLoss",
            keras="Poisson",
        ),
        elementwise=True,
        variants=({}, {"full": True}, {"log_input": False, "eps": 1e-2}),
        traced=("eps",),
        differentiable=(0, 1),
        torch_target=np.abs,
        refuses=(option("eps", -1.0),),
        reports=(
            Bad((FLOATS, -FLOATS), {}, "`target` must hold values at least 0"),
            Bad((-FLOATS, FLOATS), {"log_input": False}, "`pred` must hold values at least 0.*log_input=True"),
        ),
        stress=Stress(
            lambda options: apart(
                numbers((), -LARGEST, 200) if options.get("log_input", True) else numbers((), 0), numbers((), 0, 1e36)
            )(options),
            (5, 5),
            ({}, {"full": True}, {"log_input": False, "eps": 1e-2}),
            unit="inputs",
        ),
        extremes=(
            Extreme(([-INF, -1e4, -1e4, 0.0], [0.0, 0.0, 1.0, 0.0]), {"full": True}, [0, 0, 1e4, 1]),
            Extreme(([0.0, 0.0], [0.0, 1.0]), {"log_input": False}, [0, -math.log(1e-8)]),
            Extreme(([0.0, 1.0], [0.0, 0.0]), {"log_input": False, "eps": 0.0}, [0, 1]),
        ),
        benchmark=Benchmark(lambda xp, pred, target: (xp.exp(pred) - target * pred).mean()),
    ),
)
