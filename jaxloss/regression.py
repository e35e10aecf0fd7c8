"""Regression: continuous targets."""

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._contracts.arrays import nan_outside, single_precision
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.safe import nan_unless, safe_multiply, stable_divide
from jaxloss._numerics.xla import FUSES_CASTS_INTO_SUMS, between_divisions, fuse_whole
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction


@compiled_when_eager
def mse_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Squared error, `(pred - target)^2`.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: unknown `reduction`.

    PyTorch: `torch.nn.functional.mse_loss`, `torch.nn.MSELoss`.

    Reference: C. F. Gauss, Theoria combinationis observationum erroribus minimis obnoxiae, 1823.

    >>> mse_loss(jnp.array([2.5, 0.0]), jnp.array([3.0, -0.5]))
    Array(0.25, dtype=float32)
    """
    call = Call("mse_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    return call.reduce(_squared_error(pred, target))


@compiled_when_eager
def l1_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Absolute error, `|pred - target|`; the gradient at 0 is 0.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: unknown `reduction`.

    PyTorch: `torch.nn.functional.l1_loss`, `torch.nn.L1Loss`.

    Reference: P.-S. Laplace, Sur quelques points du système du monde, 1793.

    >>> l1_loss(jnp.array([2.5, 0.0]), jnp.array([3.0, -0.5]))
    Array(0.5, dtype=float32)
    """
    call = Call("l1_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    return call.reduce(_absolute_error(pred, target))


@compiled_when_eager
def smooth_l1_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    beta: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Squared error near 0, absolute error beyond, with d = pred - target:

        0.5 d^2 / beta    if |d| < beta
        |d| - 0.5 beta    otherwise

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        beta: where the two meet, at least 0, in the unit of `pred`; 0 is `l1_loss`. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `beta` below 0, or an unknown `reduction`.

    PyTorch: `torch.nn.functional.smooth_l1_loss`, `torch.nn.SmoothL1Loss`.

    Reference: R. Girshick, Fast R-CNN, arXiv:1504.08083.

    >>> smooth_l1_loss(jnp.array([2.5, 0.0]), jnp.array([3.0, 2.0]), reduction="none")
    Array([0.125, 1.5  ], dtype=float32)
    """
    call = Call("smooth_l1_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    error = _difference(pred, target)
    beta = call.nonnegative(beta=beta)
    return call.reduce(_smooth_l1(error, beta))


@compiled_when_eager
def huber_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    delta: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Squared error near 0, a multiple of the absolute error beyond, with d = pred - target:

        0.5 d^2                     if |d| < delta
        delta (|d| - 0.5 delta)     otherwise

    It is `delta` times `smooth_l1_loss` with `beta = delta`.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        delta: where the two meet, and the largest gradient; greater than 0, in the unit of `pred`. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `delta` not above 0, or an unknown `reduction`.

    PyTorch: `torch.nn.functional.huber_loss`, `torch.nn.HuberLoss`.

    Reference: P. J. Huber, Robust Estimation of a Location Parameter, 1964, doi:10.1214/aoms/1177703732.

    >>> huber_loss(jnp.array([2.5, 0.0]), jnp.array([3.0, 4.0]), delta=2.0, reduction="none")
    Array([0.125, 6.   ], dtype=float32)
    """
    call = Call("huber_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    half_error = _half_difference(pred, target)
    delta = call.positive(delta=delta)
    return call.reduce(_huber(half_error, delta))


@compiled_when_eager
def log_cosh_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Half the squared error near 0, absolute error beyond, and smooth to every order, with d = pred - target:

        loss = log cosh d

    It never overflows: far out it is `|d| - log 2`. Its first derivative is tanh d, its second 1 - tanh^2 d.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: unknown `reduction`.

    PyTorch: none.

    Reference: R. A. Saleh and A. K. M. E. Saleh, Statistical Properties of the log-cosh Loss Function Used in Machine
    Learning, arXiv:2208.04564.

    >>> print(log_cosh_loss(jnp.array([2.5, 0.0]), jnp.array([3.0, 100.0]), reduction="none").round(4))
    [ 0.1201 99.3069]
    """
    call = Call("log_cosh_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    return call.reduce(fuse_whole(_log_cosh(_difference(pred, target))))


@compiled_when_eager
def charbonnier_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    scale: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Half the squared error near 0, absolute error beyond, smooth to every order, with z = (pred - target) / scale:

        loss = sqrt(1 + z^2) - 1

    It is `general_robust_loss` with `alpha = 1`; its slope is at most 1/scale.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        scale: where the two meet; greater than 0, in the unit of `pred`. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `scale` not above 0, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: `kornia.losses.charbonnier_loss` has `scale = 1`. BasicSR's CharbonnierLoss is sqrt(d^2 + eps), which is
    `scale` times this loss, and `scale`, with scale = sqrt(eps). The pseudo-Huber loss is scale^2 times this one.

    Reference: P. Charbonnier, L. Blanc-Feraud, G. Aubert and M. Barlaud, Two Deterministic Half-Quadratic
    Regularization Algorithms for Computed Imaging, 1994, doi:10.1109/ICIP.1994.413553.

    >>> print(charbonnier_loss(jnp.array([0.0, 1.5]), jnp.array([0.0, 0.0]), scale=2.0, reduction="none"))
    [0.   0.25]
    """
    call = Call("charbonnier_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    half_error = _half_difference(pred, target)
    scale = call.positive(scale=scale)
    return call.reduce(fuse_whole(_charbonnier(half_error, 0.5 * scale)))


@compiled_when_eager
def cauchy_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    scale: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Half the squared error near 0, its logarithm far out, with z = (pred - target) / scale:

        loss = log(1 + z^2 / 2)

    It is `general_robust_loss` with `alpha = 0`, and but for a constant the negative log-likelihood of Student's
    distribution with one degree of freedom. Its slope is largest at |z| = sqrt(2), and falls to 0 beyond.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        scale: beyond which an error counts as an outlier; greater than 0, in the unit of `pred`. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `scale` not above 0, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: `kornia.losses.cauchy_loss` has `scale = 1`. The Cauchy loss of `scipy.optimize.least_squares` is
    log(1 + z^2).

    Reference: M. J. Black and P. Anandan, The Robust Estimation of Multiple Motions, 1996, doi:10.1006/cviu.1996.0006.

    >>> print(cauchy_loss(jnp.array([0.0, 100.0]), jnp.array([0.0, 0.0]), reduction="none").round(4))
    [0.     8.5174]
    """
    call = Call("cauchy_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    half_error = _half_difference(pred, target)
    scale = call.positive(scale=scale)
    return call.reduce(fuse_whole(_log1p_square(half_error, math.sqrt(0.5) * scale)))


@compiled_when_eager
def geman_mcclure_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    scale: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Half the squared error near 0, and never more than 2, with z = (pred - target) / scale:

        loss = 2 z^2 / (z^2 + 4)

    It is `general_robust_loss` with `alpha = -2`. Far out its slope vanishes: an error of many scales teaches nothing.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        scale: beyond which an error counts as an outlier; greater than 0, in the unit of `pred`. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `scale` not above 0, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: `kornia.losses.geman_mcclure_loss` has `scale = 1`. Others write z^2 / (z^2 + 1), which is half of this
    loss at half the scale.

    Reference: S. Geman and D. E. McClure, Statistical Methods for Tomographic Image Reconstruction, 1987; in this form
    J. T. Barron, A General and Adaptive Robust Loss Function, arXiv:1701.03077.

    >>> print(geman_mcclure_loss(jnp.array([0.0, 2.0, 1e30]), jnp.zeros(3), reduction="none"))
    [0. 1. 2.]
    """
    call = Call("geman_mcclure_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    half_error = _half_difference(pred, target)
    scale = call.positive(scale=scale)
    return call.reduce(fuse_whole(_geman_mcclure(half_error, scale)))


@compiled_when_eager
def welsch_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    scale: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Half the squared error near 0, and never more than 1, with z = (pred - target) / scale:

        loss = 1 - exp(-z^2 / 2)

    It is `general_robust_loss` with `alpha = -inf`. An error of more than a few scales has no gradient.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        scale: beyond which an error counts as an outlier; greater than 0, in the unit of `pred`. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `scale` not above 0, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: `kornia.losses.welsch_loss` has `scale = 1`. It is the Leclerc loss; maximising the correntropy is
    minimising it.

    Reference: J. E. Dennis and R. E. Welsch, Techniques for Nonlinear Least Squares and Robust Regression, 1978,
    doi:10.1080/03610917808812083.

    >>> print(welsch_loss(jnp.array([0.0, 1.0, 1e30]), jnp.zeros(3), reduction="none").round(4))
    [0.     0.3935 1.    ]
    """
    call = Call("welsch_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    half_error = _half_difference(pred, target)
    scale = call.positive(scale=scale)
    return call.reduce(fuse_whole(_welsch(half_error, 0.5 * scale)))


@compiled_when_eager
def general_robust_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    alpha: Real[ArrayLike, ""] = 1.0,
    scale: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""From the squared error to losses that ignore outliers, with z = (pred - target) / scale, b = abs(alpha - 2):

        loss = b / alpha ((1 + z^2 / b)^(alpha/2) - 1)

    and its limits: z^2 / 2 at `alpha = 2`, log(1 + z^2 / 2) at 0, 1 - exp(-z^2 / 2) at -inf, exp(z^2 / 2) - 1 at inf.
    All are z^2 / 2 near 0, and the lower `alpha` is, the less an outlier counts. `charbonnier_loss` is its case of
    `alpha = 1`, `cauchy_loss` 0, `geman_mcclure_loss` -2 and `welsch_loss` -inf; their own formulas keep more digits
    where z is many orders of magnitude above 1.

    The derivative to `alpha` is the true one everywhere: finite at 0, 0 at infinities. At 2 both sides grow as
    -z^2 log(b) / 4, and it is inf unless z = 0: where `alpha` is learned, keep it off 2, as by a sigmoid.
    Near 0 it is z^6 / (24 b^2), a difference of larger terms, right to a few roundings of loss / b.

    The loss alone is least for the lowest `alpha` and the largest `scale`: to learn them, add the logarithm of the
    distribution's normaliser, or choose them on data held out.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        alpha: any number, -inf and inf included. May be traced.
        scale: where the loss leaves the squared error; greater than 0, in the unit of `pred`. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `alpha` that is NaN, or `scale` not above 0, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: `lossfun` of J. T. Barron's robust_loss_pytorch and robust_loss_jax, whose derivatives to `alpha` are 0
    at 0 and at 2.

    Reference: J. T. Barron, A General and Adaptive Robust Loss Function, arXiv:1701.03077.

    >>> for alpha in (2.0, 1.0, 0.0, -2.0, -jnp.inf):
    ...     print(alpha, general_robust_loss(jnp.array(10.0), jnp.array(0.0), alpha=alpha).round(4))
    2.0 50.0
    1.0 9.0499
    0.0 3.9318
    -2.0 1.9231
    -inf 1.0
    """
    call = Call("general_robust_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    half_error = _half_difference(pred, target)
    alpha = call.any_number(alpha=alpha)
    scale = call.positive(scale=scale)
    return call.reduce(fuse_whole(_general_robust(half_error, alpha, scale)))


@compiled_when_eager
def tukey_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    scale: Real[ArrayLike, ""] = 4.685,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Tukey's biweight: half the squared error near 0, constant beyond `scale`, with d = pred - target, z = d / scale:

        scale^2 / 6 (1 - (1 - z^2)^3)    if |z| < 1
        scale^2 / 6                      otherwise

    Its slope is d (1 - z^2)^2, and 0 beyond `scale`: an outlier has no gradient. The default is 95 % efficient where
    errors are normal of deviation 1: divide `pred` and `target` by the deviation, or multiply `scale` by it.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        scale: beyond which the loss is constant; greater than 0, in the unit of `pred`. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `scale` not above 0, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: `statsmodels.robust.norms.TukeyBiweight`, its `c` is `scale`.

    Reference: A. E. Beaton and J. W. Tukey, The Fitting of Power Series, Meaning Polynomials, Illustrated on
    Band-Spectroscopic Data, 1974, doi:10.1080/00401706.1974.10489171.

    >>> print(tukey_loss(jnp.array([0.1, 3.0, 1e30]), jnp.zeros(3), scale=3.0, reduction="none").round(4))
    [0.005 1.5   1.5  ]
    """
    call = Call("tukey_loss", sample_weight, where, reduction)
    pred, target = call.elementwise_as_given(pred=pred, target=target)
    half_error = _half_difference(pred, target)
    scale = call.positive(scale=scale)
    return call.reduce(fuse_whole(_tukey(half_error, scale)))


@compiled_when_eager
def msle_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Squared difference of logarithms, the relative error of numbers that are at least 0:

        loss = (log(1 + pred) - log(1 + target))^2

    A prediction that is too low costs more than one that is too high by as much. It keeps its digits where the two
    nearly agree. A number below 0 gives NaN, it is not clipped.

    Args:
        pred: predictions, at least 0, floating.
        target: what they should be, at least 0, floating, of exactly the shape of `pred`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a negative `pred` or `target`.

    PyTorch: none.

    Elsewhere: `keras.losses.MeanSquaredLogarithmicError` takes 1e-7 for what is below it; scikit-learn's
    `mean_squared_log_error` refuses negative numbers.

    Reference: C. Tofallis, A Better Measure of Relative Prediction Accuracy for Model Selection and Model Estimation,
    2015, doi:10.1057/jors.2014.103.

    >>> print(msle_loss(jnp.array([0.0, 99.0]), jnp.array([0.0, 9.0]), reduction="none").round(4))
    [0.     5.3019]
    """
    call = Call("msle_loss", sample_weight, where, reduction)
    pred, target = call.elementwise(pred=pred, target=target)
    pred = call.nonnegative_values("An output of any sign wants a softplus.", pred=pred)
    target = call.nonnegative_values(target=target)
    return call.reduce(fuse_whole(_squared_log_ratio(pred, target)))


@compiled_when_eager
def mape_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    eps: Real[ArrayLike, ""] = 1e-7,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Absolute percentage error, in per cent of the target:

        loss = 100 |pred - target| / max(|target|, eps)

    A target near 0 outweighs all others. Targets smaller than `eps` count as `eps`. The gradient at 0 is 0.

    Args:
        pred: predictions, floating.
        target: what they should be, floating, of exactly the shape of `pred`.
        eps: the least size of a target, greater than 0, in the unit of `target`. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `eps` not above 0, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: `keras.losses.MeanAbsolutePercentageError` is this loss, with `eps = 1e-7`. scikit-learn's
    `mean_absolute_percentage_error` (an eps of 2.2e-16) and torchmetrics' `MeanAbsolutePercentageError` (1.17e-6) are
    fractions, not per cent.

    Reference: R. J. Hyndman and A. B. Koehler, Another Look at Measures of Forecast Accuracy, 2006,
    doi:10.1016/j.ijforecast.2006.03.001.

    >>> mape_loss(jnp.array([2.5, 8.0]), jnp.array([2.0, -4.0]), reduction="none")
    Array([ 25., 300.], dtype=float32)
    """
    call = Call("mape_loss", sample_weight, where, reduction)
    pred, target = call.elementwise(pred=pred, target=target)
    eps = call.positive(eps=eps)
    return call.reduce(fuse_whole(_percentage_error(pred, target, eps)))


@compiled_when_eager
def quantile_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "..."],
    *,
    quantile: Real[ArrayLike, ""] | Real[ArrayLike, " quantiles"] = 0.5,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Pinball loss, least where `pred` is the q-quantile of the target, with d = target - pred:

        loss = max(q d, (q - 1) d)

    At d = 0 the derivative is that of the middle of the kink, q - 1/2: it is 0 for the median, whose loss is half of
    `l1_loss`.

    Args:
        pred: predicted quantiles, floating.
        target: what was observed, floating: of exactly the shape of `pred`, or, for an array of quantiles, of its shape
            without the last axis.
        quantile: q in [0, 1], or a 1-d array of them, one for each entry of the last axis of `pred`. 0.9 punishes
            predictions that are too low nine times as much as those too high. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `quantile` outside [0, 1], or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a `quantile` outside [0, 1] that is traced or in an array.

    PyTorch: none.

    Reference: R. Koenker and G. Bassett, Regression Quantiles, 1978, doi:10.2307/1913643.

    >>> pred, target = jnp.array([[1.0, 2.0, 4.0]]), jnp.array([3.0])
    >>> print(quantile_loss(pred, target, quantile=jnp.array([0.1, 0.5, 0.9]), reduction="none").round(1))
    [[0.2 0.5 0.1]]
    """
    call = Call("quantile_loss", sample_weight, where, reduction)
    if call.array("quantile", quantile).ndim == 0:
        pred, target = call.elementwise(pred=pred, target=target)
        q = call.fraction(quantile=quantile)
    else:
        pred, target, q = _many_quantiles(call, pred, target, quantile)
    return call.reduce(fuse_whole(_pinball(pred, target, q)))


@compiled_when_eager
def gaussian_nll_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    var: Float[ArrayLike, "..."] | Real[ArrayLike, ""],
    *,
    full: bool = False,
    eps: Real[ArrayLike, ""] = 1e-6,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Negative log-likelihood of the target under a normal distribution of predicted mean and variance:

        v    = max(var, eps)
        loss = 0.5 (log v + (pred - target)^2 / v)        + 0.5 log(2 pi) if full

    `var` gets the gradient of v, even below `eps`, as in PyTorch: a variance that fell too low is driven up again.

    Args:
        pred: predicted means, floating.
        target: what was observed, floating, of exactly the shape of `pred`.
        var: predicted variances, not standard deviations, at least 0, in the squared unit of `pred`; floating, of the
            shape of `pred`, or with a 1 on one axis, along which they are shared, or without the last axis, for one
            variance per row; or one number, which may be traced. A negative variance gives NaN in value and gradient.
        full: add the constant, which makes the loss a likelihood and changes no gradient.
        eps: the least variance, at least 0, in the unit of `var`. May be traced; no gradient flows to it.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, a negative variance.

    PyTorch: `torch.nn.functional.gaussian_nll_loss`, `torch.nn.GaussianNLLLoss`.

    Reference: D. A. Nix and A. S. Weigend, Estimating the Mean and Variance of the Target Probability Distribution,
    1994, doi:10.1109/ICNN.1994.374138.

    >>> pred, target, var = jnp.array([2.5, 0.0]), jnp.array([3.0, 2.0]), jnp.array([0.25, 4.0])
    >>> print(f"{gaussian_nll_loss(pred, target, var):.4f}")
    0.5000
    """
    call = Call("gaussian_nll_loss", sample_weight, where, reduction)
    pred, target = call.elementwise(pred=pred, target=target)
    (var,) = call.visible(1.0, _variance(call, pred, var))
    var = call.nonnegative_values("For a log-variance pass its exponential.", var=var)
    eps = call.nonnegative(eps=eps)
    values = _gaussian_nll(pred, target, _at_least(var, eps))
    return call.reduce(fuse_whole(values + 0.5 * math.log(2 * math.pi) if full else values))


@compiled_when_eager
def poisson_nll_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    log_input: bool = True,
    full: bool = False,
    eps: Real[ArrayLike, ""] = 1e-8,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Negative log-likelihood of counts y under a Poisson distribution, of predicted log-rate or rate x:

        loss = exp(x) - y x              if log_input
        loss = x - y log(x + eps)        otherwise
               + y log y - y + 0.5 log(2 pi y) if full and y > 1

    The full loss adds Stirling's approximation of log y!, which changes no gradient of `pred` and is left out for a y
    of 0 or 1, where log y! is 0. A count of 0 at a rate of 0 contributes 0, even with `eps=0` or a log-rate of -inf.

    Args:
        pred: predicted log-rates, or rates, at least 0, if not `log_input`; floating.
        target: observed counts, at least 0, floating, of exactly the shape of `pred`.
        log_input: whether `pred` holds logarithms.
        full: add Stirling's approximation.
        eps: keeps the logarithm of a rate of 0 finite, at least 0, in the unit of the rate; not used if `log_input`.
            May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number `eps` below 0, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, negative counts, and negative rates if not `log_input`.

    PyTorch: `torch.nn.functional.poisson_nll_loss`, `torch.nn.PoissonNLLLoss`.

    Reference: J. A. Nelder and R. W. M. Wedderburn, Generalized Linear Models, 1972, doi:10.2307/2344614.

    >>> print(poisson_nll_loss(jnp.array([0.0, 1.0]), jnp.array([2.0, 3.0]), reduction="none").round(4))
    [ 1.     -0.2817]
    """
    call = Call("poisson_nll_loss", sample_weight, where, reduction)
    pred, target = call.elementwise("Cast it: target.astype(jnp.float32).", fill=1.0, pred=pred, target=target)
    eps = call.nonnegative(eps=eps)
    target = call.nonnegative_values(target=target)

    if log_input:
        rate, log_rate = _exp(pred), pred
    else:
        pred = call.nonnegative_values("For log-rates use log_input=True.", pred=pred)
        rate, log_rate = pred, jnp.log(jnp.where((target == 0) & (pred + eps == 0), 1.0, pred + eps))
    values = rate - safe_multiply(target, log_rate)
    if full:
        many = jnp.where(target > 1, target, 1.0)
        likelihood = rate + many * (jnp.log(many) - 1 - log_rate) + 0.5 * jnp.log(2 * math.pi * many)
        values = jnp.where(target > 1, likelihood, values)
    return call.reduce(fuse_whole(values))


@with_derivatives(jnp.exp)
def _exp(value: Array) -> Array:
    return jnp.exp(value)


def _difference(pred: Array, target: Array) -> Array:
    return single_precision(pred) - single_precision(target)


def _of_error(derivative: Callable[[Array], Array], value: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    """A function of the error that reads both arrays as they are given: XLA stores neither the error nor the value."""

    @with_derivatives(
        lambda pred, target: derivative(_difference(pred, target)),
        lambda pred, target: -derivative(_difference(pred, target)),
    )
    def of_error(pred: Array, target: Array) -> Array:
        values = value(_difference(pred, target))
        return values if pred.dtype == values.dtype or FUSES_CASTS_INTO_SUMS else fuse_whole(values)

    return of_error


_squared_error = _of_error(lambda error: 2 * error, jnp.square)
_absolute_error = _of_error(jnp.sign, jnp.abs)


def _smooth_l1_derivative(error: Array, beta: Array | float) -> Array:
    sharp = beta < jnp.finfo(error.dtype).tiny
    return jnp.where(sharp, jnp.sign(error), jnp.clip(error / jnp.where(sharp, 1.0, beta), -1.0, 1.0))


@with_derivatives(_smooth_l1_derivative, lambda error, beta: -0.5 * jnp.square(_smooth_l1_derivative(error, beta)))
def _smooth_l1(error: Array, beta: Array | float) -> Array:
    size = jnp.abs(error)
    near = size < beta
    return jnp.where(near, 0.5 * size * (size / jnp.where(near, beta, 1.0)), size - 0.5 * beta)


@with_derivatives(
    lambda half, delta: 2 * jnp.clip(2 * half, -delta, delta),
    lambda half, delta: jax.nn.relu(2 * jnp.abs(half) - delta),
)
def _huber(half: Array, delta: Array | float) -> Array:
    size = jnp.abs(half)
    return jnp.where(2 * size < delta, 2 * jnp.square(half), 2 * (delta * (size - 0.25 * delta)))


@with_derivatives(jnp.tanh)
def _log_cosh(error: Array) -> Array:
    # cosh d is exp(|d|) (1 + u + u^2 / 2) with u = exp(-|d|) - 1; near 0 its series keeps the digits.
    size = jnp.abs(error)
    near = size < 1
    square, excess = jnp.square(size), 0.0
    for power in range(18, 0, -2):
        excess = (1 + excess) * square * (1 / (power * (power - 1)))
    u = jnp.expm1(-size)
    return jnp.where(near, 0.0, size) + jnp.log1p(jnp.where(near, excess, u + 0.5 * jnp.square(u)))


def _half_difference(pred: Array, target: Array) -> Array:
    """Half the error, which never overflows."""
    return 0.5 * single_precision(pred) - 0.5 * single_precision(target)


def _is_far(half: Array, unit: Array | float) -> Array:
    """Where 1 + y^2 is y^2, with y = half / unit; the square overflows soon after."""
    return jnp.abs(half / unit) > 0.5 * math.sqrt(jnp.finfo(half.dtype).max)


# Sine, cosine and one over the hypotenuse of a right triangle, whose legs are half the error and the unit. Formulas of
# them neither overflow nor underflow before their result does, and neither do their derivatives.


def _inverse_root(half: Array, unit: Array | float) -> Array:
    """1 / sqrt(1 + y^2) with y = half / unit, but 1 where y is far."""
    return 1 / jnp.sqrt(1 + jnp.square(jnp.where(_is_far(half, unit), 0.0, half / unit)))


def _sine_by_half(half: Array, unit: Array | float) -> Array:
    return jnp.square(_cosine(half, unit)) * _inverse_length(half, unit)


def _sine_by_unit(half: Array, unit: Array | float) -> Array:
    return -_sine(half, unit) * _cosine(half, unit) * _inverse_length(half, unit)


def _cosine_by_unit(half: Array, unit: Array | float) -> Array:
    return jnp.square(_sine(half, unit)) * _inverse_length(half, unit)


def _inverse_length_by_half(half: Array, unit: Array | float) -> Array:
    return -_sine(half, unit) * jnp.square(_inverse_length(half, unit))


def _inverse_length_by_unit(half: Array, unit: Array | float) -> Array:
    return -_cosine(half, unit) * jnp.square(_inverse_length(half, unit))


@with_derivatives(
    _sine_by_half,
    _sine_by_unit,
)
def _sine(half: Array, unit: Array | float) -> Array:
    """y / sqrt(1 + y^2) with y = half / unit."""
    return jnp.where(_is_far(half, unit), jnp.sign(half), half / unit * _inverse_root(half, unit))


@with_derivatives(_sine_by_unit, _cosine_by_unit)  # The sine's to unit is the cosine's to half.
def _cosine(half: Array, unit: Array | float) -> Array:
    """1 / sqrt(1 + y^2) with y = half / unit."""
    far = _is_far(half, unit)
    return jnp.where(far, unit / jnp.where(far, jnp.abs(half), 1.0), _inverse_root(half, unit))


@with_derivatives(
    _inverse_length_by_half,
    _inverse_length_by_unit,
)
def _inverse_length(half: Array, unit: Array | float) -> Array:
    """1 / sqrt(half^2 + unit^2)"""
    far = _is_far(half, unit)
    return jnp.where(far, 1 / jnp.where(far, jnp.abs(half), 1.0), _inverse_root(half, unit) * (1 / unit))


@with_derivatives(
    lambda half, unit: stable_divide(_sine(half, unit), unit),
    lambda half, unit: -_sine(half, unit) * stable_divide(between_divisions(stable_divide(half, unit)), unit),
)
def _charbonnier(half: Array, unit: Array | float) -> Array:
    """sqrt(1 + y^2) - 1 with y = half / unit."""
    return half / unit * (_sine(half, unit) / (1 + _cosine(half, unit)))


@with_derivatives(
    lambda half, unit: 2 * _sine(half, unit) * _inverse_length(half, unit),
    lambda half, unit: -2 * stable_divide(jnp.square(_sine(half, unit)), unit),
)
def _log1p_square(half: Array, unit: Array | float) -> Array:
    """log(1 + y^2) with y = half / unit, also where y^2 or y overflows: there it is four times log(sqrt(y))."""
    far, size = _is_far(half, unit), jnp.abs(half)
    logarithm = jnp.log1p(jnp.where(far, jnp.sqrt(size) / jnp.sqrt(unit), jnp.square(half / unit)))
    return jnp.where(far, 4 * logarithm, logarithm)


def _geman_mcclure_derivative(half: Array, unit: Array | float) -> Array:
    """4 y / (1 + y^2)^2 / unit. XLA:CPU would store it as sines and cosines, or with the 4 outside."""
    far = _is_far(half, unit)
    y = jnp.where(far, 0.0, stable_divide(half, unit))
    weight = 1 / (1 + jnp.square(y))
    inverse = 1 / jnp.where(far, half, 1.0)
    cotangent = unit * inverse
    return jnp.where(far, 4 * cotangent * (cotangent * inverse), 4 * y * weight * stable_divide(weight, unit))


@with_derivatives(
    _geman_mcclure_derivative,
    lambda half, unit: -4 * _sine(half, unit) * _cosine(half, unit) * (_sine(half, unit) * _inverse_length(half, unit)),
)
def _geman_mcclure(half: Array, unit: Array | float) -> Array:
    """2 y^2 / (1 + y^2) with y = half / unit."""
    square = jnp.square(half / unit)
    return jnp.where(_is_far(half, unit), 2.0, 2 * square * (1 / (1 + square)))


def _bounded_ratio(half: Array, unit: Array | float) -> Array:
    """half / unit, no larger than what has a square."""
    largest = 0.5 * math.sqrt(jnp.finfo(half.dtype).max)
    return jnp.clip(stable_divide(half, unit), -largest, largest)


def _welsch_derivative(half: Array, unit: Array | float) -> Array:
    z = _bounded_ratio(half, unit)
    root = jnp.exp(-0.25 * jnp.square(z))  # Of the weight, which may underflow where the derivative does not.
    return stable_divide(z * root, unit) * root


@with_derivatives(_welsch_derivative, lambda half, unit: -_bounded_ratio(half, unit) * _welsch_derivative(half, unit))
def _welsch(half: Array, unit: Array | float) -> Array:
    return -jnp.expm1(-0.5 * jnp.square(_bounded_ratio(half, unit)))


class _Shape(NamedTuple):
    """What the general robust loss and its derivatives have in common, all of it finite."""

    half_z: Array  # As z itself may overflow where the derivative does not.
    sign: Array  # Of alpha - 2.
    b: Array  # |alpha - 2|
    slope: Array  # alpha / b
    g: Array  # b log(1 + z^2 / b), which is z^2 for a large b.

    @property
    def exponent(self) -> Array:
        """(1 + z^2 / b)^(alpha / 2) is its exponential."""
        return 0.5 * self.slope * self.g

    @property
    def root(self) -> Array:
        """Of exp(sign g / 2), which times z is the derivative to z; it may underflow where that does not."""
        return jnp.exp(0.25 * self.sign * self.g)


def _shape(half: Array, alpha: Array | float, scale: Array | float) -> _Shape:
    largest = float(jnp.finfo(half.dtype).max)
    alpha = jnp.clip(jnp.asarray(alpha, half.dtype), -largest, largest)
    # At alpha = 2 the loss is z^2 / 2 with any b. A large one keeps the digits, and alpha / b a normal number.
    b = jnp.where(alpha == 2, largest / 8, jnp.abs(alpha - 2))
    half_z = jnp.clip(stable_divide(half, jnp.asarray(scale, half.dtype)), -largest, largest)
    unit = jnp.minimum(0.5 * scale * jnp.sqrt(b), largest)
    is_square = jnp.square(half / unit) < jnp.finfo(half.dtype).eps
    g = jnp.where(is_square, 4 * jnp.square(half_z), b * _log1p_square(half, unit))
    return _Shape(half_z, jnp.sign(alpha - 2), b, alpha / b, jnp.minimum(g, largest))


def _general_robust_derivative(half: Array, alpha: Array | float, scale: Array | float) -> Array:
    shape = _shape(half, alpha, scale)
    return shape.half_z * shape.root * (shape.root * (4 / jnp.asarray(scale, half.dtype)))


def _general_robust_derivative_of_alpha(half: Array, alpha: Array | float, scale: Array | float) -> Array:
    """(t + sign (loss - z loss' / 2)) / b, where t is the derivative of (e^x - 1) / slope to slope, times b."""
    shape = _shape(half, alpha, scale)
    x = shape.exponent
    near = jnp.abs(x) < 1
    small = jnp.where(near, x, 0.0)
    series = jnp.zeros_like(x)
    for n in range(18, -1, -1):
        series = series * small + (n + 1) / math.factorial(n + 2)
    slope = jnp.where(near, 1.0, shape.slope)
    far = (jnp.exp(x) * (x - 1) + 1) / jnp.square(slope)
    of_slope = jnp.where(near, jnp.square(0.5 * shape.g) * series, far)
    value = _general_robust(half, alpha, scale)
    derivative = (of_slope + shape.sign * (value - 2 * jnp.square(shape.half_z * shape.root))) / shape.b
    derivative = jnp.where(jnp.isinf(value), jnp.inf, derivative)
    derivative = jnp.where(jnp.isinf(alpha), 0.0 * shape.half_z, derivative)
    return jnp.where(alpha == 2, jnp.where(shape.half_z == 0, 0.0, jnp.abs(shape.half_z) * jnp.inf), derivative)


@with_derivatives(
    _general_robust_derivative,
    _general_robust_derivative_of_alpha,
    lambda half, alpha, scale: -_general_robust_derivative(half, alpha, scale) * _shape(half, alpha, scale).half_z,
)
def _general_robust(half: Array, alpha: Array | float, scale: Array | float) -> Array:
    """(e^x - 1) / slope, which is half of g where the slope is 0."""
    shape = _shape(half, alpha, scale)
    x = shape.exponent
    small = jnp.abs(x) < jnp.finfo(half.dtype).eps
    return jnp.where(small, 0.5 * shape.g, jnp.expm1(x) / jnp.where(small, 1.0, shape.slope))


def _biweight(half: Array, scale: Array | float) -> tuple[Array, Array, Array]:
    """The error d, no larger than the scale c, z = d / c, and 1 - z^2."""
    error = jnp.clip(2 * half, -scale, scale)
    z = stable_divide(error, scale)
    return error, z, (1 - z) * (1 + z)


def _tukey_derivative(half: Array, scale: Array | float) -> Array:
    error, _, w = _biweight(half, scale)
    return 2 * error * jnp.square(w)


def _tukey_derivative_of_scale(half: Array, scale: Array | float) -> Array:
    error, z, w = _biweight(half, scale)
    return error * (z * z * z) * ((1 + 2 * w) / 3)


@with_derivatives(_tukey_derivative, _tukey_derivative_of_scale)
def _tukey(half: Array, scale: Array | float) -> Array:
    """c^2 (1 - w^3) / 6 with w = 1 - z^2, as d^2 (1 + w + w^2) / 6."""
    error, _, w = _biweight(half, scale)
    return error * (error * ((1 + w + jnp.square(w)) / 6))


@with_derivatives(lambda pred, target: 1 / (1 + pred), lambda pred, target: -1 / (1 + target))
def _log_ratio(pred: Array, target: Array) -> Array:
    """log(1 + pred) - log(1 + target), without cancellation."""
    low, high = jnp.minimum(pred, target), jnp.maximum(pred, target)
    return jnp.where(pred < target, -1.0, 1.0) * jnp.log1p((high - low) / (1 + low))


@with_derivatives(
    lambda pred, target: 2 * _log_ratio(pred, target) / (1 + pred),
    lambda pred, target: -2 * _log_ratio(pred, target) / (1 + target),
)
def _squared_log_ratio(pred: Array, target: Array) -> Array:
    return jnp.square(_log_ratio(pred, target))


def _half_by_size(pred: Array, target: Array, eps: Array | float) -> tuple[Array, Array]:
    """Half the error by the size of the target, and that size."""
    size = jnp.maximum(jnp.abs(target), eps)
    return stable_divide(0.5 * pred - 0.5 * target, size), size


def _percentage_slope(pred: Array, target: Array, eps: Array | float) -> Array:
    return stable_divide(100 * jnp.sign(pred - target), jnp.maximum(jnp.abs(target), eps))


def _percentage_slope_of_target(pred: Array, target: Array, eps: Array | float) -> Array:
    clamped = jnp.abs(target) <= eps
    ratio = jnp.where(clamped, 1.0, stable_divide(pred, jnp.where(clamped, 1.0, target)))
    return -ratio * _percentage_slope(pred, target, eps)


def _percentage_slope_of_eps(pred: Array, target: Array, eps: Array | float) -> Array:
    half, size = _half_by_size(pred, target, eps)
    return jnp.where(jnp.abs(target) < eps, -200 * stable_divide(between_divisions(jnp.abs(half)), size), 0.0)


@with_derivatives(_percentage_slope, _percentage_slope_of_target, _percentage_slope_of_eps)
def _percentage_error(pred: Array, target: Array, eps: Array | float) -> Array:
    return 200 * jnp.abs(_half_by_size(pred, target, eps)[0])


def _tilt(target: Array, pred: Array, q: Array | float) -> Array:
    """q where the target is above, q - 1 where it is below; NaN is neither."""
    middle = jnp.where(target == pred, q - 0.5, jnp.nan)
    return jnp.where(target > pred, q, jnp.where(target < pred, q - 1, middle))


@with_derivatives(
    lambda pred, target, q: -_tilt(target, pred, q),
    lambda pred, target, q: _tilt(target, pred, q),
    lambda pred, target, q: 2 * (0.5 * target - 0.5 * pred),
)
def _pinball(pred: Array, target: Array, q: Array | float) -> Array:
    return safe_multiply(2 * _tilt(target, pred, q), 0.5 * target - 0.5 * pred)


def _many_quantiles(call: Call, pred: Any, target: Any, quantile: Any) -> tuple[Array, Array, Array]:
    """Predictions, the target of each, and the quantile of each entry of the last axis."""
    (pred,) = call.rows(None, "the quantiles", pred=pred)
    hint = "For an array of quantiles `target` lacks the last axis of `pred`."
    target = call.floating([pred.shape[:-1]], hint, target=target)
    array = call.numeric("quantile", quantile)
    problem = "`quantile` must have one number for each entry of the last axis of `pred`"
    call.require_shape(f"{problem}, shape ({pred.shape[-1]},)", array, (pred.shape[-1],))
    inside = (array >= 0) & (array <= 1)
    call.check_range("values in [0, 1]", inside, "", quantile=array)
    q = nan_outside(inside, array, pred.dtype)
    call.hide(pred.shape, pred.dtype)
    target = jnp.broadcast_to(target[..., None], pred.shape)
    q = jnp.expand_dims(q, tuple(range(pred.ndim - 1)))  # Not broadcast, because an explicit mesh would not shard it.
    pred, target = call.visible(0.0, pred, target)
    return pred, target, q


def _variance(call: Call, pred: Array, var: Any) -> Array:
    """One number, one per row, or an array of pred's shape with a 1 on at most one axis."""
    ndim = call.array("var", var).ndim
    if isinstance(var, numbers.Real) or (ndim == 0 and pred.ndim > 1):
        return jnp.asarray(call.nonnegative(var=var), pred.dtype)
    shared = [(*pred.shape[:axis], 1, *pred.shape[axis + 1 :]) for axis in range(pred.ndim)]
    rows = [pred.shape[:-1]] if pred.ndim else []
    hint = "Variances are shared along one axis: jnp.broadcast_to(var, pred.shape)."
    var = call.floating([pred.shape, *shared, *rows], hint, var=var)
    return jnp.broadcast_to(var[..., None] if var.ndim < pred.ndim else var, pred.shape)


@with_derivatives(lambda var, eps: 1.0, None)
def _at_least(var: Array, eps: Array | float) -> Array:
    """max(var, eps), differentiated as if var were not clamped. NaN, not a plausible number, if var is negative."""
    return jnp.maximum(var, eps) * nan_unless(var >= 0)


def _half_by_variance(pred: Array, target: Array, var: Array) -> Array:
    """Half the error does not overflow, and its products in this order overflow no sooner than the loss does."""
    return stable_divide(0.5 * pred - 0.5 * target, var)


@with_derivatives(
    lambda *arrays: 2 * _half_by_variance(*arrays),
    lambda *arrays: -2 * _half_by_variance(*arrays),
    lambda pred, target, var: 0.5 / var - 2 * jnp.square(_half_by_variance(pred, target, var)),
)
def _gaussian_nll(pred: Array, target: Array, var: Array) -> Array:
    # Twice at the end: the difference, twice its half, may overflow where the loss does not.
    return 0.5 * jnp.log(var) + 2 * ((0.5 * pred - 0.5 * target) * _half_by_variance(pred, target, var))
