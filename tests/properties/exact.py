"""The oracles in exact arithmetic: what a loss and its derivatives are over the whole exponent range of a dtype.

An array of `EXACT` numbers goes through the NumPy formulas as they stand: with so many bits nothing in them cancels,
overflows or underflows, so a formula needs no care to be right.
"""

import functools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

EXACT: Any = mpmath.MPContext()
# A difference of squares of numbers up to 2^128, to the last place of a float32, by the step.
EXACT.prec = 800
# An infinity stands for the limit, and a step far below the smallest subnormal sees no curvature.
FAR, STEP = EXACT.mpf(2) ** 300, EXACT.mpf(2) ** -220

# NumPy calls a function of an array of objects as a method of its elements.
for _name in ("exp", "log", "log1p", "sqrt", "cosh", "cos"):
    setattr(EXACT.mpf, _name, functools.partialmethod(lambda self, name: getattr(EXACT, name)(self), _name))
EXACT.mpf.arctan = lambda self: EXACT.atan(self)
EXACT.mpf.arccos = lambda self: EXACT.acos(self)


def _exact(number: float) -> Any:
    return FAR * int(np.sign(number)) if abs(number) == np.inf else EXACT.convert(number)


exact = np.frompyfunc(_exact, 1, 1)


def one_sided_derivatives(function: Callable[..., np.ndarray], arrays: list[np.ndarray], position: int) -> np.ndarray:
    """Of the sum of a function to each element of one of its arrays: from the left, and from the right."""
    derivatives = np.empty((2, *arrays[position].shape), object)
    here = function(*arrays).sum()
    for index in np.ndindex(arrays[position].shape):
        for side, step in enumerate((-STEP, STEP)):
            moved = arrays[position].copy()
            moved[index] += step
            there = function(*arrays[:position], moved, *arrays[position + 1 :]).sum()
            derivatives[side][index] = (there - here) / step
    return derivatives


def _in_ulps(info: Any, actual: float, expected: Any, slack: Any) -> float:
    if not isinstance(expected, EXACT.mpf):
        # Beyond the edge of the domain, where one of the two sides of a derivative is no real number.
        return 0.0 if np.isfinite(actual) else np.inf
    if np.isnan(actual) or EXACT.isnan(expected):
        return 0.0 if np.isnan(actual) and EXACT.isnan(expected) else np.inf
    limit = EXACT.mpf(2) ** int(info.maxexp)
    got = limit * np.sign(actual) if np.isinf(actual) else EXACT.mpf(float(actual))
    wanted = max(-limit, min(limit, expected))
    exponent = min(EXACT.frexp(wanted)[1], int(info.maxexp))
    ulp = EXACT.mpf(2) ** (exponent - 1 - int(info.nmant))
    return float(abs(got - wanted) / max(ulp, float(info.tiny), slack))


def errors_in_ulps(actual: np.ndarray, expected: Any, slack: Any) -> np.ndarray:
    """|actual - expected| in units in the last place of what is expected, or of the slack where that is more.

    Infinity is the number after the largest finite one. The least unit is the smallest normal number: XLA flushes what
    is smaller to zero.
    """
    info = np.finfo(actual.dtype)
    return np.asarray(np.frompyfunc(functools.partial(_in_ulps, info), 3, 1)(actual, expected, slack), float)
