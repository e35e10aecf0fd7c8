"""What is stored beside inputs and gradients, by the compiler's own count."""

import functools

import jax
import pytest

from tests.catalogue import TABLE
from tests.support import OPTIMISED, THOROUGH

ELEMENTWISE = [record for record in TABLE if record.elementwise]
UNSTORED = [(record, dtype) for record in TABLE for dtype in record.unstored_sums]


@pytest.mark.parametrize("record", ELEMENTWISE, ids=[record.name for record in ELEMENTWISE])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"] if THOROUGH else ["bfloat16"])
def test_an_elementwise_loss_stores_its_values_and_nothing_else(record, dtype):
    array = jax.ShapeDtypeStruct((1024, 512), dtype)
    arrays = [array] * len(record.arrays)
    memory = jax.jit(jax.value_and_grad(record.loss)).lower(*arrays).compile(OPTIMISED).memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes <= 1.01 * 4 * array.size


@pytest.mark.skipif(jax.__version_info__ < (0, 11, 2), reason="XLA on CPU then stores what it casts before it sums it")
@pytest.mark.parametrize(("record", "dtype"), UNSTORED, ids=[f"{record.name}-{dtype}" for record, dtype in UNSTORED])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_what_is_summed_is_not_stored_beside_the_gradient(record, dtype, reduction):
    array = jax.ShapeDtypeStruct((1024, 512), dtype)
    step = jax.jit(jax.value_and_grad(functools.partial(record.loss, reduction=reduction)))
    memory = step.lower(array, array).compile(OPTIMISED).memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < array.size / 8
