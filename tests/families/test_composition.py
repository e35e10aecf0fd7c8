import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss


def test_the_total_and_each_term():
    losses = {"bce": jnp.array(0.5), "dice": jnp.array(0.25)}
    total, terms = jaxloss.weighted_sum(losses, {"bce": 0.5, "dice": 2.0})
    assert total == 0.75
    assert terms == losses
    assert jaxloss.weighted_sum(losses)[0] == 0.75


def test_it_is_what_has_aux_wants_and_weights_may_be_traced():
    @jax.jit
    def step(pred, target, weight):
        def loss(pred, weight):
            bce = jaxloss.binary_cross_entropy_with_logits(pred, target)
            dice = jaxloss.dice_loss(pred, target)
            return jaxloss.weighted_sum({"bce": bce, "dice": dice}, {"dice": weight, "bce": 1.0})

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(pred, weight)

    pred, target = jnp.linspace(-1, 1, 8), jnp.round(jnp.linspace(0, 1, 8))
    (total, terms), (_, by_weight) = step(pred, target, jnp.array(2.0))
    np.testing.assert_allclose(total, terms["bce"] + 2 * terms["dice"], rtol=1e-6)
    np.testing.assert_allclose(by_weight, terms["dice"], rtol=1e-6)


def test_names_that_do_not_match_are_refused():
    for weights in ({"bce": 1.0}, {"bce": 1.0, "dice": 1.0, "iou": 1.0}, {"bce": 1.0, "dcie": 1.0}, {}):
        with pytest.raises(ValueError, match="weighted_sum: .* same names"):
            jaxloss.weighted_sum({"bce": jnp.array(0.5), "dice": jnp.array(0.25)}, weights)
    with pytest.raises(ValueError, match="at least one loss"):
        jaxloss.weighted_sum({})


@pytest.mark.parametrize(
    ("losses", "weights", "said"),
    [
        ([1.0, 2.0], None, "`losses` must be a mapping by name, got list"),
        ({"a": 1.0}, [2.0], "`weights` must be a mapping by name, got list"),
        ({1: 1.0}, None, "the names in `losses` must be strings, got \\[1\\]"),
        ({"a": 1.0}, {1: 1.0}, "the names in `weights` must be strings, got \\[1\\]"),
    ],
)
def test_lists_and_names_that_are_no_strings_are_refused(losses, weights, said):
    with pytest.raises(TypeError, match=f"weighted_sum: {said}"):
        jaxloss.weighted_sum(losses, weights)


def test_losses_of_the_wrong_kind_are_refused():
    with pytest.raises(AssertionError, match="weighted_sum: `dice` must be floating, of shape \\(\\) as `bce`"):
        jaxloss.weighted_sum({"bce": jnp.array(0.5), "dice": jnp.ones(3)})
    with pytest.raises(AssertionError, match="weighted_sum: `dice` must be a number"):
        jaxloss.weighted_sum({"dice": jnp.array(0.5)}, {"dice": jnp.ones(3)})
    with pytest.raises(AssertionError, match="weighted_sum: `bce` must be floating"):
        jaxloss.weighted_sum({"bce": jnp.array(1)})


def test_half_precision_terms_add_up_in_float32():
    total, _ = jaxloss.weighted_sum({"a": jnp.array(1.0, jnp.bfloat16), "b": jnp.array(2**-10, jnp.bfloat16)})
    assert total == 1 + 2**-10
