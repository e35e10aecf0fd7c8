import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss.reductions import Reduction

SCORES = jnp.array([0.5, 2.0, 0.0, 1.5])
SIGNED = [
    jaxloss.hinge_loss,
    jaxloss.perceptron_loss,
    jaxloss.squared_hinge_loss,
    jaxloss.soft_margin_loss,
    jaxloss.hinge_embedding_loss,
]


def test_hinges_by_hand():
    pred, target = jnp.array([0.5, 2.0, 0.5, -3.0]), jnp.array([1.0, 1.0, -1.0, -1.0])
    assert jaxloss.hinge_loss(pred, target, reduction="none").tolist() == [0.5, 0, 1.5, 0]
    assert jaxloss.squared_hinge_loss(pred, target, reduction="none").tolist() == [0.25, 0, 2.25, 0]
    assert jaxloss.hinge_loss(pred, target) == 0.5
    assert jaxloss.hinge_embedding_loss(pred, target, reduction="none").tolist() == [0.5, 2, 0.5, 4]
    assert jaxloss.hinge_embedding_loss(pred, target, margin=0.25, reduction="none").tolist() == [0.5, 2, 0, 3.25]


def test_a_soft_margin_is_the_binary_cross_entropy_of_other_targets():
    pred, target = jnp.array([0.5, 2.0, -1e4, 1e4]), jnp.array([1.0, 0.0, 1.0, 1.0])
    expected = jaxloss.binary_cross_entropy_with_logits(pred, target, reduction="none")
    np.testing.assert_allclose(jaxloss.soft_margin_loss(pred, 2 * target - 1, reduction="none"), expected, rtol=1e-6)


def test_a_soft_margin_has_a_gradient_where_its_exponential_overflows():
    gradient = jax.grad(jaxloss.soft_margin_loss)(jnp.array([-1e4, 1e4]), jnp.ones(2))
    assert gradient.tolist() == [-0.5, 0]


@pytest.mark.parametrize("loss", [*SIGNED, functools.partial(jaxloss.margin_ranking_loss, jnp.zeros(3))])
@pytest.mark.parametrize("label", [0.0, 0.5, 2.0, float("nan")])
def test_a_target_that_is_no_sign_is_nan_in_value_and_gradient_and_nowhere_else(loss, label):
    target = jnp.array([1.0, label, -1.0])
    values, pull = jax.vjp(lambda pred: loss(pred, target, reduction="none"), jnp.array([0.5, -0.5, 2.0]))
    assert np.isnan(values).tolist() == np.isnan(pull(jnp.ones(3))[0]).tolist() == [False, True, False]


@pytest.mark.parametrize("loss", SIGNED)
def test_integer_and_boolean_signs_are_refused_with_the_fix(loss):
    for target in (jnp.ones(3, int), jnp.ones(3, bool)):
        with pytest.raises(AssertionError, match=r"target.astype\(jnp.float32\); from 0 and 1: 2.0 \* target - 1"):
            loss(jnp.ones(3), target)


def test_two_equal_scores_are_drawn_apart_without_a_margin():
    gradients = jax.grad(jaxloss.margin_ranking_loss, (0, 1))(jnp.zeros(2), jnp.zeros(2), jnp.array([1.0, -1.0]))
    assert np.asarray(gradients).tolist() == [[-0.5, 0.5], [0.5, -0.5]]


def test_a_ranking_by_hand():
    first, second, target = jnp.array([2.0, 1.0, 1.0]), jnp.array([0.0, 1.5, 1.5]), jnp.array([1.0, 1.0, -1.0])
    assert jaxloss.margin_ranking_loss(first, second, target, reduction="none").tolist() == [0, 0.5, 0]
    assert jaxloss.margin_ranking_loss(first, second, target, margin=1.0, reduction="none").tolist() == [0, 1.5, 0.5]


def test_classes_by_hand():
    # Class 1 against 0, 2, 3: max(0, 1 - 2 + [0.5, 0, 1.5]) = 0, 0, 0.5; class 0: 1 - 0.5 + [2, 0, 1.5].
    assert jaxloss.multi_margin_loss(SCORES, jnp.array(1)) == 0.5 / 4
    assert jaxloss.multi_margin_loss(SCORES, jnp.array(1), p=2) == 0.25 / 4
    assert jaxloss.multi_margin_loss(SCORES, jnp.array(0)) == (2.5 + 0.5 + 2) / 4
    assert jaxloss.multi_margin_loss(SCORES, jnp.array(0), margin=0.0) == (1.5 + 1) / 4
    weight = jnp.array([3.0, 1.0, 1.0, 1.0])
    assert jaxloss.multi_margin_loss(SCORES, jnp.array(0), weight=weight, p=2) == 3 * (6.25 + 0.25 + 4) / 4


def test_the_mean_over_classes_does_not_divide_by_the_weights():
    pred, target, weight = jnp.stack([SCORES, SCORES]), jnp.array([0, 1]), jnp.array([3.0, 2.0, 1.0, 1.0])
    assert jaxloss.multi_margin_loss(pred, target, weight=weight) == (3 * 5 / 4 + 2 * 0.5 / 4) / 2
    assert jaxloss.multi_margin_loss(pred.T, target, weight=weight, axis=0) == (3 * 5 / 4 + 2 * 0.5 / 4) / 2


@pytest.mark.usefixtures("without_annotations")  # 2.0 is no int
@pytest.mark.parametrize("p", [1, 2, 2.0, np.int64(2)])
def test_p_is_a_python_number(p):
    assert jaxloss.multi_margin_loss(SCORES, jnp.array(1), p=p) == 0.5 ** int(p) / 4
    with pytest.raises(ValueError, match="multi_margin_loss: `p` must be the Python integer 1 or 2, got .*Trace"):
        jax.jit(lambda p: jaxloss.multi_margin_loss(SCORES, jnp.array(1), p=p))(p)


@pytest.mark.parametrize("label", [-1, -100, 4, 2**31 - 1])
@pytest.mark.parametrize("options", [{}, {"p": 2}, {"weight": jnp.zeros(4)}, {"margin": -1e9}], ids=str)
def test_a_class_out_of_range_gives_nan_in_value_and_gradient(label, options):
    def loss(pred):
        return jaxloss.multi_margin_loss(pred, jnp.array([0, label]), reduction="none", **options)

    pred = jnp.stack([SCORES, SCORES])
    gradient = jax.grad(lambda pred: loss(pred).sum())(pred)
    assert np.isnan(loss(pred)).tolist() == [False, True]
    assert np.isfinite(gradient[0]).all()
    assert np.isnan(gradient[1]).all()


def multilabel(target, reduction: Reduction = "mean"):
    return jaxloss.multilabel_margin_loss(SCORES, jnp.array(target), reduction=reduction)


def test_lists_of_labels_by_hand():
    # Labels 1 and 3, others 0 and 2: 1 - 2 + [0.5, 0] and 1 - 1.5 + [0.5, 0], none above 0.
    assert multilabel([1, 3, -1, -1]) == 0
    # Label 0 against 1, 2, 3: 0.5 + [2, 0, 1.5].
    assert multilabel([0, -1, -1, -1]) == (2.5 + 0.5 + 2) / 4
    # Labels 0 and 2 against 1 and 3: 0.5 + [2, 1.5] and 1 + [2, 1.5].
    assert multilabel([2, 0, -1, -1]) == (2.5 + 2 + 3 + 2.5) / 4


def test_the_list_ends_at_the_first_minus_one():
    assert multilabel([0, -1, 2, 3]) == multilabel([0, -1, -1, -1])
    assert multilabel([0, -1, 99, -5]) == multilabel([0, -1, -1, -1])
    assert multilabel([-1, 0, 1, 2]) == 0


def test_a_label_listed_twice_counts_twice_and_all_labels_cost_nothing():
    assert multilabel([0, 0, -1, -1]) == 2 * multilabel([0, -1, -1, -1])
    assert multilabel([3, 2, 1, 0]) == 0


@pytest.mark.parametrize("target", [[4, -1, -1, -1], [0, -2, -1, -1], [3, 2, 1, 99], [-100, -1, 0, 0]], ids=str)
def test_a_listed_label_out_of_range_gives_nan_in_value_and_gradient(target):
    def loss(pred):
        return jaxloss.multilabel_margin_loss(pred, jnp.array([[0, -1, -1, -1], target]), reduction="none")

    pred = jnp.stack([SCORES, SCORES])
    gradient = jax.jit(jax.grad(lambda pred: loss(pred).sum()))(pred)
    assert np.isnan(loss(pred)).tolist() == [False, True]
    assert np.isfinite(gradient[0]).all()
    assert np.isnan(gradient[1]).all()


def test_lists_keep_their_transformations_though_their_length_is_data():
    pred = jax.random.normal(jax.random.key(0), (3, 2, 5))
    target = jnp.array([[0, -1, 1, 1, 1], [4, 3, 2, -1, 0]])

    def loss(pred, target=target):
        return jaxloss.multilabel_margin_loss(pred, target, reduction="sum")

    @jax.jit
    def transformed(pred, target):
        mapped = jax.vmap(loss)(pred), jax.vmap(jax.vmap(loss, (0, None)), (1, 0), 1)(pred, target).sum(1)
        hessians = [jax.vmap(hessian)(pred) for hessian in (jax.hessian(loss), jax.jacrev(jax.jacrev(loss)))]
        slopes = jax.jacfwd(loss)(pred[0]), jax.grad(loss)(pred[0])
        return mapped, jax.vmap(loss, (None, 0))(pred[0, 0], target), slopes, hessians

    mapped, of_targets, slopes, hessians = transformed(pred, target)
    by_hand = np.stack([loss(one) for one in pred])
    for actual in mapped:
        np.testing.assert_allclose(actual, by_hand, rtol=1e-6)
    np.testing.assert_allclose(of_targets, np.stack([loss(pred[0, 0], row) for row in target]), rtol=1e-6)
    np.testing.assert_allclose(*slopes, rtol=1e-6)
    assert all((hessian == 0).all() for hessian in hessians)


def test_lists_take_no_memory_for_pairs_of_classes():
    pred, target = jnp.zeros((8, 500)), jnp.full((8, 500), -1).at[:, :2].set(jnp.arange(2))
    step = jax.jit(jax.vmap(jax.value_and_grad(jaxloss.multilabel_margin_loss)))
    memory = step.lower(pred, target).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 30 * pred.nbytes


def test_one_loss_an_example_for_many_labels():
    logits, target = jnp.stack([SCORES, -SCORES]), jnp.array([[1.0, 0.0, 1.0, 0.5]] * 2)
    elements = jaxloss.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = jnp.array([1.0, 2.0, 0.0, 4.0])
    losses = jaxloss.multilabel_soft_margin_loss(logits, target, weight=weight, reduction="none")
    np.testing.assert_allclose(losses, (elements * weight).sum(-1) / 4, rtol=1e-6)
    masked = jaxloss.multilabel_soft_margin_loss(logits, target, weight=weight, where=jnp.array([True, False]))
    np.testing.assert_allclose(masked, losses[0], rtol=1e-6)


@pytest.mark.parametrize("name", ["multiclass_hinge_loss", "multiclass_perceptron_loss", "perceptron_loss"])
def test_scores_that_tie_share_the_gradient_as_in_optax(name):
    """Scores of small whole numbers: every maximum is attained by several, and hinges are just closed."""
    optax = pytest.importorskip("optax")
    rng = np.random.default_rng(0)
    pred = jnp.asarray(rng.integers(-1, 2, (64, 4)), jnp.float32)
    target = jnp.asarray(rng.integers(0, 4, 64))
    if name == "perceptron_loss":
        pred, target = pred[:, 0], 2.0 * (target % 2) - 1
    (ours, slopes), (theirs, their_slopes) = (
        jax.value_and_grad(lambda pred, loss=loss: loss(pred, target).sum())(pred)
        for loss in (functools.partial(getattr(jaxloss, name), reduction="none"), getattr(optax.losses, name))
    )
    assert ours == theirs
    np.testing.assert_allclose(slopes, their_slopes, rtol=0, atol=1e-7)


def test_the_best_other_class_by_hand():
    pred, target = jnp.array([[0.5, 2.0, 0.0, 1.5]] * 3), jnp.array([1, 3, 0])
    assert jaxloss.multiclass_hinge_loss(pred, target, reduction="none").tolist() == [0.5, 1.5, 2.5]
    assert jaxloss.multiclass_perceptron_loss(pred, target, reduction="none").tolist() == [0, 0.5, 1.5]
