"""The annotations are enforced in every other test; here, that they are."""

import inspect

import jax.numpy as jnp
import pytest
from beartype.roar import BeartypeCallHintViolation
from jax import Array
from jaxtyping import Float

import jaxloss
from jaxloss import reductions
from tests import annotations

VECTOR, OTHER = jnp.ones(3), jnp.ones(4)


def double(pred: Float[Array, "*batch"], target: Float[Array, "*batch"]) -> Float[Array, ""]:
    if pred.ndim != target.ndim:
        raise AssertionError("in its own words")
    return pred.sum() if pred.size < 5 else pred


def test_what_a_function_accepts_its_annotations_admit():
    enforced = annotations.enforced(double)
    assert enforced(VECTOR, VECTOR) == 3
    with pytest.raises(BeartypeCallHintViolation, match="target"):
        enforced(VECTOR, OTHER)
    with pytest.raises(BeartypeCallHintViolation, match="return"):
        enforced(jnp.ones(5), jnp.ones(5))


def test_what_they_exclude_it_refuses_in_its_own_words():
    with pytest.raises(AssertionError, match="in its own words"):
        annotations.enforced(double)(VECTOR, VECTOR[0])


def test_every_public_function_is_under_enforcement():
    public = [getattr(jaxloss, name) for name in jaxloss.__all__]
    for function in (*filter(inspect.isfunction, public), *reductions.NAMED.values()):
        assert function.__code__ is annotations.enforced(double).__code__
        assert getattr(inspect.getmodule(function), function.__name__) is function
