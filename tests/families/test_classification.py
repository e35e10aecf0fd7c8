import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxloss

LOGITS = jnp.array([[1.5, 0.2, -0.5], [0.1, 2.0, 0.5]])
LABELS = jnp.array([0, 1])
BINARY = (jnp.array([0.8, -0.5]), jnp.array([1.0, 0.0]))


@functools.cache
def checked(loss):
    return chex.chexify(jax.jit(jax.value_and_grad(loss)), async_check=False)


def test_the_cross_entropy_example_of_the_documents():
    rows = [(math.log(math.exp(1.5) + math.exp(0.2) + math.exp(-0.5)) - 1.5)]
    rows += [math.log(math.exp(0.1) + math.exp(2.0) + math.exp(0.5)) - 2.0]
    np.testing.assert_allclose(jaxloss.cross_entropy(LOGITS, LABELS), np.mean(rows), rtol=1e-6)
    np.testing.assert_allclose(jaxloss.cross_entropy(LOGITS, LABELS, reduction="none"), rows, rtol=1e-6)


def test_the_binary_cross_entropy_example_of_the_documents():
    expected = (math.log1p(math.exp(-0.8)) + math.log1p(math.exp(-0.5))) / 2
    np.testing.assert_allclose(jaxloss.binary_cross_entropy_with_logits(*BINARY), expected, rtol=1e-6)


def test_the_focal_example_of_the_documents():
    bce = np.array([math.log1p(math.exp(-0.8)), math.log1p(math.exp(-0.5))])
    expected = np.mean(0.25 * (1 - np.exp(-bce)) ** 2 * bce)
    np.testing.assert_allclose(jaxloss.focal_loss(*BINARY), expected, rtol=1e-6)


def test_pitfall_double_softmax_is_reported():
    for loss in (jaxloss.cross_entropy, jaxloss.softmax_focal_loss):
        with pytest.raises(checkify.JaxRuntimeError, match="`pred` must hold logits, got probabilities.*softmax"):
            checked(loss)(jax.nn.softmax(LOGITS), LABELS)
        assert np.isfinite(checked(loss)(LOGITS, LABELS)[0])
        assert np.isfinite(checked(loss)(jax.nn.log_softmax(LOGITS), LABELS)[0])
        assert np.isfinite(checked(loss)(jnp.zeros((2, 3)), LABELS)[0])
    with pytest.raises(checkify.JaxRuntimeError, match="`pred` must hold logits, got probabilities"):
        checked(jaxloss.soft_target_cross_entropy)(jax.nn.softmax(LOGITS), jax.nn.one_hot(LABELS, 3))


def test_pitfall_double_softmax_is_reported_under_a_mask_and_from_bfloat16():
    probabilities = jax.nn.softmax(jax.random.normal(jax.random.key(0), (8, 1000))).astype(jnp.bfloat16)
    where = jnp.arange(8) < 5
    with pytest.raises(checkify.JaxRuntimeError, match="`pred` must hold logits, got probabilities"):
        checked(jaxloss.cross_entropy)(
            jnp.where(where[:, None], probabilities, jnp.nan), jnp.zeros(8, int), where=where
        )
    assert checked(jaxloss.cross_entropy)(probabilities, jnp.zeros(8, int), where=jnp.zeros(8, bool))[0] == 0


@pytest.mark.parametrize(
    "loss",
    [jaxloss.binary_cross_entropy_with_logits, jaxloss.focal_loss, jaxloss.sigmoid_focal_loss, jaxloss.dice_loss],
)
def test_pitfall_sigmoid_before_bce_with_logits_is_reported_once_it_shows(loss):
    logits = 4 * jax.random.normal(jax.random.key(0), (64,))
    target = (logits > 0).astype(float)
    with pytest.raises(checkify.JaxRuntimeError, match="`pred` must hold logits, got values that fill.*sigmoid"):
        checked(loss)(jax.nn.sigmoid(logits), target)
    assert np.isfinite(checked(loss)(logits, target)[0])
    # Any number is a valid logit: these could be a model's honest output, and must not be called wrong.
    for honest in (jnp.zeros(64), jnp.full(64, 0.6), jax.nn.sigmoid(logits[:8]), 0.4 + 0.2 * jax.nn.sigmoid(logits)):
        assert np.isfinite(checked(loss)(honest, jnp.round(honest))[0])


@pytest.mark.parametrize(
    "loss", [jaxloss.binary_cross_entropy_with_logits, jaxloss.focal_loss, jaxloss.sigmoid_focal_loss]
)
def test_pitfall_integer_and_boolean_targets_are_refused(loss):
    for dtype in (jnp.int32, jnp.uint8, bool):
        with pytest.raises(AssertionError, match="`target` must be floating.*target.astype\\(jnp.float32\\)"):
            loss(BINARY[0], BINARY[1].astype(dtype))


@pytest.mark.parametrize("target", [jnp.eye(3)[LABELS], jax.nn.one_hot(LABELS, 3, dtype=int)])
def test_pitfall_one_hot_targets_are_refused_with_the_right_function(target):
    with pytest.raises(AssertionError, match="cross_entropy: `target` must hold integer.*soft_target_cross_entropy"):
        jaxloss.cross_entropy(LOGITS, target)


def test_pitfall_probabilities_that_rounding_took_beyond_their_ends_count_as_the_ends():
    """The sum of a softmax in float32 is 1.0000001 in one of seven rows."""
    beyond, ends = jnp.array([1 + 1.2e-7, -1.2e-7, 1 + 2.4e-7]), jnp.array([1.0, 0.0, 1.0])
    for target in (ends, 1 - ends):
        got, expected = (jax.value_and_grad(jaxloss.binary_cross_entropy)(pred, target) for pred in (beyond, ends))
        jax.tree.map(np.testing.assert_array_equal, got, expected)
        chex.chexify(jax.jit(jaxloss.binary_cross_entropy), async_check=False)(beyond, target)
    half = jnp.array([1.0078125], jnp.bfloat16)
    assert jaxloss.binary_cross_entropy(half, jnp.ones(1, jnp.bfloat16)) == 0
    assert np.isnan(jaxloss.binary_cross_entropy(jnp.array([1.00001]), jnp.ones(1)))


def test_the_focal_loss_of_an_impossible_true_class_has_the_gradient_of_cross_entropy():
    logits, label = jnp.array([[-jnp.inf, 0.0, 1.0]]), jnp.array([0])
    expected = jax.grad(jaxloss.cross_entropy)(logits, label)
    for gamma in (0.0, 0.5, 2.0, jnp.float32(2)):
        value, gradient = jax.value_and_grad(jaxloss.softmax_focal_loss)(logits, label, gamma=gamma)
        assert value == jnp.inf
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_a_class_weight_of_zero_rescales_and_does_not_hide():
    logits, labels, weight = jnp.array([[jnp.nan, 0, 1], [0, 1, 2]]), jnp.array([0, 1]), jnp.array([0.0, 1.0, 1.0])
    for loss in (
        jaxloss.cross_entropy,
        jaxloss.nll_loss,
        functools.partial(jaxloss.cross_entropy, label_smoothing=0.1),
    ):
        values, pull = jax.vjp(lambda logits: loss(logits, labels, weight=weight, reduction="none"), logits)  # noqa: B023
        assert np.isnan(values).tolist() == np.isnan(pull(jnp.ones(2))[0]).any(1).tolist() == [True, False]
        assert np.isfinite(loss(logits, labels, weight=weight, where=jnp.array([False, True])))


def test_pitfall_class_indices_for_probabilities_are_refused_with_the_right_function():
    with pytest.raises(AssertionError, match="soft_target_cross_entropy: `target` .*use cross_entropy"):
        jaxloss.soft_target_cross_entropy(LOGITS, LABELS)


def test_pitfall_the_naive_formulas_overflow_and_ours_do_not():
    logits, target = jnp.array([200.0, -200.0]), jnp.array([0.0, 1.0])
    naive = -(target * jnp.log(jax.nn.sigmoid(logits)) + (1 - target) * jnp.log(1 - jax.nn.sigmoid(logits)))
    assert not np.isfinite(naive).all()
    np.testing.assert_array_equal(
        jaxloss.binary_cross_entropy_with_logits(logits, target, reduction="none"), [200, 200]
    )
    rows = jnp.array([[0.0, 200.0]])
    assert not np.isfinite(-jnp.log(jnp.exp(rows) / jnp.exp(rows).sum())).all()
    assert jaxloss.cross_entropy(rows, jnp.array([0])) == 200


def test_a_confident_prediction_keeps_its_digits_in_value_and_gradient():
    logits = jnp.array([[30.0, 0.0, -5.0]])
    value, gradient = jax.value_and_grad(jaxloss.cross_entropy)(logits, jnp.array([0]))
    wrong = math.exp(-30) + math.exp(-35)
    np.testing.assert_allclose(value, wrong, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-wrong, math.exp(-30), math.exp(-35)]], rtol=1e-6)


def test_one_hot_probabilities_equal_indices():
    one_hot = jax.nn.one_hot(LABELS, 3)
    for smoothing in (0.0, 0.2):
        hard = jaxloss.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
        soft = jaxloss.soft_target_cross_entropy(LOGITS, one_hot, label_smoothing=smoothing)
        np.testing.assert_allclose(soft, hard, rtol=1e-6)


def test_the_mean_divides_by_the_class_weights_used():
    weight = jnp.array([1.0, 3.0, 7.0])
    rows = jaxloss.cross_entropy(LOGITS, LABELS, reduction="none")
    np.testing.assert_allclose(
        jaxloss.cross_entropy(LOGITS, LABELS, weight=weight, reduction="none"), rows * weight[:2]
    )
    expected = (rows[0] + 3 * rows[1]) / 4
    np.testing.assert_allclose(jaxloss.cross_entropy(LOGITS, LABELS, weight=weight), expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_mean_over_labels_without_weight_is_zero(smoothing):
    weight = jnp.array([0.0, 0.0, 7.0])

    @functools.partial(jax.jit, static_argnums=1)
    def losses(logits, reduction):
        options = {"weight": weight, "label_smoothing": smoothing, "reduction": reduction}
        return jnp.stack(
            [
                jaxloss.cross_entropy(logits, LABELS, **options),
                jaxloss.linear_cross_entropy(logits, jnp.eye(3), LABELS, **options),
            ]
        )

    np.testing.assert_array_equal(losses(LOGITS, "mean"), 0)
    np.testing.assert_array_equal(jax.jit(jax.jacobian(losses), static_argnums=1)(LOGITS, "mean"), 0)
    spread = -7 * jax.nn.log_softmax(LOGITS)[:, 2].sum() / 3
    np.testing.assert_allclose(losses(LOGITS, "sum"), smoothing * spread, rtol=1e-6)


def test_nll_of_log_softmax_is_cross_entropy():
    weight = jnp.array([1.0, 3.0, 7.0])
    for ignored in (None, 0):
        nll = jaxloss.nll_loss(jax.nn.log_softmax(LOGITS), LABELS, weight=weight, ignore_index=ignored)
        expected = jaxloss.cross_entropy(LOGITS, LABELS, weight=weight, ignore_index=ignored)
        np.testing.assert_allclose(nll, expected, rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 3, -100])
def test_a_label_out_of_range_is_nan_in_the_whole_row_and_nowhere_else(label):
    log_p = jax.nn.log_softmax(LOGITS)
    loss = jax.value_and_grad(lambda log_p: jaxloss.nll_loss(log_p, jnp.array([label, 1]), reduction="sum"))
    value, gradient = loss(log_p)
    assert np.isnan(value)
    np.testing.assert_array_equal(np.isnan(gradient), [[True] * 3, [False] * 3])


def test_pitfall_logits_for_nll_are_reported():
    for wrong in (LOGITS, jax.nn.softmax(LOGITS)):
        with pytest.raises(checkify.JaxRuntimeError, match="nll_loss: `pred` must hold log-prob.*use cross_entropy"):
            checked(jaxloss.nll_loss)(wrong, LABELS)


def test_binary_cross_entropy_of_a_sigmoid_is_the_one_with_logits():
    of_logits = jax.value_and_grad(jaxloss.binary_cross_entropy_with_logits)
    of_probabilities = jax.value_and_grad(lambda x, y: jaxloss.binary_cross_entropy(jax.nn.sigmoid(x), y))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), of_logits(*BINARY), of_probabilities(*BINARY)
    )


def test_binary_cross_entropy_at_zero_and_one_is_pytorchs():
    pred, target = jnp.array([0.0, 0, 0, 1, 1, 1]), jnp.array([0.0, 1, 0.5, 0, 1, 0.5])

    def loss(pred, target):
        return jaxloss.binary_cross_entropy(pred, target, reduction="sum")

    values = jaxloss.binary_cross_entropy(pred, target, reduction="none")
    np.testing.assert_array_equal(values, [0, 100, 50, 100, 0, 50])
    slopes, to_target = jax.grad(loss, (0, 1))(pred, target)
    np.testing.assert_allclose(slopes, [0, -1e12, -5e11, 1e12, 0, 5e11], rtol=1e-6)
    # PyTorch's gradient to the target is infinite here; ours is the slope of the value.
    np.testing.assert_array_equal(to_target, [100, 100, 100, -100, -100, -100])
    for mixed in jax.tree.leaves(jax.hessian(loss, (0, 1))(pred, target)):
        assert np.isfinite(mixed).all()


def test_pitfall_logits_for_binary_cross_entropy_are_nan_and_reported():
    value, gradient = jax.value_and_grad(jaxloss.binary_cross_entropy)(jnp.array([1.5, -0.5]), jnp.array([1.0, 0.0]))
    assert np.isnan(value)
    assert np.isnan(gradient).all()
    with pytest.raises(checkify.JaxRuntimeError, match="`pred` must hold values in.*binary_cross_entropy_with_logits"):
        checked(jaxloss.binary_cross_entropy)(4 * BINARY[0], BINARY[1])


def test_every_label_ignored_is_zero():
    value, gradient = jax.value_and_grad(jaxloss.cross_entropy)(LOGITS, jnp.array([-100, -100]), ignore_index=-100)
    assert value == 0
    assert (gradient == 0).all()


def test_pytorch_layout_with_axis_one():
    images = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))
    labels = jax.random.randint(jax.random.key(1), (2, 4, 3), 0, 5)
    last = jnp.moveaxis(images, 1, -1)
    np.testing.assert_allclose(
        jaxloss.cross_entropy(images, labels, axis=1), jaxloss.cross_entropy(last, labels), rtol=1e-6
    )


def test_pos_weight_weighs_positives_alone():
    logits, target = BINARY
    plain = jaxloss.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weighted = jaxloss.binary_cross_entropy_with_logits(logits, target, pos_weight=5.0, reduction="none")
    np.testing.assert_allclose(weighted, [5 * plain[0], plain[1]], rtol=1e-6)


def test_focal_losses_without_focus_are_cross_entropies():
    bce = jaxloss.binary_cross_entropy_with_logits(*BINARY, reduction="none")
    np.testing.assert_allclose(jaxloss.focal_loss(*BINARY, alpha=1.0, gamma=0.0, reduction="none"), bce, rtol=1e-6)
    np.testing.assert_allclose(
        jaxloss.sigmoid_focal_loss(*BINARY, alpha=None, gamma=0.0, reduction="none"), bce, rtol=1e-6
    )
    np.testing.assert_allclose(
        jaxloss.softmax_focal_loss(LOGITS, LABELS, gamma=0.0, reduction="none"),
        jaxloss.cross_entropy(LOGITS, LABELS, reduction="none"),
        rtol=1e-6,
    )


def test_the_two_binary_focal_losses_differ_in_alpha_alone():
    document = jaxloss.focal_loss(*BINARY, alpha=0.25, reduction="none")
    retinanet = jaxloss.sigmoid_focal_loss(*BINARY, alpha=0.25, reduction="none")
    np.testing.assert_allclose(retinanet, document * jnp.array([1.0, 3.0]), rtol=1e-6)


def test_torchvisions_alpha_of_minus_one_is_refused():
    with pytest.raises(ValueError, match="sigmoid_focal_loss: `alpha` must be in \\[0, 1\\]"):
        jaxloss.sigmoid_focal_loss(*BINARY, alpha=-1)


def test_focal_targets_get_no_gradient():
    for loss in (jaxloss.focal_loss, jaxloss.sigmoid_focal_loss):
        assert (jax.grad(loss, 1)(*BINARY) == 0).all()


def test_poly1_and_generalized_cross_entropy_by_hand():
    p = np.exp([1.5, 2.0]) / np.exp(np.asarray(LOGITS)).sum(-1)
    poly1 = jaxloss.poly1_cross_entropy_loss(LOGITS, LABELS, epsilon=0.5, reduction="none")
    np.testing.assert_allclose(poly1, -np.log(p) + 0.5 * (1 - p), rtol=1e-5)
    generalized = jaxloss.generalized_cross_entropy_loss(LOGITS, LABELS, q=0.3, reduction="none")
    np.testing.assert_allclose(generalized, (1 - p**0.3) / 0.3, rtol=1e-5)


@pytest.mark.parametrize("q", [0.0, 1e-30])
def test_generalized_cross_entropy_of_a_small_q_is_cross_entropy(q):
    def value_and_slopes(logits, q):
        return jax.value_and_grad(jaxloss.generalized_cross_entropy_loss, 0)(logits, LABELS, q=q)

    expected = jax.value_and_grad(jaxloss.cross_entropy)(LOGITS, LABELS)
    for given in (q, jnp.float32(q)):
        jax.tree.map(
            lambda got, exact: np.testing.assert_allclose(got, exact, rtol=1e-6),
            value_and_slopes(LOGITS, given),
            expected,
        )
    # The slope along q at 0 is -(log p)^2 / 2.
    slope = jax.grad(lambda q: jaxloss.generalized_cross_entropy_loss(LOGITS, LABELS, q=q))(jnp.float32(q))
    losses = np.asarray(jaxloss.cross_entropy(LOGITS, LABELS, reduction="none"))
    np.testing.assert_allclose(slope, -np.mean(losses**2) / 2, rtol=1e-6)


def test_generalized_cross_entropy_with_a_q_of_one_is_the_mean_absolute_error():
    p = jax.nn.softmax(LOGITS)
    error = abs(p - jax.nn.one_hot(LABELS, 3)).sum(-1).mean() / 2
    np.testing.assert_allclose(jaxloss.generalized_cross_entropy_loss(LOGITS, LABELS, q=1.0), error, rtol=1e-6)


def test_an_impossible_label_has_a_bounded_loss_and_no_gradient_by_generalized_cross_entropy():
    logits = jnp.array([[-jnp.inf, 0.0, 1.0], [-300.0, 0.0, 1.0]])
    loss = functools.partial(jaxloss.generalized_cross_entropy_loss, reduction="sum")
    value, gradient = jax.value_and_grad(loss)(logits, jnp.array([0, 0]), q=0.5)
    assert value == 4
    assert (abs(gradient) < 1e-30).all()
    slope = jax.grad(lambda q: loss(logits, jnp.array([0, 0]), q=q))(0.5)
    np.testing.assert_allclose(slope, -2 / 0.25, rtol=1e-6)


def test_logit_adjusted_cross_entropy_moves_the_logits_and_trains_its_prior():
    log_prior = jnp.log(jnp.array([0.7, 0.2, 0.1]))

    def adjusted(logits, log_prior, tau):
        return jaxloss.logit_adjusted_cross_entropy_loss(logits, LABELS, log_prior=log_prior, tau=tau)

    def plain(logits, log_prior, tau):
        return -jnp.mean(jax.nn.log_softmax(logits + tau * log_prior)[jnp.arange(2), LABELS])

    got, expected = (jax.value_and_grad(loss, (0, 1, 2))(LOGITS, log_prior, 0.7) for loss in (adjusted, plain))
    jax.tree.map(lambda got, exact: np.testing.assert_allclose(got, exact, rtol=2e-6, atol=1e-7), got, expected)


def test_a_class_that_never_occurs_has_no_logit_that_counts():
    log_prior = jnp.array([-0.5, -1.0, -jnp.inf])
    value, gradient = jax.value_and_grad(jaxloss.logit_adjusted_cross_entropy_loss)(LOGITS, LABELS, log_prior=log_prior)
    np.testing.assert_allclose(value, jaxloss.cross_entropy(LOGITS[:, :2] + log_prior[:2], LABELS), rtol=1e-6)
    assert (gradient[:, 2] == 0).all()
    without = jaxloss.logit_adjusted_cross_entropy_loss(LOGITS, LABELS, log_prior=log_prior, tau=0.0)
    np.testing.assert_allclose(without, jaxloss.cross_entropy(LOGITS, LABELS), rtol=1e-6)


def test_the_asymmetric_loss_without_asymmetry_is_the_focal_loss():
    logits = jnp.array([-1e4, -60.0, -3.0, -0.5, 0.0, 0.8, 20.0, 1e4])
    for target in (jnp.zeros(8), jnp.ones(8)):
        for gamma in (0.0, 1.5, 2.0):
            got = jax.value_and_grad(jaxloss.asymmetric_loss)(
                logits, target, gamma_neg=gamma, gamma_pos=gamma, clip=0.0
            )
            expected = jax.value_and_grad(jaxloss.sigmoid_focal_loss)(logits, target, alpha=None, gamma=gamma)
            jax.tree.map(lambda got, exact: np.testing.assert_allclose(got, exact, rtol=2e-6), got, expected)


def test_the_asymmetric_loss_drops_negatives_below_clip_and_mixes_what_is_between():
    logits = jnp.log(jnp.array([0.04, 0.05, 0.3]) / jnp.array([0.96, 0.95, 0.7]))
    value, gradient = jax.value_and_grad(jaxloss.asymmetric_loss)(logits[:2], jnp.zeros(2), gamma_neg=1.0, clip=0.06)
    assert value == 0
    assert (gradient == 0).all()
    of_each = [jaxloss.asymmetric_loss(logits, jnp.full(3, target), reduction="none") for target in (0.0, 1.0, 0.25)]
    np.testing.assert_allclose(of_each[2], 0.75 * of_each[0] + 0.25 * of_each[1], rtol=1e-6)
    p, p_m = 0.3, 0.25
    np.testing.assert_allclose(of_each[0][2], -(p_m**4) * math.log(1 - p_m), rtol=1e-5)
    np.testing.assert_allclose(of_each[1][2], -(1 - p) * math.log(p), rtol=1e-5)


def test_the_ordinal_losses_by_hand_and_as_coral_pytorch_has_them():
    logits, target = jnp.array([[2.0, 0.5, -1.0], [1.0, -1.0, -2.0], [0.3, 0.2, 0.1]]), jnp.array([2, 0, 3])

    def cost(logit, above):
        return math.log1p(math.exp(-logit if above else logit))

    coral = [
        cost(2.0, True) + cost(0.5, True) + cost(-1.0, False),
        cost(1.0, False) + cost(-1.0, False) + cost(-2.0, False),
        cost(0.3, True) + cost(0.2, True) + cost(0.1, True),
    ]
    np.testing.assert_allclose(jaxloss.coral_loss(logits, target, reduction="none"), coral, rtol=1e-6)
    np.testing.assert_allclose(jaxloss.coral_loss(logits, target), np.mean(coral), rtol=1e-6)
    corn = [coral[0], cost(1.0, False), coral[2]]
    np.testing.assert_allclose(jaxloss.corn_loss(logits, target, reduction="none"), corn, rtol=1e-6)
    # Of three, one and three questions.
    np.testing.assert_allclose(jaxloss.corn_loss(logits, target), sum(corn) / 7, rtol=1e-6)
    np.testing.assert_allclose(jaxloss.corn_loss(logits, target, where=target > 0), (corn[0] + corn[2]) / 6, rtol=1e-6)


def test_the_probabilities_of_corn_sum_to_one():
    logits = jnp.array([1.0, -0.3, 2.0])
    each = jax.vmap(lambda y: jaxloss.corn_loss(logits, y, reduction="none"))(jnp.arange(4))
    np.testing.assert_allclose(jnp.exp(-each).sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 4])
def test_an_ordered_class_out_of_range_is_nan_and_nowhere_else(label):
    logits = jnp.array([[2.0, 0.5, -1.0], [1.0, -1.0, -2.0]])
    for loss in (jaxloss.coral_loss, jaxloss.corn_loss):
        call = functools.partial(loss, reduction="sum")
        value, gradient = jax.value_and_grad(call)(logits, jnp.array([label, 3]))
        assert np.isnan(value)
        np.testing.assert_array_equal(np.isnan(gradient), [[True] * 3, [False] * 3])
        assert np.isnan(loss(logits, jnp.array([label, 3])))


def test_a_question_that_is_not_asked_has_no_gradient():
    gradient = jax.grad(jaxloss.corn_loss)(jnp.array([[1.0, jnp.inf, -jnp.inf]]), jnp.array([0]))
    np.testing.assert_allclose(gradient, [[1 / (1 + math.exp(-1.0)), 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("loss", [jaxloss.sparsemax_loss, jaxloss.entmax15_loss])
def test_a_sparse_gradient_is_the_distribution_less_the_label_and_the_loss_ends_at_its_margin(loss):
    logits = jnp.array([[0.5, 0.25, -3.0, -jnp.inf], [2.0, 0.0, -1.0, 0.0]])
    values, pull = jax.vjp(lambda logits: loss(logits, jnp.array([1, 0]), reduction="none"), logits)
    gradient = np.asarray(pull(jnp.ones(2))[0])
    assert values[1] == 0
    assert not gradient[1].any()
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-6)
    assert gradient[0, 2:].tolist() == [0, 0]
    power = 1 if loss is jaxloss.sparsemax_loss else 2
    roots = (gradient[0, :2] + np.array([0.0, 1.0])) ** (1 / power)
    np.testing.assert_allclose(roots[0] - roots[1], 0.25 / power, rtol=1e-5)


def test_fenchel_young_losses_of_known_maxima_are_known_losses():
    rng = np.random.default_rng(0)
    scores, labels = jnp.asarray(rng.normal(size=(6, 4))), jnp.asarray(rng.integers(0, 4, 6))
    target = jax.nn.one_hot(labels, 4, dtype=scores.dtype)
    for maximum, known in (
        (jax.nn.logsumexp, jaxloss.cross_entropy),
        (jnp.max, jaxloss.multiclass_perceptron_loss),
    ):
        loss = functools.partial(jaxloss.fenchel_young_loss, max_function=maximum)
        ours, expected = jax.value_and_grad(loss)(scores, target), jax.value_and_grad(known)(scores, labels)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), ours, expected)
