"""Over the whole exponent range: every loss within the bounds, in units in the last place, that its record states.

`python -m tests.properties.test_stress` prints the largest errors found.
"""

import dataclasses
import functools
import inspect
import sys
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from tests.catalogue import TABLE
from tests.properties.exact import EXACT, errors_in_ulps, exact, one_sided_derivatives
from tests.support import ONE_A_FAMILY, OPTIMISED, THOROUGH, Case

FLOAT32 = np.finfo(np.float32)


def as_float32(option: Any) -> Any:
    """What the loss makes of an option that is a number, or numbers."""
    if isinstance(option, list):
        return [as_float32(entry) for entry in option]
    return float(np.float32(option)) if isinstance(option, float) else option


EVERY = [
    Case(
        record,
        {name: as_float32(value) for name, value in options.items()},
        f"{record.name}-{'-'.join(options) or 'default'}",
    )
    for record in TABLE
    for options in record.stress.variants
]
FIRST = {case.record.name: case.options for case in reversed(EVERY)}
EVERY += [
    dataclasses.replace(case, name=f"{case.name}-elsewhere", elsewhere=True)
    for case in EVERY
    if case.record.two_ways and case.options is FIRST[case.record.name]
]
# By default as a CPU computes.
OF_FIRST = [case for case in EVERY if case.options is FIRST[case.record.name] and not case.elsewhere]
ALONE = [case for case in OF_FIRST if case.record in [other.record for other in ONE_A_FAMILY]]
FURTHER = [case for case in EVERY if case.options is not FIRST[case.record.name]]
CASES = OF_FIRST + FURTHER[::4] + [case for case in EVERY if case.elsewhere] if THOROUGH else ALONE


@functools.cache
def compiled(case: Case) -> Any:
    """Unreduced losses and gradients of a batch of examples."""

    def one(*arrays: Any) -> Any:
        gradient = jax.grad(lambda *arrays: case.loss()(*arrays, reduction="sum"), case.record.differentiable)
        return case.loss()(*arrays, reduction="none"), gradient(*arrays)

    return jax.jit(jax.vmap(one), compiler_options=OPTIMISED)


def truth(case: Case, arrays: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The loss of one example and its one-sided derivatives, exact."""
    batch = arrays if case.record.rows else [array[None] for array in arrays]
    numbers = [exact(array) if array.dtype.kind in "fO" else array for array in batch]
    extra = {"constant_at": numbers} if case.record.constant_factor or case.record.stress.clamped else {}

    def loss(*moved: np.ndarray) -> np.ndarray:
        return case.record.oracle(*moved, where=True, **case.options, **extra)[0]

    return loss(*numbers), [one_sided_derivatives(loss, numbers, position) for position in case.record.differentiable]


def nudged(case: Case, arrays: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Every number moved by the smallest normal number, and by one ulp where differences cancel; but no hard label.

    On a CPU XLA takes what is less than that number for zero: inputs, and differences of them.
    """
    rng, direction = np.random.default_rng(seed // 2), (-1) ** seed
    unit, ulp, tiny = case.record.stress.unit, EXACT.mpf(2) ** -23, EXACT.mpf(float(FLOAT32.tiny))
    floats = [array for array in arrays if array.dtype.kind == "f"]
    defaults = {p.name: p.default for p in inspect.signature(case.record.loss).parameters.values()}
    options = [option for option in (defaults | case.options).values() if isinstance(option, float) and option < np.inf]
    largest = max(*options, 0.0, *(float(abs(array).max()) for array in floats))

    def nudge(position: int, array: np.ndarray) -> np.ndarray:
        ulps, tinies = direction * rng.choice([-1, 1], size=(2, *np.shape(array)))
        relative = exact(array) * (1 + ulps * (0 if unit == "result" else ulp)) + np.sign(array) * tinies * tiny
        moved = np.where(abs(array) < FLOAT32.tiny, np.sign(array) * tiny * (tinies > 0), relative)
        if position not in case.record.differentiable:
            return np.where(np.isin(array, [-1, 0, 1]), array, moved)
        return exact(array) + ulps * max(ulp * largest, tiny) if unit == "norm" else moved

    return [nudge(position, array) if array.dtype.kind == "f" else array for position, array in enumerate(arrays)]


def errors(case: Case, arrays: list[np.ndarray], value: np.ndarray, gradients: list[np.ndarray], nudges: int) -> Any:
    """The largest error of the value and of the gradient of one example, in ulps.

    At a kink any slope between those of the two sides is right. What a nudge makes of the exact result is a unit too.
    """
    expected, sides = truth(case, arrays)
    near = [truth(case, nudged(case, arrays, seed)) for seed in range(nudges)]
    slack = functools.reduce(np.maximum, [abs(other - expected) for other, _ in near], 0 * expected)
    one = (lambda array: array) if case.record.rows else (lambda array: array[None])
    value_error = errors_in_ulps(one(value), expected, slack).max()

    slopes: list[Any] = [sum(both) / 2 for both in sides]
    slacks: list[Any] = [
        functools.reduce(np.maximum, [abs(sum(others[i]) / 2 - slope) for _, others in near], 0 * abs(slope))
        for i, slope in enumerate(slopes)
    ]
    if case.record.stress.unit in ("row", "norm"):
        ulp_of_largest = max(abs(slope).max() for slope in slopes) * 2**-24
        slacks = [max(ulp_of_largest, *(slack.max() for slack in slacks))] * len(slopes)
    kinks = [abs(right - left) / 2 for left, right in sides]
    found = zip(gradients, slopes, slacks, kinks, strict=True)
    worst = [errors_in_ulps(one(got), slope, np.maximum(slack, kink)).max() for got, slope, slack, kink in found]
    return np.array([value_error, max(worst)])


def largest_errors(case: Case, examples: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    """Of a batch of examples."""
    stress = case.record.stress
    columns = [np.stack(column) for column in zip(*examples, strict=True)]
    values, gradients = jax.tree.map(np.asarray, compiled(case)(*columns))
    worst = np.zeros(2)
    for row, example in enumerate(examples):
        arrays = [np.asarray(array) for array in example]
        found = np.full(2, np.inf)
        for nudges in (0, 4, 16):
            if (found > stress.ulps).any():
                got = values[row], [gradient[row] for gradient in gradients]
                found = np.minimum(found, errors(case, arrays, *got, nudges))
        if (found > stress.ulps).any():
            hypothesis.note(f"{found}: {example} {values[row]} {[gradient[row] for gradient in gradients]}")
        worst = np.maximum(worst, found)
    return worst


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
@hypothesis.settings(phases=[hypothesis.Phase.generate])  # A smaller example says no more, and takes minutes to find.
@hypothesis.given(data=st.data())
def test_errors_stay_within_the_bounds_of_the_record(case, data):
    stress = case.record.stress
    examples = st.lists(stress.domain(case.options), min_size=stress.examples, max_size=stress.examples)
    assert (largest_errors(case, data.draw(examples)) <= stress.ulps).all()


def main() -> None:
    """The largest errors of each case, whatever its bounds are."""
    for case in EVERY:
        if all(word not in case.name for word in sys.argv[1:] or [""]):
            continue
        found = np.zeros(2)
        stress = case.record.stress

        @hypothesis.settings(deadline=None, derandomize=True, max_examples=15, phases=[hypothesis.Phase.generate])
        @hypothesis.given(st.lists(stress.domain(case.options), min_size=stress.examples, max_size=stress.examples))
        def measure(case, found, examples):
            found[:] = np.maximum(found, largest_errors(case, examples))

        measure(case, found)
        print(f"{case.name:60} {found[0]:8.2f} {found[1]:8.2f}", flush=True)


if __name__ == "__main__":
    main()
