"""What a loss admits, over the whole exponent range of float32: one example of its arrays, drawn by hypothesis."""

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis.extra import numpy as hnp

Domain = Callable[[dict[str, Any]], st.SearchStrategy[tuple[np.ndarray, ...]]]
LIMITS = np.finfo(np.float32)
LARGEST = float(LIMITS.max)
CORNERS = (0.0, LIMITS.smallest_subnormal, LIMITS.tiny, LIMITS.eps, 0.5, 1 - LIMITS.epsneg, 1.0, 10.0, LARGEST)


def numbers(shape: tuple[int, ...] = (), low: float = -LARGEST, high: float = LARGEST, infinite: bool = False) -> Any:
    """Corners, numbers of the whole range, ordinary ones; or all within some ulps of one, where differences cancel."""
    low, high = float(np.float32(low)), float(np.float32(high))
    corners = sorted({float(sign * corner) for corner in (*CORNERS, low, high) for sign in (-1, 1)})
    within = [corner for corner in corners if low <= corner <= high]
    ordinary = st.floats(max(low, -100.0), min(high, 100.0), width=32)
    finite = st.one_of(st.sampled_from(within), st.floats(low, high, width=32), ordinary)
    elements = st.one_of(finite, st.sampled_from([np.inf, -np.inf])) if infinite else finite

    def near(centre: float, steps: np.ndarray) -> np.ndarray:
        return np.clip(np.float32(centre) * (1 + steps * LIMITS.eps), low, high).astype(np.float32)

    apart = hnp.arrays(np.float32, shape, elements=elements, fill=st.nothing())
    close = st.builds(near, ordinary, hnp.arrays(np.int32, shape, elements=st.integers(-3, 3), fill=st.nothing()))
    return st.one_of(apart, apart, close) if shape else apart


def scaled(shape: tuple[int, ...], exponents: tuple[int, int]) -> Any:
    """Numbers of one size, whatever it is: what a loss of distances and areas is made for."""
    ordinary = numbers(shape, -100, 100).map(lambda block: np.where(abs(block) < LIMITS.eps, 0, block))
    return st.builds(lambda block, power: (block * 2.0**power).astype(np.float32), ordinary, st.integers(*exponents))


def together(*parts: Any) -> Domain:
    """Arrays that are drawn as one block, to be compared with each other, and then others."""
    return lambda options: st.builds(lambda block, *rest: (*block, *rest), *parts)


def apart(*parts: Any) -> Domain:
    """Arrays that have nothing to do with each other."""
    return lambda options: st.tuples(*parts)


def integers(low: int, high: int, shape: tuple[int, ...] = ()) -> Any:
    return hnp.arrays(np.int32, shape, elements=st.integers(low, high))


def one_of(*domains: Domain) -> Domain:
    return lambda options: st.one_of(*(domain(options) for domain in domains))


SIGNS = st.sampled_from([np.float32(-1), np.float32(1)]).map(np.asarray)
HARD = st.sampled_from([np.float32(0), np.float32(1)]).map(np.asarray)
