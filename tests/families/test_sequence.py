import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import ctc_loss

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 7, 5)).astype(np.float32)
TARGET = np.array([[1, 2, 3], [2, 2, 1], [4, 4, 4], [3, 1, 0]])
INPUT_LENGTHS, TARGET_LENGTHS = np.array([7, 5, 6, 3]), np.array([3, 2, 0, 1])


def one_by_one(loss=ctc_loss):
    """Each sequence cut to its lengths."""
    return [
        loss(LOGITS[i, :frames], TARGET[i, :labels], reduction="none")
        for i, (frames, labels) in enumerate(zip(INPUT_LENGTHS, TARGET_LENGTHS, strict=True))
    ]


def garbage():
    logits, target = LOGITS.copy(), TARGET.copy()
    for i in range(4):
        logits[i, INPUT_LENGTHS[i] :] = (np.nan, np.inf, -np.inf, 1e30, 0)
        target[i, TARGET_LENGTHS[i] :] = (-1, 99, 0)[: 3 - TARGET_LENGTHS[i]]
    return jnp.asarray(logits), jnp.asarray(target)


def test_lengths_cut_and_what_lies_beyond_counts_for_nothing():
    logits, target = garbage()
    loss = functools.partial(ctc_loss, input_lengths=INPUT_LENGTHS, target_lengths=TARGET_LENGTHS)
    np.testing.assert_allclose(loss(logits, target, reduction="none"), one_by_one(), rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda logits: loss(logits, target)))(logits)
    assert np.isfinite(gradient).all()
    for i in range(4):
        assert (gradient[i, INPUT_LENGTHS[i] :] == 0).all()
        assert (gradient[i, : INPUT_LENGTHS[i]] != 0).all()


def test_lengths_may_be_traced():
    logits, target = garbage()
    traced = jax.jit(lambda frames, labels: ctc_loss(logits, target, input_lengths=frames, target_lengths=labels))
    expected = np.mean(np.array(one_by_one()) / np.maximum(TARGET_LENGTHS, 1))
    np.testing.assert_allclose(traced(INPUT_LENGTHS, TARGET_LENGTHS), expected, rtol=1e-6)


def test_the_mean_divides_each_loss_by_its_length_and_other_functions_do_not():
    rows = ctc_loss(LOGITS, TARGET + 1 - TARGET // 4, target_lengths=TARGET_LENGTHS, reduction="none")
    mean = ctc_loss(LOGITS, TARGET + 1 - TARGET // 4, target_lengths=TARGET_LENGTHS)
    np.testing.assert_allclose(mean, (rows / np.array([3, 2, 1, 1])).mean(), rtol=1e-6)
    total = ctc_loss(LOGITS, TARGET + 1 - TARGET // 4, target_lengths=TARGET_LENGTHS, reduction="sum")
    np.testing.assert_allclose(total, rows.sum(), rtol=1e-6)


def test_an_empty_target_is_all_blanks():
    loss = ctc_loss(LOGITS, np.zeros((4, 0), int), reduction="none")
    np.testing.assert_allclose(loss, -jax.nn.log_softmax(LOGITS)[..., 0].sum(-1), rtol=1e-6)


def test_one_frame():
    np.testing.assert_allclose(ctc_loss(jnp.zeros((1, 4)), jnp.array([1]), reduction="none"), math.log(4), rtol=1e-6)
    assert ctc_loss(jnp.zeros((0, 4)), jnp.array([], int), reduction="none") == 0


def test_a_sequence_too_short_is_inf_or_zero_with_gradient_zero():
    lengths = jnp.array([2, 4, 4, 1]), jnp.array([3, 3, 3, 1])
    loss = functools.partial(ctc_loss, input_lengths=lengths[0], target_lengths=lengths[1])
    target = jnp.array([[1, 2, 3], [1, 1, 2], [1, 1, 1], [1, 1, 1]])
    rows = loss(LOGITS, target, reduction="none")
    assert np.isinf(rows).tolist() == [True, False, True, False]
    finite = functools.partial(loss, zero_infinity=True, reduction="sum")
    value, gradient = jax.value_and_grad(finite)(jnp.asarray(LOGITS), target)
    np.testing.assert_allclose(value, rows[1] + rows[3], rtol=1e-6)
    assert (gradient[0] == 0).all()
    assert (gradient[2] == 0).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [10.0, 50.0, 1e3, 1e4])
def test_a_confident_alignment_is_never_negative(scale):
    classes = jnp.array([1, 1, 0, 2, 2, 0, 2, 3])
    logits = scale * (2 * jax.nn.one_hot(classes, 5) - 1)
    value, gradient = jax.value_and_grad(ctc_loss)(logits, jnp.array([1, 2, 2, 3]))
    assert 0 <= value < 1e-6
    assert np.isfinite(gradient).all()


def test_the_ways_of_labels_keep_their_digits_under_a_class_of_a_large_logit():
    target = jnp.array([1, 2, 2])
    gradient_of = jax.grad(functools.partial(ctc_loss, reduction="sum"))
    shares = jax.nn.softmax(LOGITS[0])[:, :4] - gradient_of(LOGITS[0], target)[:, :4]
    under_a_large_one = gradient_of(LOGITS[0] + 1e7 * (np.arange(5, dtype=np.float32) == 4), target)
    np.testing.assert_allclose(-under_a_large_one[:, :4], shares, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("label", [-1, 5, 0])
def test_a_label_that_is_none_gives_nan_in_value_and_gradient(label):
    target = jnp.array([[1, 2], [1, label]])
    value, gradient = jax.value_and_grad(ctc_loss)(jnp.asarray(LOGITS[:2]), target)
    assert np.isnan(value)
    assert np.isfinite(gradient[0]).all()
    assert np.isnan(gradient[1]).all()


@pytest.mark.parametrize(("frames", "labels"), [(8, 3), (-1, 3), (7, 4), (7, -1)])
def test_a_length_out_of_range_gives_nan(frames, labels):
    loss = functools.partial(ctc_loss, input_lengths=jnp.full(4, frames), target_lengths=jnp.full(4, labels))
    assert np.isnan(loss(LOGITS, jnp.ones((4, 3), int), reduction="none")).all()


def test_log_probabilities_are_logits_too():
    loss = ctc_loss(jax.nn.log_softmax(LOGITS), jnp.ones((4, 2), int))
    np.testing.assert_allclose(loss, ctc_loss(LOGITS, jnp.ones((4, 2), int)), rtol=1e-6)
