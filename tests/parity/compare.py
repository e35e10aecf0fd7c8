"""One sample through both libraries: value, shape and gradients under every reduction."""

import collections
import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports] an extra of its own

import jaxloss
from tests.parity.adapters import ADAPTERS, Loss
from tests.parity.differences import DIFFERENCES, Different, Refused, difference_of
from tests.parity.samples import RECORDS, Sample, differentiable, error_samples, samples
from tests.support import assert_close

REFUSALS = (AssertionError, TypeError, ValueError)
# Each program runs for microseconds: what costs is compiling it.
QUICKLY = {"xla_backend_optimization_level": 0}
_COMPILED: dict[Any, Callable[..., Any]] = {}
# By reduction: the value, then the gradients.
Numbers = dict[str, list[np.ndarray]]


def compare(name: str) -> collections.Counter[tuple[str, str]]:
    """How often each outcome was met, with its reason: every sample has exactly one, or this raises."""
    with jax.enable_x64(True):
        met = collections.Counter(outcome(sample) for sample in samples(name))
        met.update(refusal(*error) for error in error_samples(name))
    for each in DIFFERENCES:
        if name in each.names and each.reason not in {reason for _, reason in met}:
            raise AssertionError(f"{name}: no sample shows that {each.reason}.")
    return met


def outcome(sample: Sample) -> tuple[str, str]:
    """passed, refused or different, and why."""
    refused, different = difference_of(Refused, sample), difference_of(Different, sample)
    loss, theirs = ADAPTERS[sample.function], of_pytorch(sample)
    if refused:
        assert_refused(sample)
        loss = written_instead(refused, sample.function)
    ours = theirs
    if different is not None:
        ours = {name: different.ours(sample, name, numbers) for name, numbers in theirs.items()}
    assert_same(sample, of_jaxloss(sample, loss), ours)
    if refused:
        return "refused", refused.reason
    if different is None:
        return "passed", ""
    assert not all_equal(ours, theirs), f"{sample}: nothing differs"
    return "different", different.reason


def refusal(sample: Sample, error: type[Exception]) -> tuple[str, str]:
    """What PyTorch refuses, jaxloss refuses too."""
    try:
        sample.call()
    except error:
        assert_refused(sample)
        return "error refused", ""
    raise AssertionError(f"{sample} should be refused by PyTorch")


def of_pytorch(sample: Sample) -> Numbers:
    return {reduction: _of_pytorch(sample, reduction) for reduction in reductions(sample)}


def _of_pytorch(sample: Sample, reduction: str) -> list[np.ndarray]:
    value, inputs = sample.call(reduction=reduction), [sample.tensors[name] for name in differentiable(sample)]
    given = torch.tensor(cotangent(value.shape), dtype=value.dtype)
    gradients = torch.autograd.grad(value, inputs, given, allow_unused=True)
    found = zip(inputs, gradients, strict=True)
    return [
        array_of(value),
        *(array_of(torch.zeros_like(x) if gradient is None else gradient) for x, gradient in found),
    ]


def of_jaxloss(sample: Sample, loss: Loss) -> Numbers:
    return jax.device_get(compiled(loss, sample)(arrays_of(sample)))


def compiled(loss: Loss, sample: Sample) -> Callable[..., Any]:
    """One compilation for all samples of the same shapes and options; options that are numbers stay Python numbers."""
    options = {name: value for name, value in sample.options.items() if name != "reduction"}
    inputs, names = differentiable(sample), reductions(sample)
    key = loss, repr(options), inputs

    def compute(arrays: dict[str, jax.Array]) -> dict[str, list[jax.Array]]:
        def numbers(reduction: str) -> list[jax.Array]:
            def call(*moving: jax.Array) -> jax.Array:
                return loss(**arrays | dict(zip(inputs, moving, strict=True)), **options, reduction=reduction)

            value, pull = jax.vjp(call, *(arrays[name] for name in inputs))
            return [value, *pull(jnp.asarray(cotangent(value.shape), value.dtype))]

        return {reduction: numbers(reduction) for reduction in names}

    return _COMPILED.setdefault(key, jax.jit(compute, compiler_options=QUICKLY))


@functools.cache
def written_instead(difference: Refused, function: str) -> Loss:
    return difference.instead(ADAPTERS[function])


def assert_refused(sample: Sample) -> None:
    """By jaxloss itself, in a message that begins with its name, and while tracing."""
    try:
        jax.eval_shape(lambda arrays: ADAPTERS[sample.function](**arrays, **sample.options), arrays_of(sample))
        said = "nothing"
    except REFUSALS as problem:
        said = str(problem)
    by = re.search(r"(\w+)(: |\(\) got an unexpected keyword argument)", said)
    assert by, f"{sample} should be refused, but jaxloss said {said}"
    assert by[1] in jaxloss.__all__, f"{sample} should be refused by jaxloss, but {said}"


def assert_same(sample: Sample, ours: Numbers, theirs: Numbers) -> None:
    for reduction, numbers in theirs.items():
        kinds = ["the value", *(f"the gradient of `{name}`" for name in differentiable(sample))]
        for what, mine, yours in zip(kinds, ours[reduction], numbers, strict=True):
            try:
                assert_close(mine, yours, 1e-8 if what == "the value" else 1e-6)
            except AssertionError as problem:
                raise AssertionError(f"{sample}: under {reduction!r} {what} differs: {problem}") from None


def all_equal(ours: Numbers, theirs: Numbers) -> bool:
    return all(
        np.array_equal(mine, yours, equal_nan=True)
        for reduction in theirs
        for mine, yours in zip(ours[reduction], theirs[reduction], strict=True)
    )


def reductions(sample: Sample) -> tuple[str, ...]:
    return tuple(sorted({"none", "mean", "sum", RECORDS[sample.function].default_reduction}))


def arrays_of(sample: Sample) -> dict[str, jax.Array]:
    return {name: jnp.asarray(array_of(tensor)) for name, tensor in sample.tensors.items()}


def array_of(tensor: Any) -> np.ndarray:
    return tensor.detach().numpy()


@functools.cache
def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """Weights of the results, so that no two entries of a gradient can be mistaken for each other."""
    return np.asarray(np.random.default_rng(0).normal(size=tuple(shape)))
