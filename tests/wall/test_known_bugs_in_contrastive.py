"""The wall of contrastive learning: public reports of rows compared with rows.

Each failure is reproduced first, in the formula of the library that is named.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxloss

NAN = np.nan
RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 4)).astype(np.float32)
Y = (X + 0.5 * RNG.normal(size=(8, 4))).astype(np.float32)
EYE = np.eye(8, dtype=bool)


def single(numbers: Any) -> np.ndarray:
    return np.asarray(numbers, np.float32)


def units(*rows):
    return [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in rows]


def graded(loss, *rows):
    value, gradients = jax.jit(jax.value_and_grad(loss, tuple(range(len(rows)))))(*map(jnp.asarray, rows))
    return float(value), gradients


def is_finite(found):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def supcon_of_batches(x, labels):
    """SupContrast's: the mean over positives by their number, 0 too."""
    logits = jnp.matmul(*units_of(x, x)) / 0.1
    others = ~jnp.eye(len(labels), dtype=bool)
    positives = others & (labels[:, None] == labels)
    log_p = logits - jax.nn.logsumexp(jnp.where(others, logits, -jnp.inf), -1, keepdims=True)
    return -(jnp.where(positives, log_p, 0).sum(-1) / positives.sum(-1)).mean()


def units_of(x, y):
    x, y = (each / jnp.linalg.norm(each, axis=-1, keepdims=True) for each in (x, y))
    return x, y.T


LONE = np.array([0, 0, 1, 1, 2, 2, 3, 4], np.int32)


def test_an_anchor_without_positives_does_not_count():
    """0/0 for a label that stands once makes the loss NaN.

    https://github.com/HobbitLong/SupContrast/issues/141, https://github.com/HobbitLong/SupContrast/issues/50,
    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/660
    """
    assert math.isnan(supcon_of_batches(X, LONE))
    each = jaxloss.supcon_loss(X, LONE, reduction="none")
    assert not each[6:].any()
    value, gradients = graded(lambda x: jaxloss.supcon_loss(x, LONE), X)
    np.testing.assert_allclose(value, each[:6].mean(), rtol=1e-6)
    assert is_finite(gradients)


def test_without_any_positive_it_is_0():
    """All labels alike, or all different; and a row of zeros: NaN.

    https://github.com/google-deepmind/optax/issues/946,
    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/744
    """
    zero = np.where(np.arange(8)[:, None] == 2, 0, X)
    assert math.isnan(supcon_of_batches(X, np.arange(8)))
    assert math.isnan(supcon_of_batches(zero, np.arange(8) // 2))
    assert graded(lambda x: jaxloss.supcon_loss(x, np.arange(8)), X)[0] == 0
    assert is_finite(graded(lambda x: jaxloss.supcon_loss(x, np.zeros(8, int)), X))
    assert is_finite(graded(lambda x: jaxloss.supcon_loss(x, np.arange(8) // 2), zero))


def test_duplicates_are_no_negatives():
    """The same document twice in a batch is pushed away from its own query.

    https://github.com/huggingface/sentence-transformers/issues/3189,
    https://github.com/tensorflow/recommenders/issues/637
    """
    ids = np.array([0, 1, 2, 3, 4, 5, 6, 0])
    y = np.where(ids[:, None] == 0, Y[0], Y)
    value = jaxloss.info_nce_loss(X, y, reduction="none")
    known = jaxloss.info_nce_loss(X, y, ids=ids, reduction="none")
    assert known[0] < value[0]
    np.testing.assert_allclose(known[0], jaxloss.info_nce_loss(X[:7], y[:7], reduction="none")[0], rtol=1e-5)


def test_a_hit_among_the_negatives_is_hidden_and_not_lowered():
    """A probability of 1e-40 added to hide a hit is none at all in float32: the hit stays a negative.

    https://github.com/keras-team/keras-rs/issues/206
    """
    logits = single([[3.0, 3.0]])
    assert np.array_equal(logits + np.float32(1e-40), logits)
    x, y = X[:2], Y[:2]
    options = {"ids": np.array([5, 6]), "reduction": "none"}
    hit = jaxloss.info_nce_loss(x, y, negatives=y[:1], negative_ids=np.array([5]), **options)
    alone = jaxloss.info_nce_loss(x, y, **options)
    np.testing.assert_allclose(hit[0], alone[0], rtol=1e-6)
    assert hit[1] > alone[1]


def test_one_positive_and_one_negative_both_count():
    """A denominator of one negative alone, or of none: the loss is 0, or negative.

    https://github.com/huggingface/sentence-transformers/issues/4020,
    https://github.com/huggingface/sentence-transformers/issues/3677
    """
    x, y = X[:1], Y[:1]
    assert jaxloss.info_nce_loss(x, y) == 0
    similar, other = single([[1.0, 0.0]]), single([[0.0, 1.0]])
    value = jaxloss.info_nce_loss(similar, similar, negatives=other, temperature=1.0)
    assert math.log(math.exp(0)) - 1 < 0
    np.testing.assert_allclose(value, math.log1p(math.exp(-1)), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.01, 1e-6])
def test_exponentials_do_not_overflow(temperature):
    """exp(s / T) before the sum: infinite at a temperature of 0.01.

    https://github.com/Lightning-Universe/lightning-bolts/issues/811, https://github.com/openai/CLIP/issues/46,
    https://github.com/openai/CLIP/issues/530
    """
    x, y = units(X, Y)
    with np.errstate(over="ignore"):
        assert np.exp(np.float32(x @ y.T) / np.float32(temperature)).max() == np.inf
    for loss in (jaxloss.clip_loss, jaxloss.ntxent_loss, jaxloss.info_nce_loss, jaxloss.siglip_loss):
        assert is_finite(graded(functools.partial(loss, temperature=temperature), X, Y))


def test_the_loss_goes_on_where_the_probability_underflows():
    """log(p + tiny) stops at 87.34, with gradient 0. As read in pytorch-metric-learning 2.9: NTXentLoss."""
    x = single([[1, 0], [0, 1]])
    p = jnp.exp(jnp.float32(-120.0))
    assert -jnp.log(p + jnp.finfo(jnp.float32).tiny) < 88
    value, gradients = graded(functools.partial(jaxloss.info_nce_loss, temperature=1 / 120), x, x[::-1])
    np.testing.assert_allclose(value, 120, rtol=1e-6)
    assert all(gradient.any() for gradient in gradients)


def test_a_row_is_masked_from_itself_and_not_subtracted():
    """Of a sum with exp(1 / T) in it, less exp(1 / T), no digit is left; and its gradient leaks.

    https://github.com/Lightning-Universe/lightning-bolts/issues/695
    """
    x = single([[1.0, 0.0], [0.0, 1.0]])
    temperature = np.float32(0.05)
    exponentials = np.exp(np.float32(x @ x.T) / temperature)
    subtracted = exponentials.sum(-1) - np.exp(1 / temperature)
    assert abs(subtracted - 1).max() > 0.5
    found = jaxloss.supcon_loss(np.concatenate([x, -x]), np.array([0, 0, 1, 1]), temperature=temperature)
    # A positive at 0; negatives at -1 and 0.
    np.testing.assert_allclose(found, math.log(2 + math.exp(-20)), rtol=1e-6)


def test_the_largest_of_a_row_may_be_its_own():
    """A row's maximum over itself too lies far above the rest, whose exponentials vanish: log 0.

    https://github.com/emadeldeen24/TS-TCC/issues/25
    """
    x = single([[1.0, 0.0], [-1.0, 0.0]])
    logits = np.float32(x @ x.T) / np.float32(0.01)
    shifted = logits - logits.max(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        assert np.isinf(np.log(np.exp(shifted)[~np.eye(2, dtype=bool)])).all()
    value, gradients = graded(lambda x: jaxloss.supcon_loss(x, np.zeros(2, int), temperature=0.01), x)
    assert value == 0
    assert is_finite(gradients)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_normalised_in_float32(dtype):
    """eps of 1e-12 is 0 in float16, squares of small entries vanish, and a fill of -inf breaks.

    https://github.com/lightly-ai/lightly/issues/1259,
    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/121
    """
    small = jnp.asarray(2e-5 * X, dtype)
    assert dtype != jnp.float16 or not (small * small).any()
    exact = jaxloss.clip_loss(small.astype(jnp.float32), Y)
    value, gradients = graded(lambda x: jaxloss.clip_loss(x, jnp.asarray(Y, dtype).astype(dtype)), small)
    assert abs(value - exact) < 0.05
    assert is_finite(gradients)


def test_the_norm_of_a_row_of_zeros_has_a_gradient():
    """x / |x| at 0 is NaN, and a maximum after it hides that from the value alone.

    https://github.com/jax-ml/jax/issues/3058, https://github.com/huggingface/sentence-transformers/issues/4033
    """
    zeros = np.where(np.arange(8)[:, None] == 3, 0, X)

    def plain(x):
        return (x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12) @ Y.T).sum()

    assert np.isnan(graded(plain, zeros)[1][0]).any()
    for loss in (jaxloss.clip_loss, jaxloss.siglip_loss, jaxloss.ntxent_loss):
        assert is_finite(graded(loss, zeros, zeros))


def test_softplus_does_not_overflow():
    """log1p(exp(x)) is infinite from 89 on.

    https://github.com/huggingface/sentence-transformers/issues/4019
    """
    assert jnp.log1p(jnp.exp(jnp.float32(100))) == np.inf
    apart = single([[1.0, 0.0], [-1.0, 0.1], [1.0, 0.1], [-1.0, 0.0]])
    value, gradients = graded(lambda x: jaxloss.circle_loss(x, np.array([0, 0, 1, 1]), gamma=1e4), apart)
    assert value > 89
    assert is_finite(gradients)


def test_circle_loss_at_the_scale_of_faces_is_not_0():
    """A mask of 0 times an exponent that underflows: 0 at gamma 256.

    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/173
    """
    labels = np.array([0, 0, 1, 1])
    value, gradients = graded(lambda x: jaxloss.circle_loss(x, labels, margin=0.25, gamma=256.0), X[:4])
    assert 0 < value < 1e4
    assert is_finite(gradients)
    assert gradients[0].any()


def test_siglip_divides_by_rows_and_not_by_pairs():
    """A mean over all pairs is 1/n of the loss.

    https://github.com/google-research/big_vision/issues/115
    """
    x, y = units(X, Y)
    logits = 10 * x @ y.T - 10
    pairs = np.log1p(np.exp(np.where(EYE, -logits, logits)))
    np.testing.assert_allclose(jaxloss.siglip_loss(X, Y), pairs.sum() / 8, rtol=1e-5)
    assert pairs.mean() < pairs.sum() / 8 / 4


def test_the_bias_of_siglip_is_used_and_learned():
    """A parameter that does not enter the loss gets no gradient, and a distributed step waits for it.

    https://github.com/mlfoundations/open_clip/issues/1076
    """
    slope = jax.grad(lambda bias: jaxloss.siglip_loss(X, Y, logit_bias=bias))(-10.0)
    assert slope != 0


def test_positives_keep_their_loss_far_from_0():
    """softplus(x) - x is 0 in float32 from x = 17 on. As read in open_clip's chunked SigLIP."""
    x = jnp.float32(20.0)
    assert jax.nn.softplus(x) - x == 0
    one = single([[1.0]])
    value = jaxloss.siglip_loss(one, one, temperature=0.05, logit_bias=0.0)
    np.testing.assert_allclose(value, math.log1p(math.exp(-20)), rtol=1e-5)


def test_targets_of_the_wrong_kind_name_the_right_function():
    """Labels where views are due, or one view twice, train on the wrong pairs.

    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/723
    """
    with pytest.raises(AssertionError, match="supcon_loss"):
        jaxloss.ntxent_loss(X, np.arange(8))  # pyright: ignore[reportArgumentType]
    with pytest.raises(AssertionError, match="ntxent_loss"):
        jaxloss.supcon_loss(X, Y)  # pyright: ignore[reportArgumentType]


def in_shards(loss, devices=4):
    mesh = jax.make_mesh((devices,), ("data",), devices=jax.devices()[:devices], axis_types=(AxisType.Auto,))
    return jax.shard_map(loss, mesh=mesh, in_specs=(P("data"), P("data"), P()), out_specs=P())


def test_the_rows_and_the_scale_have_the_gradients_of_one_device():
    """One by W of the rows', W times the scale's, or only that of a device's own part.

    https://github.com/mlfoundations/open_clip/issues/616, https://github.com/jax-ml/jax/issues/3970,
    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/363,
    https://github.com/lightning-ai/lightly/issues/1528, https://github.com/facebookresearch/SLIP/issues/31,
    https://github.com/facebookresearch/vissl/issues/123, https://github.com/ShiqiYu/OpenGait/issues/36
    """

    def clip(x, y, temperature, **options):
        return jaxloss.clip_loss(x, y, temperature=temperature, **options)

    def detached(x, y, temperature):
        """The others' rows gathered without a gradient, and a mean of means: what the reports had."""
        keys = jax.lax.stop_gradient(jax.lax.all_gather(y, "data", tiled=True))
        first = 2 * jax.lax.axis_index("data")
        logits = units_of(x, keys)[0] @ units_of(x, keys)[1] / temperature
        own = jax.lax.dynamic_slice_in_dim(logits, first, 2, 1).diagonal()
        return jax.lax.pmean((jax.nn.logsumexp(logits, -1) - own).mean(), "data")

    grads = functools.partial(jax.grad, argnums=(0, 1, 2))
    expected = grads(clip)(X, Y, 0.5)
    wrong = jax.jit(grads(in_shards(detached)))(X, Y, 0.5)
    assert not np.asarray(wrong[1]).any()
    found = jax.jit(grads(in_shards(functools.partial(clip, axis_name="data"))))(X, Y, 0.5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, expected)


def test_the_positives_of_a_device_are_its_own():
    """Labels that count from 0 on each device name other devices' rows.

    https://github.com/huggingface/sentence-transformers/issues/3453
    """
    loss = in_shards(lambda x, y, _: jaxloss.info_nce_loss(x, y, axis_name="data"))
    np.testing.assert_allclose(jax.jit(loss)(X, Y, 0.0), jaxloss.info_nce_loss(X, Y), rtol=1e-5)
    wrong = in_shards(lambda x, y, _: jax.lax.pmean(jaxloss.info_nce_loss(x, y), "data"))
    assert abs(jax.jit(wrong)(X, Y, 0.0) - jaxloss.info_nce_loss(X, Y)) > 1e-2


def test_the_loss_is_not_multiplied_by_the_number_of_devices():
    """A factor that makes up for a mean over devices where nothing is gathered: W times the loss of each device alone.

    https://github.com/lightonai/pylate/pull/156
    """
    labels, devices = np.arange(8) // 2, 4
    expected = jaxloss.info_nce_loss(X, Y)
    scaled = in_shards(lambda x, y, _: jax.lax.pmean(devices * jaxloss.info_nce_loss(x, y), "data"), devices)
    alone = [jaxloss.info_nce_loss(*each) for each in zip(np.split(X, devices), np.split(Y, devices), strict=True)]
    np.testing.assert_allclose(jax.jit(scaled)(X, Y, 0.0), sum(alone), rtol=1e-5)
    whole = in_shards(lambda x, y, _: jaxloss.info_nce_loss(x, y, axis_name="data"), devices)
    np.testing.assert_allclose(jax.jit(whole)(X, Y, 0.0), expected, rtol=1e-5)
    of_labels = in_shards(lambda x, labels, _: jaxloss.supcon_loss(x, labels, axis_name="data"), devices)
    np.testing.assert_allclose(jax.jit(of_labels)(X, labels, 0.0), jaxloss.supcon_loss(X, labels), rtol=1e-5)


def test_what_devices_add_up_is_by_the_largest_of_all():
    """Exponentials that go round a ring as they are: infinite at the scale of 100. As read in Inf-CL 1.2.1."""
    x, y = units(X, Y)

    def ring(x, y, _):
        own = jnp.sum(x * y, -1) * 100
        total = jnp.zeros_like(own)
        for _ in range(4):
            total += jnp.exp(100 * x @ y.T).sum(-1)
            y = jax.lax.ppermute(y, "data", [(i, (i + 1) % 4) for i in range(4)])
        return jax.lax.pmean((jnp.log(total) - own).mean(), "data")

    assert jax.jit(in_shards(ring))(x, y, 0.0) == np.inf
    loss = in_shards(lambda x, y, _: jaxloss.info_nce_loss(x, y, temperature=0.01, axis_name="data"))
    np.testing.assert_allclose(jax.jit(loss)(X, Y, 0.0), jaxloss.info_nce_loss(X, Y, temperature=0.01), rtol=1e-4)


def test_a_scale_below_0_is_refused():
    """A learned scale that is not exponentiated: once it falls below 0 partners are driven apart, and the loss falls.

    https://github.com/BAAI-DCAI/M3D/issues/52
    """
    scale = -0.5

    def plain(y):
        logits = scale * jnp.matmul(*units_of(X, y))
        return (jax.nn.logsumexp(logits, -1) - logits.diagonal()).mean()

    assert plain(-X) < plain(X)
    with pytest.raises(ValueError, match="`temperature` must be greater than 0"):
        jaxloss.clip_loss(X, X, temperature=1 / scale)
    assert jaxloss.clip_loss(X, X, temperature=math.exp(-scale)) < jaxloss.clip_loss(
        X, -X, temperature=math.exp(-scale)
    )


def test_the_gradient_is_of_all_blocks():
    """Of rows that were embedded a few at a time, the gradient of the last few alone arrived.

    https://github.com/huggingface/sentence-transformers/pull/3862
    """
    weight = jnp.eye(4) + 0.1

    def loss(embed, **options):
        return lambda weight: jaxloss.info_nce_loss(embed(X, weight), embed(Y, weight), **options)

    def last_few(rows, weight):
        *others, last = (each @ weight for each in np.split(rows, 4))
        return jnp.concatenate([*jax.lax.stop_gradient(others), last])

    expected = jax.grad(loss(jnp.matmul))(weight)
    assert abs(jax.grad(loss(last_few))(weight) - expected).max() > 0.1 * abs(expected).max()
    np.testing.assert_allclose(jax.grad(loss(jnp.matmul, chunk_size=2))(weight), expected, rtol=1e-4, atol=1e-6)


def test_blocks_are_not_kept_for_the_gradient():
    """A loop over blocks that JAX or PyTorch differentiates keeps every block.

    https://github.com/mlfoundations/open_clip/issues/1214, https://github.com/mlfoundations/open_clip/issues/942,
    https://github.com/google-research/big_vision/issues/132,
    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/547
    """
    size = 2048
    rows = jax.ShapeDtypeStruct((size, 8), jnp.float32)

    def by_blocks(x, y):
        def step(total, block):
            return total + jax.nn.softplus(x @ block.T).sum(), None

        return jax.lax.scan(step, 0.0, y.reshape(16, -1, 8))[0]

    def held(loss):
        memory = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(rows, rows).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes / (4 * size * size)

    assert held(by_blocks) > 0.9
    assert held(functools.partial(jaxloss.siglip_loss, chunk_size=128)) < 0.5
