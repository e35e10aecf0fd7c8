import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxloss
from jaxloss import reductions
from tests.support import THOROUGH, assert_close

VALUES = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], np.float32)
WEIGHTS = np.array([[0.5, 0.0, 1.5], [0.0, 0.0, 2.0]], np.float32)


def test_weights_weigh():
    np.testing.assert_allclose(reductions.none(VALUES, WEIGHTS), VALUES * WEIGHTS)
    np.testing.assert_allclose(reductions.sum(VALUES, WEIGHTS), (VALUES * WEIGHTS).sum())
    np.testing.assert_allclose(reductions.mean(VALUES, WEIGHTS), np.average(VALUES, weights=WEIGHTS))
    np.testing.assert_allclose(reductions.batchmean(VALUES, WEIGHTS), (VALUES * WEIGHTS).sum() / 2)


def test_weights_broadcast_and_are_counted_as_broadcast():
    np.testing.assert_allclose(reductions.mean(VALUES, WEIGHTS[:, :1]), VALUES[0].mean())
    np.testing.assert_allclose(reductions.mean(VALUES, WEIGHTS[:, :1] > 0), VALUES[0].mean())
    with pytest.raises(AssertionError, match="reductions.mean: `weights` must"):
        reductions.mean(VALUES, np.ones((2, 3, 1), np.float32))
    with pytest.raises(AssertionError, match="reductions.mean: `weights` must"):
        reductions.mean(VALUES, np.ones(2, bool))


def test_a_weight_of_zero_hides_what_is_not_finite():
    values = np.where(WEIGHTS == 0, np.nan, VALUES)
    for weights in (WEIGHTS, WEIGHTS > 0):
        expected = np.average(VALUES, weights=weights)
        value, gradient = jax.value_and_grad(reductions.mean)(jnp.asarray(values), weights)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        np.testing.assert_allclose(gradient, weights / weights.sum(), rtol=1e-6)


def test_learned_weights_have_gradients_at_zero_too():
    gradient = jax.grad(lambda weights: reductions.sum(VALUES, weights))(jnp.asarray(WEIGHTS))
    np.testing.assert_allclose(gradient, VALUES)


def test_half_precision_does_not_overflow():
    values = jnp.full(3000, 60000, jnp.float16)
    assert reductions.mean(values) == 60000
    assert reductions.mean(values).dtype == jnp.float32


def test_a_large_count_keeps_its_digits():
    kept = jnp.ones(2**24 + 4, bool)
    assert reductions.mean(jnp.full(kept.shape, 0.5), kept) == 0.5


def test_negative_weights_are_reported():
    with pytest.raises(ValueError, match="reductions.mean: `weights` must be at least 0"):
        chex.chexify(jax.jit(reductions.mean), async_check=False)(VALUES, -WEIGHTS)


def counted(count, reduction=None):
    return functools.partial(reduction or reductions.mean, count=count)


def test_a_count_is_what_they_divide_by():
    for reduction in (reductions.mean, reductions.sum, reductions.batchmean):
        assert reduction(VALUES, WEIGHTS, count=7) == reductions.sum(VALUES, WEIGHTS) / 7
        assert jax.jit(reduction)(VALUES, WEIGHTS, count=jnp.int32(7)) == reductions.sum(VALUES, WEIGHTS) / 7
        assert reduction(VALUES, count=0) == 0
        with pytest.raises(ValueError, match=r"reductions.\w+: `count` must be at least 0, got -1"):
            reduction(VALUES, count=-1)
        assert np.isnan(reduction(VALUES, count=jnp.float32(-1)))
    assert reductions.sequence_mean(VALUES, WEIGHTS > 0, count=5) == np.float32((2.5 + 32) / 5)
    with pytest.raises(AssertionError, match="reductions.mean: `count` must be a number"):
        reductions.mean(VALUES, count=np.ones(2, np.float32))


RNG = np.random.default_rng(0)
LOGITS, FEATURES = RNG.normal(size=(6, 4, 5)).astype(np.float32), RNG.normal(size=(6, 4, 3)).astype(np.float32)
LABELS, KEEP = RNG.integers(0, 5, size=(6, 4)), RNG.random((6, 4)) < 0.6
SAMPLE, CLASSES = (
    RNG.random((6, 4)).astype(np.float32) * (RNG.random((6, 4)) < 0.8),
    np.array([0, 0.5, 1, 2, 4.0], "f4"),
)
KERNEL = RNG.normal(size=(3, 5)).astype(np.float32)


def in_blocks(features, labels, **options):
    return jaxloss.linear_cross_entropy(features, KERNEL, labels, chunk_size=2, **options)


# A loss, its prediction, options, and what a whole step counts.
STEPS = {
    "a mask": (jaxloss.cross_entropy, LOGITS, {}, KEEP.sum()),
    "sample weights": (jaxloss.cross_entropy, LOGITS, {"sample_weight": SAMPLE}, (SAMPLE * KEEP).sum()),
    "class weights": (jaxloss.cross_entropy, LOGITS, {"weight": CLASSES}, (CLASSES[LABELS] * KEEP).sum()),
    "class weights within": (
        jaxloss.cross_entropy,
        LOGITS,
        {"weight": CLASSES, "label_smoothing": 0.1},
        (CLASSES[LABELS] * KEEP).sum(),
    ),
    "blocks": (in_blocks, FEATURES, {}, KEEP.sum()),
    "blocks of weights within": (
        in_blocks,
        FEATURES,
        {"weight": CLASSES, "label_smoothing": 0.1, "sample_weight": SAMPLE},
        (CLASSES[LABELS] * KEEP * SAMPLE).sum(),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_parts_of_a_step_add_up_to_its_mean_in_value_and_gradient(name):
    """Parts that keep unlike many: a mean of means is another number."""
    loss, pred, options, total = STEPS[name]
    of_tokens = {key: value for key, value in options.items() if np.shape(value) == KEEP.shape}
    shared = {key: value for key, value in options.items() if key not in of_tokens}

    @jax.jit
    def step(pred, labels, keep, of_tokens, count):
        def reduced(reduction):
            return lambda pred: loss(pred, labels, where=keep, reduction=reduction, **shared, **of_tokens)

        parts = (reductions.mean, reductions.sum, reductions.batchmean)[: 3 if THOROUGH or name == "a mask" else 1]
        by_count = [jax.value_and_grad(reduced(counted(count, part)))(pred) for part in parts]
        return jax.value_and_grad(reduced("mean"))(pred), *by_count

    def of(part):
        return step(*(array[part] for array in (pred, LABELS, KEEP)), {k: v[part] for k, v in of_tokens.items()}, total)

    whole, first, second = of(slice(None))[0], of(slice(3)), of(slice(3, None))
    assert abs((first[0][0] + second[0][0]) / 2 - whole[0]) > 1e-3
    for one, other in zip(first[1:], second[1:], strict=True):
        assert_close(one[0] + other[0], whole[0], 1e-5)
        assert_close(np.concatenate([one[1], other[1]]), whole[1], 1e-5)


def test_the_mean_over_sequences_of_a_step_is_that_of_its_parts():
    def loss(values, keep, reduction):
        return jaxloss.l1_loss(values, jnp.zeros_like(values), where=keep, reduction=reduction)

    step = jax.jit(lambda values, keep: loss(values, keep, counted(KEEP.any(1).sum(), reductions.sequence_mean)))
    parts = [step(LOGITS[part, :, 0], KEEP[part]) for part in (slice(3), slice(3, None))]
    np.testing.assert_allclose(sum(parts), loss(LOGITS[..., 0], KEEP, reductions.sequence_mean), rtol=1e-6)


def test_on_a_mesh_a_count_is_that_of_all_devices():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    values, keep = np.abs(LOGITS[..., 0]), KEEP & (np.arange(6) > 1)[:, None]

    def local(values, keep):
        both = (reductions.mean, reductions.sequence_mean)
        on_axis = [functools.partial(each, axis_name="data") for each in both]
        return [each(values, keep) for each in on_axis] + [each(values, keep, count=11) for each in on_axis]

    sharded = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=P("data"), out_specs=P()))
    rows = np.sum(values * keep, 1)[keep.any(1)] / keep.sum(1)[keep.any(1)]
    sums = np.array([np.sum(values * keep), rows.sum()])
    assert_close(np.stack(sharded(values, keep)), np.append(sums / [keep.sum(), len(rows)], sums / 11), 1e-6)


# Three sequences of at most four tokens, of which the last keeps none; a step has 9 tokens, and a batch 3 sequences.
TOKENS = np.array([[1.0, 2.0, 3.0, 4.0], [8.0, np.nan, np.nan, np.nan], [np.nan] * 4], np.float32)
KEPT = np.isfinite(TOKENS)
MEANS = {
    "tokens of the batch: TRL bnpo, verl and tunix token-mean": (reductions.mean, 18 / 5),
    "tokens of the step: TRL dapo, cispo": (counted(9), 18 / 9),
    "sequences, of token means: verl seq-mean-token-mean": (reductions.sequence_mean, (2.5 + 8) / 2),
    "the same, empty ones counted: TRL grpo": (counted(3, reductions.sequence_mean), (2.5 + 8) / 3),
    "sequences, of token sums: verl seq-mean-token-sum": (reductions.batchmean, 18 / 2),
    "longest: TRL dr_grpo, tunix sequence-mean-token-scale": (counted(3 * 4), 18 / 12),
    "a constant: verl seq-mean-token-sum-norm": (counted(4.0), 18 / 4),
    "all sequences: tunix sequence-mean-token-sum-norm": (counted(3), 18 / 3),
}


@pytest.mark.parametrize("name", MEANS)
def test_every_mean_of_other_libraries(name):
    reduction, expected = MEANS[name]

    def loss(pred):
        return jaxloss.l1_loss(pred, jnp.zeros_like(pred), where=KEPT, reduction=reduction)

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(TOKENS))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[~KEPT].any()
    np.testing.assert_allclose(jnp.vdot(gradient, jnp.where(KEPT, TOKENS, 0.0)), expected, rtol=1e-6)


def test_tokens_may_lie_on_any_axes():
    np.testing.assert_allclose(reductions.sequence_mean(VALUES, axis=0), VALUES.mean(), rtol=1e-6)
    np.testing.assert_allclose(reductions.sequence_mean(VALUES, WEIGHTS, axis=(0, 1)), reductions.mean(VALUES, WEIGHTS))
    by_rows = np.mean([np.average(VALUES[0], weights=WEIGHTS[0]), VALUES[1, 2]])
    np.testing.assert_allclose(reductions.sequence_mean(VALUES, WEIGHTS), by_rows, rtol=1e-6)
    with pytest.raises(ValueError, match="reductions.sequence_mean: `axis` must be an axis of `values`, which has 2"):
        reductions.sequence_mean(VALUES, axis=2)
