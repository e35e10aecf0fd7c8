"""Every loss under the transformations of JAX, and in its modes."""

import functools

import jax
import numpy as np
import pytest

from tests.support import (
    BATCH,
    FAMILIES,
    REPRESENTATIVES,
    SOME,
    THOROUGH,
    as_arrays,
    assert_close,
    values_and_gradients,
)

every_case = pytest.mark.parametrize("case", SOME, ids=[case.name for case in SOME])
every_record = pytest.mark.parametrize("case", REPRESENTATIVES, ids=[case.record.name for case in REPRESENTATIVES])
every_family = pytest.mark.parametrize("case", FAMILIES, ids=[case.record.name for case in FAMILIES])


@every_record
def test_vmap_scan_and_remat_equal_jit(case):
    with jax.enable_x64(True):
        batches = [as_arrays(case.draw(seed), "float64") for seed in range(4)]

        @jax.vmap
        def rematerialised(*arrays):
            return jax.value_and_grad(jax.checkpoint(case.loss()), case.record.differentiable)(*arrays)

        @jax.jit
        def transformed(*stacked):
            return jax.lax.scan(lambda carry, arrays: (carry, rematerialised(*arrays)), 0, stacked)[1]

        numbers = [values_and_gradients(case, arrays) for arrays in batches]
        one_by_one = [(values[case.record.default_reduction], gradients) for values, gradients in numbers]
        stacked, expected = (
            jax.tree.map(lambda *leaves: np.stack(leaves).reshape(2, 2, *leaves[0].shape), *trees)
            for trees in (batches, one_by_one)
        )
        jax.tree.map(functools.partial(assert_close, tolerance=1e-12), transformed(*stacked), expected)


@every_family
def test_numpy_arrays_eager_calls_strict_promotion_and_debug_nans(case):
    arrays = [np.asarray(array) for array in as_arrays(case.draw(), "float32")]
    values, expected = values_and_gradients(case, arrays, optimised=True)
    with jax.numpy_dtype_promotion("strict"), jax.debug_nans(True):
        step = jax.value_and_grad(case.loss(), case.record.differentiable)
        value, gradients = step(*arrays)
        assert_close(value, values[case.record.default_reduction], 1e-6)
        for gradient, other in zip(gradients, expected, strict=True):
            assert_close(gradient, other, 1e-5)
        if THOROUGH:
            masked = jax.jit(step)(*arrays, where=case.mask())
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(masked))


@every_family
def test_export_with_a_symbolic_batch_gives_the_same_numbers(case):
    arrays, scope = as_arrays(case.draw(), "float32"), jax.export.SymbolicScope()
    step = jax.jit(lambda *arrays: jax.value_and_grad(case.loss())(*arrays))

    def symbolic(position, array):
        axes = len(case.batch())
        sizes = [*["batch", "more"][:axes], *map(str, array.shape[axes:])]
        shape = jax.export.symbolic_shape(",".join(sizes), scope=scope)
        return jax.ShapeDtypeStruct(array.shape if position in case.record.shared else shape, array.dtype)

    exported = jax.export.export(step)(*map(symbolic, range(len(arrays)), arrays))
    for batch in (BATCH, (5, 1)) if THOROUGH else [(5, 1)]:
        arrays = as_arrays(case.draw(batch=batch), "float32")
        exact = [np.asarray(array) for array in arrays]
        value, gradient = exported.call(*arrays)
        assert_close(value, case.oracle(exact, case.record.default_reduction), 1e-5)
        assert_close(gradient, case.oracle_gradient(exact)[0], 1e-5)


@every_case
def test_it_traces_where_jax_promotes_neither_dtypes_nor_ranks(case):
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for dtype in ("bfloat16", "float16", "float32") if THOROUGH else ("bfloat16",):
            arrays = as_arrays(case.draw(), dtype)
            for options in ({}, {"where": case.mask()})[0 if THOROUGH else 1 :]:
                step = jax.value_and_grad(functools.partial(case.loss(), **options))
                assert jax.eval_shape(step, *arrays)[1].dtype == dtype


@every_record
@pytest.mark.usefixtures("frozen")
def test_no_tracer_leaks(case):
    with jax.checking_leaks():
        jax.jit(jax.value_and_grad(lambda *arrays: case.loss()(*arrays, where=case.mask()))).lower(
            *as_arrays(case.draw(), "float32")
        )
