"""The wall: public reports of a loss that failed elsewhere, one a test, and what jaxloss gives in value and gradient.

Each failure is reproduced first: in optax where its releases up to 0.2.8 have it, else in the plain formula of the
report.
"""

import functools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

import jaxloss
from tests.support import assert_close

INF, NAN = jnp.inf, jnp.nan
# A newer release may have mended its bug, which is no failure of ours.
OPTAX_MAY_BE_RIGHT = tuple(map(int, optax.__version__.split(".")[:3])) > (0, 2, 8)


def optax_fails(failure: Any) -> None:
    assert np.all(failure) or OPTAX_MAY_BE_RIGHT


def graded(loss: Any, *arrays: Any, **options: Any) -> tuple[jax.Array, jax.Array]:
    """The value, and the gradient with respect to the first array, from one compilation."""
    return jax.jit(jax.value_and_grad(functools.partial(loss, **options)))(*map(jnp.asarray, arrays))


def holds(result: tuple[jax.Array, jax.Array], value: Any, gradient: Any, tolerance: float = 1e-5) -> None:
    assert_close(result[0], value, tolerance)
    # A gradient has the digits of the input's dtype.
    assert_close(result[1].astype(jnp.float32), gradient, max(tolerance, float(jnp.finfo(result[1].dtype).eps)))


def rows_of_cross_entropy(logits: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
    """-sum_c q_c log p_c of each row and its gradient, in float64."""
    logits, q = np.asarray(logits, np.float64), np.asarray(q, np.float64)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p = p / p.sum(-1, keepdims=True)
    return -(q * np.log(np.where(q == 0, 1, p))).sum(-1), p * q.sum(-1, keepdims=True) - q


# Regression


def test_a_column_against_a_row_is_refused():
    """(n, 1) against (n,) became n by n errors: a perfect prediction has a loss, and training does not converge.

    https://github.com/pytorch/pytorch/issues/16045 and https://github.com/pytorch/pytorch/issues/16413
    """
    row, column = jnp.array([1.0, 2.0, 3.0]), jnp.array([[1.0], [2.0], [3.0]])
    np.testing.assert_allclose(jnp.square(row - column).mean(), 4 / 3)
    for loss in (jaxloss.mse_loss, jaxloss.huber_loss):
        with pytest.raises(AssertionError, match="target"):
            loss(row, column)
        holds(graded(loss, row, column[:, 0]), 0, [0, 0, 0])


def test_a_target_with_more_axes_is_refused():
    """(2, 1) against (2, 1, 1, 1) was neither an error nor a broadcast: what stood in the same place was paired.

    https://github.com/pytorch/pytorch/issues/4938
    """
    pred, target = jnp.array([[1.0], [2.0]]), jnp.array([0.0, 1.0])
    assert jnp.square(pred.ravel() - target.ravel()).mean() == 1
    assert jnp.square(pred - target.reshape(2, 1, 1, 1)).mean() == 1.5
    with pytest.raises(AssertionError, match="target"):
        jaxloss.mse_loss(pred, target.reshape(2, 1, 1, 1))
    holds(graded(jaxloss.mse_loss, pred, target.reshape(2, 1)), 1, [[1], [1]])


def test_a_transposed_target_of_the_same_size_is_refused():
    """Only the number of elements was compared, so (a, b) against (b, a) had a loss.

    https://github.com/pytorch/pytorch/issues/5007
    """
    pred = jnp.arange(6.0).reshape(2, 3)
    assert jnp.abs(pred.ravel() - pred.T.ravel()).mean() == 1
    with pytest.raises(AssertionError, match="target"):
        jaxloss.l1_loss(pred, pred.T)
    holds(graded(jaxloss.l1_loss, pred, pred.T.T), 0, np.zeros((2, 3)))


def test_the_mean_of_a_million_squares_keeps_its_digits():
    """A running sum in float32 made 0.0098 of a mean squared error of 0.01.

    https://github.com/pytorch/pytorch/issues/8710
    """
    pred = np.full(5 * 68 * 64 * 64, 0.1, np.float32)
    assert abs(np.cumsum(np.square(pred))[-1] / pred.size - 0.01) > 1e-5
    holds(graded(jaxloss.mse_loss, pred, np.zeros_like(pred)), 0.01, np.full(pred.size, 0.2 / pred.size))


def test_a_half_precision_sum_does_not_overflow_before_it_is_divided():
    """The sum in float16 went over 65504, though the mean is small: NaN.

    https://github.com/pytorch/pytorch/issues/91597
    """
    pred = jnp.full(100_000, 2, jnp.float16)
    assert np.isnan(jnp.sum(pred * pred) / pred.size)
    holds(graded(jaxloss.mse_loss, pred, jnp.zeros_like(pred)), 4, np.full(pred.size, 4e-5), 1e-3)


def test_smooth_l1_with_beta_zero_has_a_gradient_where_the_error_is_zero():
    """The branch not taken divided by beta = 0, so equal input and target had a gradient of NaN.

    https://github.com/pytorch/pytorch/issues/96813
    """

    def plain(pred, target, beta=0.0):
        size = jnp.abs(pred - target)
        return jnp.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta).mean()

    assert np.isnan(graded(plain, [0.0, 0.0], [0.0, 1.0])[1]).any()
    holds(graded(jaxloss.smooth_l1_loss, [0.0, 0.0], [0.0, 1.0], beta=0.0), 0.5, [0, -0.5])


def test_log_cosh_of_a_large_error_is_finite():
    """The exponentials were taken as they stand and overflowed at an error of 100.

    https://github.com/Lightning-AI/torchmetrics/issues/3488
    """
    value, gradient = graded(lambda x: jnp.log((jnp.exp(x) + jnp.exp(-x)) / 2).mean(), [100.0, -100.0])
    assert np.isinf(value)
    assert np.isnan(gradient).all()
    holds(graded(jaxloss.log_cosh_loss, [100.0, -100.0], [0.0, 0.0]), 100 - math.log(2), [0.5, -0.5])


def test_the_gaussian_loss_without_a_reduction_has_the_shape_of_its_input():
    """reduction="none" still summed over every axis but the first.

    https://github.com/pytorch/pytorch/issues/53964
    """
    pred, target = np.array([[0.0, 1.0, 3.0], [2.0, 4.0, 0.0]]), np.array([[1.0, 4.0, 2.0], [-1.0, 2.0, 3.0]])
    values = 0.5 * (math.log(2) + (pred - target) ** 2 / 2)
    assert values.reshape(2, -1).sum(1).shape != pred.shape
    loss = functools.partial(jaxloss.gaussian_nll_loss, var=2.0)
    assert_close(loss(jnp.asarray(pred), jnp.asarray(target), reduction="none"), values, 1e-5)
    holds(graded(loss, pred, target, reduction="sum"), values.sum(), (pred - target) / 2)


def test_the_full_poisson_loss_adds_what_it_documents():
    """Stirling's term was computed and thrown away, so full=True changed nothing.

    https://github.com/pytorch/pytorch/issues/28575
    """
    without = 3 - 5 * math.log(3)
    full = without + 5 * math.log(5) - 5 + 0.5 * math.log(2 * math.pi * 5)
    np.testing.assert_allclose(without, -2.49306, rtol=1e-5)
    holds(graded(jaxloss.poisson_nll_loss, [3.0], [5.0], log_input=False, full=True, eps=0.0), full, [1 - 5 / 3])


def test_the_stirling_term_is_left_out_by_its_count_and_not_by_its_size():
    """The mask asked whether the term was at most 1, not the count, so a count of 2 lost it.

    https://github.com/PaddlePaddle/Paddle/issues/56733
    """
    term = 2 * math.log(2) - 2 + 0.5 * math.log(4 * math.pi)
    assert np.where(term <= 1, 0, term) == 0
    result = graded(jaxloss.poisson_nll_loss, [0.0, 0.0], [1.0, 2.0], full=True, reduction="sum")
    holds(result, 2 + term, [0, -1])


def test_a_missing_target_under_the_mask_has_no_gradient():
    """The loss was masked after it was taken: its value is right, its gradient NaN.

    https://github.com/pytorch/pytorch/issues/121416
    """
    keep = jnp.array([True, False])
    value, gradient = graded(lambda x, y: jnp.sum(jnp.square(x - y), where=keep), [1.0, 0.0], [0.0, NAN])
    assert value == 1
    assert np.isnan(gradient[1])
    holds(graded(jaxloss.mse_loss, [1.0, 0.0], [0.0, NAN], where=keep), 1, [2, 0])


def test_a_mask_is_no_factor():
    """Hidden tokens were multiplied by 0, and 0 times NaN is NaN.

    https://github.com/ecmwf/WeatherGenerator/pull/2717
    """
    keep = jnp.array([True, True, False])
    pred, target = [1.0, 3.0, NAN], [0.0, 5.0, 0.0]
    assert np.isnan(graded(lambda x, y: jnp.sum(jnp.abs(x - y) * keep) / keep.sum(), pred, target)[0])
    holds(graded(jaxloss.l1_loss, pred, target, where=keep), 1.5, [0.5, -0.5, 0])


def test_the_quantile_loss_is_positive_on_both_sides():
    """A sign was wrong for predictions above the target: over and under cancelled.

    https://github.com/scikit-learn/scikit-learn/pull/6429
    """
    pred, target = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    error = target - pred
    assert np.where(error > 0, 0.5 * error, (1 - 0.5) * error).mean() == 0
    holds(graded(jaxloss.quantile_loss, pred, target, quantile=0.5), 0.5, [0.25, -0.25])
    holds(graded(jaxloss.quantile_loss, pred, target, quantile=0.9), 0.5, [0.05, -0.45])


# Classes


def test_a_label_too_large_is_reported_and_spoils_the_gradient_too():
    """A label out of range is a silent NaN, and the gradient goes on as if nothing were wrong.

    https://github.com/google-deepmind/optax/issues/1185
    """
    logits, label = [0.2, 0.1, 0.4, 0.6], 4
    value, gradient = graded(optax.losses.softmax_cross_entropy_with_integer_labels, logits, label)
    optax_fails(np.isnan(value) and np.isfinite(gradient).all())
    value, gradient = graded(jaxloss.cross_entropy, logits, label)
    assert np.isnan(value)
    assert np.isnan(gradient).all()
    with pytest.raises(ValueError, match="must hold class indices"):
        chex.chexify(jax.jit(jaxloss.cross_entropy), async_check=False)(jnp.array(logits), jnp.array(label))


def test_a_negative_label_does_not_take_the_last_class():
    """A label of -1 was read as an index from the end: the loss of the last class.

    https://github.com/chainer/chainer/pull/5238 (a side effect; optax does the same)
    """
    logits = [0.2, 0.1, 0.4, 0.6]
    theirs = optax.losses.softmax_cross_entropy_with_integer_labels
    optax_fails(graded(theirs, logits, -1)[0] == graded(theirs, logits, 3)[0])
    value, gradient = graded(jaxloss.cross_entropy, logits, -1)
    assert np.isnan(value)
    assert np.isnan(gradient).all()
    holds(graded(jaxloss.cross_entropy, logits, -1, ignore_index=-1), 0, np.zeros(4))


def test_a_masked_logit_of_probability_zero_costs_nothing():
    """A logit of -inf, of a class that cannot be, gave 0 * inf = NaN.

    https://github.com/google-deepmind/optax/issues/896
    """
    logits, q = [-INF, 0.0, 1.0], [0.0, 1.0, 0.0]
    optax_fails(np.isnan(graded(optax.losses.softmax_cross_entropy, logits, q)[0]))
    value, gradient = rows_of_cross_entropy(logits, q)
    holds(graded(jaxloss.soft_target_cross_entropy, logits, q), value, gradient)


def test_a_masked_logit_has_a_derivative_in_forward_mode():
    """The derivative written by hand multiplied -inf by a tangent of 0.

    https://github.com/google-deepmind/optax/pull/1762
    """
    logits, q, still = jnp.array([-INF, 0.0, 1.0]), jnp.array([0.0, 1.0, 0.0]), jnp.zeros(3)
    optax_fails(np.isnan(jax.jvp(optax.losses.safe_softmax_cross_entropy, (logits, q), (still, still))[1]))
    assert jax.jvp(jaxloss.soft_target_cross_entropy, (logits, q), (still, still))[1] == 0
    value, gradient = rows_of_cross_entropy(logits, q)
    holds(graded(jaxloss.soft_target_cross_entropy, logits, q), value, gradient)
    assert_close(jax.jacfwd(jaxloss.soft_target_cross_entropy)(logits, q), gradient, 1e-5)


def test_bfloat16_logits_do_not_quantise_the_loss():
    """The log of the sum was rounded to bfloat16: losses came in steps of 1/32.

    https://github.com/google-deepmind/optax/issues/1020
    """
    logits = jnp.linspace(0, 1, 100).astype(jnp.bfloat16)
    value, gradient = rows_of_cross_entropy(logits.astype(jnp.float32), np.eye(100)[3])
    coarse = optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.array(3))
    optax_fails(abs(float(coarse) - value) > 5e-3)
    holds(graded(jaxloss.cross_entropy, logits, 3), value, gradient)


def test_a_large_batch_in_float16_does_not_overflow():
    """The sum over the tokens of a batch was kept in float16: inf.

    https://github.com/pytorch/pytorch/issues/85791
    """
    logits, target = jnp.zeros((70_000, 3), jnp.float16), jnp.zeros(70_000, int)
    rows = -jax.nn.log_softmax(logits)[:, 0]
    assert np.isinf(rows.sum())
    gradient = np.tile([-2 / 3, 1 / 3, 1 / 3], (70_000, 1)) / 70_000
    holds(graded(jaxloss.cross_entropy, logits, target), math.log(3), gradient, 0.01)


def test_the_mean_over_a_million_labels_keeps_its_digits():
    """The running sum over a large tensor lost its digits.

    https://github.com/pytorch/pytorch/issues/55657
    """
    logits, target = np.tile(np.array([0.3, 0], np.float32), (1 << 20, 1)), np.zeros(1 << 20, int)
    value, gradient = rows_of_cross_entropy([0.3, 0], [1, 0])
    assert abs(np.cumsum(np.full(1 << 20, value, np.float32))[-1] / (1 << 20) / value - 1) > 1e-4
    holds(graded(jaxloss.cross_entropy, logits, target), value, np.tile(gradient / (1 << 20), (1 << 20, 1)))


def test_only_ignored_labels_have_loss_zero():
    """A batch without one label that counts divided 0 by 0.

    https://github.com/pytorch/pytorch/issues/116349, https://github.com/pytorch/pytorch/issues/70348 and
    https://github.com/pytorch/pytorch/issues/75181
    """
    logits, target = [[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], [-100, -100]

    def plain(logits, target):
        rows = -jax.nn.log_softmax(logits)[:, 0] * (target != -100)
        return rows.sum() / (target != -100).sum()

    assert np.isnan(graded(plain, logits, target)[0])
    holds(graded(jaxloss.cross_entropy, logits, target, ignore_index=-100), 0, np.zeros((2, 3)))


def test_label_smoothing_leaves_ignored_labels_out():
    """The even part of the smoothed target was taken over the ignored examples too.

    https://github.com/pytorch/pytorch/issues/73205
    """
    logits, target = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0], [9.0, 0.0, 0.0]]), np.array([0, 2, -1])
    q = 0.8 * np.eye(3)[target] + 0.2 / 3
    q[2] = 0
    values, gradients = rows_of_cross_entropy(logits, q)
    too_much = (values.sum() + rows_of_cross_entropy(logits[2], np.full(3, 0.2 / 3))[0]) / 2
    assert abs(too_much - values.sum() / 2) > 0.1
    result = graded(jaxloss.cross_entropy, logits, target, label_smoothing=0.2, ignore_index=-1)
    holds(result, values.sum() / 2, gradients / 2)


def test_the_weight_of_an_ignored_label_is_not_looked_up():
    """Weights, label smoothing and ignored labels together read the weight at the ignored index.

    https://github.com/pytorch/pytorch/issues/69339 and https://github.com/pytorch/pytorch/issues/91383
    """
    logits, target = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0], [9.0, 0.0, 0.0]]), np.array([0, 1, -1])
    weight = np.array([1.0, 2.0, 5.0])
    assert weight[target].sum() == 8  # an index of -1 reads the last one
    q = weight * (0.9 * np.eye(3)[target] + 0.1 / 3)
    q[2] = 0
    values, gradients = rows_of_cross_entropy(logits, q)
    options = {"weight": jnp.asarray(weight), "label_smoothing": 0.1, "ignore_index": -1}
    holds(graded(jaxloss.cross_entropy, logits, target, **options), values.sum() / 3, gradients / 3)


def test_logits_of_a_hundred_million_keep_their_differences():
    """Equal logits of 1e8 had loss 0: log 2 was rounded away beside the largest of them.

    https://github.com/pytorch/pytorch/issues/11752
    """
    logits = jnp.array([1e8, 1e8])
    largest = logits.max()
    assert largest + jnp.log(jnp.exp(logits - largest).sum()) - logits[1] == 0
    holds(graded(jaxloss.cross_entropy, logits, 1), math.log(2), [0.5, -0.5])


def test_the_focal_loss_of_classes_is_focal_in_each_example():
    """The focal factor was that of the mean cross-entropy, not of each example.

    https://github.com/kaidic/LDAM-DRW/issues/6
    """
    logits, target = np.array([[4.0, 0.0], [0.0, 4.0]]), np.array([0, 0])
    rows, slopes = rows_of_cross_entropy(logits, np.eye(2)[target])
    p = np.exp(-rows)
    value = ((1 - p) ** 2 * rows).mean()
    assert abs((1 - np.exp(-rows.mean())) ** 2 * rows.mean() - value) > 0.1
    gradient = ((1 - p) ** 2 + 2 * (1 - p) * p * rows)[:, None] * slopes / 2
    holds(graded(jaxloss.softmax_focal_loss, logits, target, gamma=2.0), value, gradient)


def test_a_fused_layer_and_loss_weighs_each_token_in_the_gradient():
    """The gradient was formed in the forward pass and forgot what the unreduced losses were multiplied by.

    https://github.com/linkedin/Liger-Kernel/issues/968
    """
    features, kernel, target = jnp.array([[1.0, 2.0], [3.0, -1.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]]), [0, 1]
    values, slopes = rows_of_cross_entropy(features @ kernel, np.eye(2)[target])

    def plain(features):
        return -jnp.diag(jax.nn.log_softmax(features @ kernel))

    fused = jax.custom_vjp(plain)
    fused.defvjp(lambda x: (plain(x), jax.grad(lambda x: plain(x).sum())(x)), lambda gradient, _: (gradient,))
    counts = np.array([1.0, 0.0])
    forgot = graded(lambda x: jnp.vdot(fused(x), counts), features)[1]
    assert (forgot[1] != 0).any()
    ours = functools.partial(jaxloss.linear_cross_entropy, kernel=kernel, target=jnp.array(target), reduction="none")
    result = graded(lambda x: jnp.vdot(ours(x), counts), features)
    holds(result, values @ counts, counts[:, None] * slopes @ np.asarray(kernel).T)


# Two classes


def test_a_positive_weight_does_not_overflow():
    """With pos_weight, even of 1, a logit of -120 was exponentiated as it stands.

    https://github.com/pytorch/pytorch/issues/13773
    """
    logits, target, pos_weight = [0.0, -120.0], [0.0, 1.0], jnp.ones(2)

    def plain(x, y):
        return jnp.mean((1 - y) * x + (1 + (pos_weight - 1) * y) * jnp.log1p(jnp.exp(-x)))

    assert not np.isfinite(graded(plain, logits, target)[0])
    result = graded(jaxloss.binary_cross_entropy_with_logits, logits, target, pos_weight=pos_weight)
    holds(result, (math.log(2) + 120) / 2, [0.25, -0.5])


def test_a_certain_and_right_logit_costs_nothing():
    """Logits of -inf and inf gave NaN where the probability's loss is 0.

    https://github.com/pytorch/pytorch/issues/49844 and https://github.com/pytorch/pytorch/issues/102894
    """
    logits, target = [-INF, INF], [0.0, 1.0]
    theirs = optax.losses.sigmoid_binary_cross_entropy(jnp.array(logits), jnp.array(target))
    optax_fails(np.isnan(theirs).all())
    holds(graded(jaxloss.binary_cross_entropy_with_logits, logits, target), 0, [0, 0])


def test_a_logit_of_zero_has_the_gradient_of_its_probability():
    """At 0 the slopes of a clamp and of an absolute value did not add up to that of the loss.

    https://github.com/pytorch/pytorch/pull/1792
    """

    def plain(x, y):
        return jnp.where(x >= 0, x, 0) - x * y + jnp.log1p(jnp.exp(-x * jnp.sign(x)))

    holds(graded(plain, 0.0, 0.0), math.log(2), 1)
    holds(graded(jaxloss.binary_cross_entropy_with_logits, 0.0, 0.0), math.log(2), 0.5)


def test_a_probability_of_one_is_no_nan():
    """1 - 1e-9 is 1 in float32: the clip did nothing, and 0 * log 0 was NaN.

    https://github.com/keras-team/keras/issues/377
    """

    def plain(p, y):
        p = jnp.clip(p, 1e-9, 1 - 1e-9)
        return -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))

    assert np.isnan(graded(plain, [0.0, 1.0], [0.0, 1.0])[0])
    holds(graded(jaxloss.binary_cross_entropy, [0.0, 1.0], [0.0, 1.0]), 0, [0, 0])


def test_no_epsilon_is_added_to_probabilities():
    """Probabilities were clipped by an epsilon, and it was added once more: 15.33 in place of 15.94.

    https://github.com/keras-team/keras/issues/15249
    """
    p = np.float32(0.9999999)
    exact = -math.log(1 - float(p))
    assert abs(-math.log(1 - min(float(p), 1 - 1e-7) + 1e-7) - exact) > 0.5
    holds(graded(jaxloss.binary_cross_entropy, p, 0.0), exact, 1 / (1 - float(p)))


def test_a_wrong_logit_never_stops_learning():
    """Through a clipped probability the loss of a wrong logit ends at 16, with gradient 0.

    https://github.com/keras-team/keras/issues/9247
    """

    def plain(x):
        return -jnp.log(1 - jnp.clip(jax.nn.sigmoid(x), 1e-7, 1 - 1e-7))

    value, gradient = graded(plain, 30.0)
    assert value < 17
    assert gradient == 0
    holds(graded(jaxloss.binary_cross_entropy_with_logits, 30.0, 0.0), 30, 1)


def test_gamma_zero_is_the_cross_entropy_in_the_gradient_too():
    """0 to the power 0.0 has a derivative of NaN, so focal loss with gamma 0.0 did at a logit of 1000.

    https://github.com/google-deepmind/optax/issues/1267 (mended since in optax; the formula of then)
    """

    def plain(x, gamma=0.0):
        return (1 - jax.nn.sigmoid(x)) ** gamma * jax.nn.softplus(-x)

    assert np.isnan(graded(plain, 1000.0)[1])
    holds(graded(jaxloss.sigmoid_focal_loss, 1000.0, 1.0, gamma=0.0, alpha=None), 0, 0)
    holds(graded(jaxloss.sigmoid_focal_loss, -1000.0, 1.0, gamma=0.0, alpha=None), 1000, -1)


def test_gamma_below_one_has_a_gradient_where_the_model_is_sure():
    """A power between 0 and 1 has an infinite slope at 0, where a sure and right prediction lies.

    https://github.com/kornia/kornia/issues/918
    """
    logits, target = [-100.0, -100.0, 100.0, 100.0], [0.0, 1.0, 0.0, 1.0]

    def plain(x, y):
        p = jax.nn.sigmoid(x)
        hits, misses = jnp.sqrt(1 - p) * jnp.log(p + 1e-8), jnp.sqrt(p) * jnp.log(1 - p + 1e-8)
        return -jnp.mean(0.25 * y * hits + 0.75 * (1 - y) * misses)

    assert np.isnan(graded(plain, logits, target)[1]).any()
    result = graded(jaxloss.sigmoid_focal_loss, logits, target, alpha=0.25, gamma=0.5)
    holds(result, 25, [0, -0.25 / 4, 0.75 / 4, 0])


def test_a_half_precision_focal_loss_of_a_logit_of_nine_is_finite():
    """In float16 a logit of 9.39 is a probability of 1, and the logarithm of the other class was infinite.

    https://github.com/open-mmlab/mmcv/issues/1488
    """
    logits, target = jnp.array([9.3906, -4.2344], jnp.float16), jnp.array([1, 0], jnp.float16)

    def plain(x, y):
        p = jax.nn.sigmoid(x)
        return -jnp.mean(0.25 * y * (1 - p) ** 2 * jnp.log(p) + 0.75 * (1 - y) * p**2 * jnp.log(1 - p))

    assert np.isnan(graded(plain, logits, target)[0])
    x = np.asarray(logits, np.float64) * [1, -1]  # the logit of the true class
    miss, bce, alpha = 1 / (1 + np.exp(x)), np.log1p(np.exp(-x)), np.array([0.25, 0.75])
    gradient = -alpha * miss**2 * (miss + 2 * (1 - miss) * bce) * [1, -1] / 2
    result = graded(jaxloss.sigmoid_focal_loss, logits, target, alpha=0.25, gamma=2.0)
    holds(result, (alpha * miss**2 * bce).mean(), gradient, 0.01)


def test_alpha_of_the_negatives_is_the_rest():
    """alpha was multiplied to positives and negatives alike, which balances nothing.

    https://github.com/liuyuisanai/Focal-Loss/issues/4 and https://github.com/qubvel/segmentation_models/issues/187
    """
    value, slope = 0.25 * math.log(2), 0.25 * 0.5 + 0.25 * math.log(2)  # of gamma 2 at a logit of 0

    def plain(x, y):
        p = jax.nn.sigmoid(x)
        return -0.25 * jnp.mean(y * (1 - p) ** 2 * jnp.log(p) + (1 - y) * p**2 * jnp.log(1 - p))

    holds(graded(plain, [0.0, 0.0], [1.0, 0.0]), 0.25 * value, [-0.125 * slope, 0.125 * slope])
    result = graded(jaxloss.sigmoid_focal_loss, [0.0, 0.0], [1.0, 0.0], alpha=0.25)
    holds(result, 0.5 * value, [-0.125 * slope, 0.375 * slope])


# Margins


def test_a_confidently_wrong_score_does_not_overflow_the_soft_margin():
    """The exponential of the score was taken before the logarithm: inf, with gradient NaN.

    https://github.com/tracel-ai/burn/issues/5373
    """
    value, gradient = graded(lambda x: jnp.log(1 + jnp.exp(x)), 200.0)
    assert np.isinf(value)
    assert np.isnan(gradient)
    holds(graded(jaxloss.soft_margin_loss, 200.0, -1.0), 200, 1)


def test_a_wrong_label_among_many_keeps_its_gradient():
    """A sigmoid, then the logarithm of it and an epsilon: at a logit of -50 the loss was 27.6, the gradient 0.

    https://github.com/torch/nn/issues/949 and https://github.com/pytorch/pytorch/issues/1516
    """
    value, gradient = graded(lambda x: -jnp.log(jax.nn.sigmoid(x) + 1e-12), -50.0)
    np.testing.assert_allclose(value, 27.63, rtol=1e-3)
    assert abs(gradient) < 1e-8
    holds(graded(jaxloss.multilabel_soft_margin_loss, [-50.0, 50.0], [1.0, 1.0]), 25, [-0.5, 0])


# Segmentation


def test_the_sums_of_a_large_mask_do_not_overflow_in_float16():
    """A mask of 512 by 512 pixels sums to more than 65504: the Dice loss was NaN.

    https://github.com/qubvel-org/segmentation_models.pytorch/issues/463
    """
    ones = jnp.ones(512 * 512, jnp.float16)
    assert np.isnan(1 - 2 * jnp.sum(ones * ones) / (ones.sum() + ones.sum()))
    result = graded(jaxloss.dice_loss, ones, ones, from_logits=False)
    holds(result, 0, np.full(ones.size, -0.5 / ones.size), 0.02)


def test_two_empty_masks_agree():
    """An empty mask, rightly predicted, divided 0 by 0.

    https://github.com/Project-MONAI/MONAI/issues/120
    """
    empty = [0.0, 0.0]
    assert np.isnan(graded(lambda p, y: 1 - 2 * (p * y).sum() / (p + y).sum(), empty, empty)[0])
    holds(graded(jaxloss.dice_loss, empty, empty, from_logits=False, smooth=0.0), 0, [0, 0])


def test_what_smooths_the_denominator_smooths_the_numerator():
    """Added below only, it gave an empty mask, rightly predicted, the greatest loss.

    https://github.com/aim-uofa/AdelaiDet/issues/610
    """
    empty = [0.0, 0.0]
    assert graded(lambda p, y: 1 - 2 * (p * y).sum() / ((p + y).sum() + 1), empty, empty)[0] == 1
    holds(graded(jaxloss.dice_loss, empty, empty, from_logits=False, smooth=1.0), 0, [1, 1])


# Boxes


def aspect(pred, target, angle):
    return 4 / math.pi**2 * jnp.square(angle(target) - angle(pred))


def plain_angle(box):
    return jnp.arctan((box[2] - box[0]) / (box[3] - box[1]))


def test_a_box_of_no_area_has_a_finite_loss():
    """A predicted box that is a point, as early in training, gave NaN.

    https://github.com/open-mmlab/mmdetection/pull/3394
    """
    pred, target = [30.0, 75.0, 30.0, 75.0], [10.0, 55.0, 50.0, 95.0]
    assert np.isnan(graded(aspect, pred, target, angle=plain_angle)[0])
    for loss in (jaxloss.box_iou_loss, jaxloss.generalized_box_iou_loss):
        holds(graded(loss, pred, target), 1, np.zeros(4))
    # Centred, and a point's width / height counts as 0: v = 1 / 4, a = 1 / 5.
    holds(graded(jaxloss.complete_box_iou_loss, pred, target), 1 + 1 / 20, np.zeros(4))


def test_a_box_of_no_height_grows():
    """The slope of atan(width / height) at height 0 was 0 * inf, and the gradient of CIoU NaN.

    https://github.com/Zzh-tju/DIoU-pytorch-detectron/issues/19
    """
    pred, target = [200.0, 599.0, 300.0, 599.0], [150.0, 500.0, 350.0, 700.0]
    value, gradient = graded(aspect, pred, target, angle=plain_angle)
    assert np.isfinite(value)
    assert np.isnan(gradient).any()
    factor, turn = 4 / math.pi**2, math.pi / 4 - math.pi / 2
    v, distance = factor * turn**2, 1 / (200**2 + 200**2)  # the centres are 1 apart
    a, growth = v / (1 + v), 2 * factor * turn / 100
    expected = [0, -distance - a * growth, 0, -distance + a * growth]
    assert growth < 0
    holds(graded(jaxloss.complete_box_iou_loss, pred, target), 1 + distance + a * v, expected)


def test_equal_boxes_have_no_loss_and_no_gradient():
    """Of equal boxes the weight of the aspect ratio was 0 / 0.

    https://github.com/ultralytics/yolov5/issues/541
    """
    box = jnp.array([100.0, 100.0, 200.0, 300.0])
    v = aspect(box, box, plain_angle)
    assert np.isnan(v / (1 - 1 + v))
    holds(graded(jaxloss.complete_box_iou_loss, box, box, eps=0.0), 0, np.zeros(4))


def test_the_weight_of_the_aspect_ratio_is_constant_in_the_gradient():
    """The weight of CIoU's last term was differentiated, which the paper's implementation does not.

    https://github.com/open-mmlab/mmdetection/issues/5818
    """
    pred, target = jnp.array([0.0, 0.0, 4.0, 2.0]), jnp.array([-1.0, -1.0, 3.0, 5.0])

    def plain(pred, weight=None):
        iou, v = 1 - jaxloss.box_iou_loss(pred, target, eps=0.0), aspect(pred, target, plain_angle)
        return jaxloss.distance_box_iou_loss(pred, target, eps=0.0) + v * (
            v / (1 - iou + v) if weight is None else weight
        )

    value, gradient = graded(plain, pred)
    v = aspect(pred, target, plain_angle)
    held = graded(plain, pred, weight=v / (jaxloss.box_iou_loss(pred, target, eps=0.0) + v))
    assert np.abs(gradient - held[1]).max() > 1e-3
    holds(graded(jaxloss.complete_box_iou_loss, pred, target, eps=0.0), value, held[1])


# Distributions


def test_a_class_impossible_to_both_costs_nothing():
    """A target of 0 where the predicted log-probability is -inf gave 0 * inf = NaN.

    https://github.com/google-deepmind/optax/pull/1786
    """
    pred, target = [-INF, 0.0], [0.0, 1.0]
    optax_fails(np.isnan(graded(optax.losses.kl_divergence, pred, target)[0]))
    holds(graded(jaxloss.kl_div, pred, target, reduction="sum"), 0, [0, -1])


def test_the_mean_divergence_divides_by_examples():
    """Divided by the number of elements, the mean is the divergence of nothing.

    https://github.com/pytorch/pytorch/issues/2259
    """
    target, p = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]), np.full((2, 3), 1 / 3)
    divergence = (target * np.log(np.where(target == 0, 1, target) / p)).sum(-1)
    elements = target * np.log(np.where(target == 0, 1, target) / p)
    assert abs(elements.mean() - divergence.mean()) > 0.3
    holds(graded(jaxloss.kl_div, np.log(p), target), divergence.mean(), -target / 2)


# Embeddings


def test_an_anchor_that_is_its_positive_has_a_gradient():
    """The square root of a distance of 0 has no slope: one such pair made the whole gradient NaN.

    https://github.com/tensorflow/tensorflow/issues/30199 and
    https://github.com/huggingface/sentence-transformers/pull/4033
    """
    anchor, negative = [1.0, 2.0], [4.0, 6.0]
    theirs = graded(optax.losses.triplet_margin_loss, anchor, anchor, negative, eps=0.0, margin=6.0)
    optax_fails(np.isnan(theirs[1]).any())
    result = graded(jaxloss.triplet_margin_loss, anchor, anchor, negative, eps=0.0, margin=6.0)
    holds(result, 1, [0.6, 0.8])


def test_a_degree_too_low_for_any_distance_is_refused():
    """With p = 1e-6 a distance of eight ones is 8 ** 1e6: inf, and the loss inf - inf = NaN.

    https://github.com/pytorch/pytorch/issues/187178
    """
    zeros, ones = jnp.zeros(8), jnp.ones(8)
    optax_fails(np.isnan(optax.losses.triplet_margin_loss(zeros, ones, -ones, norm_degree=1e-6)))
    with pytest.raises(ValueError, match="`p` must be greater than 0 and at least 0.0234 for 8 features"):
        jaxloss.triplet_margin_loss(zeros, ones, -ones, p=1e-6)
    result = graded(jaxloss.triplet_margin_loss, zeros, ones, -ones / 4, p=0.5, eps=0.0)
    holds(result, 64 - 16 + 1, np.full(8, -8 - 8))


def test_a_norm_of_high_degree_does_not_overflow():
    """Differences were raised to the power p as they stand: the norm was inf from p = 76 on.

    https://github.com/pytorch/pytorch/issues/184036
    """
    anchor, positive, negative = [0.0, 0.0], [4.0, 4.0], [0.0, 3.0]
    assert np.isinf(graded(lambda x: jnp.sum(jnp.abs(x) ** 100.0) ** (1 / 100), positive)[0])
    result = graded(jaxloss.triplet_margin_loss, anchor, positive, negative, p=100.0, eps=0.0)
    slope = 0.5 * 2 ** (1 / 100)
    holds(result, 4 * 2 ** (1 / 100) - 3 + 1, [-slope, 1 - slope])


def test_no_active_triplet_has_loss_zero():
    """The mean over triplets with a loss, where there is none, divided by 0.

    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/107 and
    https://github.com/tensorflow/addons/issues/2447
    """

    def plain(values):
        return values.sum() / (values > 0).sum()

    def active(values, weights):
        return jaxloss.reductions.mean(values, weights & (values > 0))

    anchor, easy, hard = [[0.0], [0.0]], [[9.0], [9.0]], [[9.0], [0.5]]
    assert np.isnan(graded(plain, [0.0, 0.0])[0])
    loss = functools.partial(jaxloss.triplet_margin_loss, eps=0.0, reduction=active)
    holds(graded(loss, anchor, anchor, easy), 0, [[0], [0]])
    holds(graded(loss, anchor, anchor, hard), 0.5, [[0], [1]])


def test_a_zero_vector_has_a_cosine():
    """An embedding of zeros divided 0 by 0.

    https://github.com/google-deepmind/optax/pull/946
    """
    zero, other = [0.0, 0.0], [3.0, 4.0]
    optax_fails(np.isnan(graded(optax.losses.cosine_distance, zero, other)[0]))
    value, gradient = graded(jaxloss.cosine_embedding_loss, zero, other, 1.0)
    assert_close(value, 1, 1e-5)
    assert_close(gradient / np.linalg.norm(gradient), [-0.6, -0.8], 1e-5)
    holds(graded(jaxloss.cosine_embedding_loss, zero, other, -1.0), 0, [0, 0])


# Sequences


def plain_ctc(logits, labels):
    """Log-probabilities of the states blank, label, blank, ..., after the last frame; labels are never skipped to."""
    log_p = jax.nn.log_softmax(logits)
    states = np.array([0, *(state for label in labels for state in (label, 0))])
    alpha = jnp.where(np.arange(len(states)) < 2, log_p[0, states], -INF)
    for frame in log_p[1:]:
        moved = jnp.concatenate([jnp.array([-INF]), alpha[:-1]])
        alpha = jnp.log(jnp.exp(alpha) + jnp.exp(moved)) + frame[states]
    return alpha


def test_ctc_is_never_negative():
    """The float32 loss of a confident alignment fell below 0, and its logarithm was NaN.

    https://github.com/google-deepmind/optax/issues/1771
    """
    logits, label = jnp.array([[0.0, 17.0], [0.0, 17.0]]), jnp.array([1])
    theirs = optax.losses.ctc_loss(logits[None], jnp.zeros((1, 2)), label[None], jnp.zeros((1, 1)))
    optax_fails(theirs[0] < 0)
    value, gradient = graded(jaxloss.ctc_loss, logits, label)
    assert 0 <= value < 1e-6
    assert_close(gradient, np.zeros((2, 2)), 1e-6)


def test_ctc_has_a_gradient_where_states_are_out_of_reach():
    """The logarithm of a probability of 0 inside the recursion: training went to NaN after some time.

    https://github.com/pytorch/pytorch/issues/14335 and https://github.com/pytorch/pytorch/issues/14401
    """

    def plain(logits):
        return -jnp.logaddexp(*plain_ctc(logits, [1, 1])[-2:])

    value, gradient = graded(plain, np.zeros((3, 3)))
    assert_close(value, 3 * math.log(3), 1e-5)
    assert np.isnan(gradient).any()
    path = np.eye(3)[[1, 0, 1]]  # the only one
    result = graded(jaxloss.ctc_loss, np.zeros((3, 3)), [1, 1], reduction="sum")
    holds(result, 3 * math.log(3), 1 / 3 - path)


def test_an_empty_target_does_not_end_in_the_last_label():
    """Among sequences of labels an empty one was read at an index of -1.

    https://github.com/pytorch/pytorch/issues/18215
    """
    alpha = plain_ctc(jnp.zeros((2, 3)), [1])
    length = 0
    wrong = -jnp.logaddexp(alpha[2 * length], alpha[2 * length - 1])
    assert_close(wrong, math.log(9 / 2), 1e-5)
    result = graded(jaxloss.ctc_loss, np.zeros((2, 3)), [1], target_lengths=jnp.array(length), reduction="sum")
    holds(result, math.log(9), np.tile([-2 / 3, 1 / 3, 1 / 3], (2, 1)))


def test_a_sequence_too_short_for_its_labels_is_impossible():
    """Its loss was 1e5, a number like any other, with a gradient that trains on it.

    https://github.com/apple/axlearn/pull/211
    """
    logits, labels = np.zeros((2, 4)), [1, 2, 3]

    def theirs(logits, labels):
        return optax.losses.ctc_loss(logits[None], jnp.zeros((1, 2)), labels[None], jnp.zeros((1, 3)))[0]

    value, gradient = graded(theirs, logits, labels)
    optax_fails(np.isfinite(value) and np.abs(gradient).max() > 0.1)
    assert np.isinf(jaxloss.ctc_loss(jnp.asarray(logits), jnp.array(labels)))
    holds(graded(jaxloss.ctc_loss, logits, labels, zero_infinity=True), 0, np.zeros((2, 4)))


# Devices


def on_two_devices(reduction):
    """The mean squared error of (2, n) predictions, a row on each device, as the first device has it."""

    def loss(pred, keep):
        return jaxloss.mse_loss(pred, jnp.zeros_like(pred), where=keep, reduction=reduction)

    return lambda pred, keep: jax.vmap(loss, axis_name="data")(pred, keep)[0]


def mean_of_means(values, weights):
    return jax.lax.pmean(jnp.sum(weights * values) / weights.sum(), "data")


MEAN = functools.partial(jaxloss.reductions.mean, axis_name="data")


def test_the_masked_mean_over_devices_is_no_mean_of_means():
    """Each device divided by its own count of tokens, so those of a device with few counted more.

    https://github.com/huggingface/transformers/pull/19494 and https://github.com/NVIDIA/Megatron-LM/pull/7513
    """
    pred, keep = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), jnp.array([[True] * 3, [True, False, False]])
    assert_close(graded(on_two_devices(mean_of_means), pred, keep)[0], (14 / 3 + 16) / 2, 1e-5)
    holds(graded(on_two_devices(MEAN), pred, keep), 30 / 4, [[0.5, 1, 1.5], [2, 0, 0]])


def test_a_device_without_tokens_does_not_spoil_the_others():
    """All tokens of one device masked: 0 / 0 there, and NaN everywhere.

    https://github.com/NVIDIA/Megatron-LM/issues/1764
    """
    pred, keep = jnp.array([[1.0, 2.0], [4.0, 5.0]]), jnp.array([[True, True], [False, False]])
    assert np.isnan(graded(on_two_devices(mean_of_means), pred, keep)[0])
    holds(graded(on_two_devices(MEAN), pred, keep), 2.5, [[1, 2], [0, 0]])


def test_class_weights_are_counted_over_all_devices():
    """Each device divided by the weights of its own labels, and the mean of these was taken.

    https://github.com/pytorch/pytorch/issues/185167
    """
    log_p, labels, weight = np.log([[[0.5, 0.5]], [[0.75, 0.25]]]), np.array([[0], [1]]), jnp.array([1.0, 3.0])

    def on_mesh(reduction):
        loss = functools.partial(jaxloss.nll_loss, weight=weight, reduction=reduction)
        return lambda log_p, labels: jax.vmap(loss, axis_name="data")(log_p, labels)[0]

    own, other = math.log(2), math.log(4)
    assert_close(graded(on_mesh(mean_of_means), log_p, labels)[0], (own + other) / 2, 1e-5)
    holds(graded(on_mesh(MEAN), log_p, labels), (own + 3 * other) / 4, [[[-0.25, 0]], [[0, -0.75]]])


# Classes on devices

ROWS, WHOLE = P(None, "model"), P()


def over_classes(loss, *specs, out_specs=WHOLE):
    """The loss on two devices, each with half of the classes."""
    mesh = jax.make_mesh((2,), ("model",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    return jax.shard_map(loss, mesh=mesh, in_specs=specs, out_specs=out_specs)


def log_softmax_of_parts(logits):
    largest = jax.lax.pmax(jax.lax.stop_gradient(logits.max(-1, keepdims=True)), "model")
    return logits - largest - jnp.log(jax.lax.psum(jnp.exp(logits - largest).sum(-1, keepdims=True), "model"))


def test_smoothing_counts_the_classes_of_all_devices():
    """The mean log-probability was that of a device's own classes: each has another loss, and none is right.

    https://github.com/NVIDIA/Megatron-LM/issues/737 and https://github.com/NVIDIA/Megatron-LM/issues/7464
    """
    logits, labels = np.array([[2.0, 1.0, -1.0, 0.0]]), np.array([2])
    values, slopes = rows_of_cross_entropy(logits, 0.9 * np.eye(4)[labels] + 0.1 / 4)

    def theirs(logits):
        log_p = log_softmax_of_parts(logits)
        own = jax.lax.psum(jnp.sum(log_p * (jnp.arange(2) == labels[0] - 2 * jax.lax.axis_index("model"))), "model")
        return -0.9 * own - 0.1 * log_p.mean(keepdims=True)

    on_each = over_classes(theirs, ROWS, out_specs=ROWS)(logits)
    assert np.all(np.abs(on_each - values) > 0.01)
    assert abs(on_each[0, 0] - on_each[0, 1]) > 0.1
    ours = functools.partial(jaxloss.cross_entropy, label_smoothing=0.1, class_axis_name="model")
    holds(graded(over_classes(ours, ROWS, WHOLE), logits, labels), values[0], slopes)


def test_logits_that_are_whole_are_not_taken_for_parts():
    """Gathered logits went to the loss of sharded ones: a class counts once a device, and the loss has log 2 too much.

    https://github.com/NVIDIA/Megatron-LM/issues/7452
    """
    logits, labels = jnp.array([[2.0, 1.0, -1.0, 0.0]]), jnp.array([2])
    theirs = over_classes(lambda logits: -log_softmax_of_parts(logits)[0, 2], WHOLE)
    right = jaxloss.cross_entropy(logits, labels)
    assert_close(theirs(logits), right + math.log(2), 1e-6)
    ours = functools.partial(jaxloss.cross_entropy, class_axis_name="model")
    with pytest.raises(AssertionError, match="`pred` must hold another part on each"):
        over_classes(ours, WHOLE, WHOLE)(logits, labels)
    assert_close(over_classes(ours, ROWS, WHOLE)(logits, labels), right, 1e-6)


@jax.custom_jvp
def with_the_gradient_of_the_identity(logits):
    return log_softmax_of_parts(logits)


@with_the_gradient_of_the_identity.defjvp
def _identity(primals, tangents):
    return log_softmax_of_parts(*primals), tangents[0]


def test_log_probabilities_of_parts_have_the_gradient_of_all_classes():
    """The value is right, and no gradient reaches the other classes: softmax is missing from it.

    https://github.com/pytorch/pytorch/issues/190746
    """
    logits, q = np.array([[2.0, 1.0, -1.0, 0.0]]), np.array([[0.0, 0.75, 0.25, 0.0]])

    def theirs(logits, q):
        return -jax.lax.psum(jnp.sum(q * with_the_gradient_of_the_identity(logits)), "model")

    values, slopes = rows_of_cross_entropy(logits, q)
    holds(graded(over_classes(theirs, ROWS, ROWS), logits, q), values[0], -q)
    ours = functools.partial(jaxloss.soft_target_cross_entropy, class_axis_name="model")
    holds(graded(over_classes(ours, ROWS, ROWS), logits, q), values[0], slopes)


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_classes_that_are_padding_have_no_probability(softcap):
    """Padding has the logit 0 where all others are far below it; a softcap makes a finite logit of -inf.

    https://github.com/verl-project/verl/issues/2899, https://github.com/verl-project/verl/pull/5349 and
    https://github.com/unslothai/unsloth/pull/10616
    """
    pred, kernel, labels = np.array([[20.0]]), np.array([[-6.0, -6.2, -6.4]]), np.array([1])
    cap = (lambda x: x) if softcap is None else (lambda x: softcap * np.tanh(x / softcap))
    logits, slope = cap(pred * kernel)[0], 0 if softcap else 1
    right, (p_less_q,) = rows_of_cross_entropy(logits[None], np.eye(3)[labels])
    padding = 0.0 if softcap is None else cap(-INF)
    assert np.log(np.exp([*logits, padding] - logits[1]).sum()) > right + 0.2

    def ours(kernel, pred, labels):
        options = {"num_classes": 3, "class_axis_name": "model"}
        return jaxloss.linear_cross_entropy(pred, kernel, labels, logit_softcap=softcap, **options)

    padded = np.pad(kernel, ((0, 0), (0, 1)))
    result = graded(over_classes(ours, ROWS, WHOLE, WHOLE), padded, pred, labels)
    holds(result, right[0], [[*(slope * 20 * p_less_q), 0]])
