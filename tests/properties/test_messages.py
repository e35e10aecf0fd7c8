"""What a refusal says, and what it leaves behind."""

import pathlib
import re
import subprocess
import sys
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxloss


def message(error, function, *args, **options):
    with pytest.raises(error) as caught:
        function(*args, **options)
    return str(caught.value)


def test_a_refusal_names_function_argument_what_came_what_is_needed_and_the_fix():
    assert message(AssertionError, jaxloss.cross_entropy, jnp.zeros((8, 10)), jnp.zeros((8, 10))) == (
        "cross_entropy: `target` must hold integer class indices of shape (8,), got float32 of shape (8, 10). "
        "For class probabilities or one-hot targets use soft_target_cross_entropy."
    )
    assert message(AssertionError, jaxloss.mse_loss, jnp.zeros((8, 1)), jnp.zeros(8)) == (
        "mse_loss: `target` must be floating, of shape (8, 1) as `pred`, got float32 of shape (8,). "
        "Reshape it: target.reshape(pred.shape)."
    )
    assert message(AssertionError, jaxloss.mse_loss, jnp.zeros((8, 1)), jnp.zeros(())) == (
        "mse_loss: `target` must be floating, of shape (8, 1) as `pred`, got float32 of shape (). "
        "Losses do not broadcast."
    )


# The calls are wrong on purpose, for type checkers too.
LOGITS, LABELS, WRONG = jnp.zeros((8, 10)), jnp.zeros(8, jnp.int32), cast(Any, jaxloss)


@pytest.mark.parametrize(
    ("error", "call", "advice"),
    [
        (
            AssertionError,
            lambda: WRONG.cross_entropy(LABELS, LOGITS),
            "They are swapped: cross_entropy(pred, target).",
        ),
        (AssertionError, lambda: WRONG.multi_margin_loss(LABELS, LOGITS), "They are swapped"),
        (AssertionError, lambda: WRONG.cross_entropy(LOGITS, LABELS[:, None]), "target.squeeze(-1)"),
        (AssertionError, lambda: WRONG.cross_entropy(LOGITS, LABELS * 1.0), "target.astype(jnp.int32)"),
        (
            AssertionError,
            lambda: WRONG.cross_entropy(jnp.zeros((8, 10, 4, 4)), jnp.zeros((8, 4, 4), int)),
            "pass axis=1",
        ),
        (AssertionError, lambda: WRONG.cross_entropy(LOGITS, LABELS[:3]), "without the class axis"),
        (AssertionError, lambda: WRONG.mse_loss(LOGITS, LOGITS, where=LOGITS), "weigh each loss are `sample_weight`"),
        (
            AssertionError,
            lambda: WRONG.ctc_loss(jnp.zeros((50, 8, 9)), jnp.ones((8, 5), int)),
            "jnp.moveaxis(pred, 0, 1)",
        ),
        (
            AssertionError,
            lambda: WRONG.ctc_loss(jnp.zeros((8, 50, 9)), jnp.ones(40, int)),
            "Pad what was concatenated",
        ),
        (TypeError, lambda: WRONG.cross_entropy(LOGITS, LABELS, weight=[1.0] * 10), "jnp.asarray(weight)"),
        (TypeError, lambda: WRONG.mse_loss([1.0], LOGITS), "jnp.asarray(pred)"),
        (ValueError, lambda: WRONG.mse_loss(LOGITS, LOGITS, reduction=jnp.mean), "two arrays, (values, weights)"),
        (ValueError, lambda: WRONG.mse_loss(LOGITS, LOGITS, reduction=np.max), "two arrays, (values, weights)"),
        (
            ValueError,
            lambda: WRONG.kl_div(LOGITS, LOGITS, reduction=lambda v: v.sum()),
            "two arrays, (values, weights)",
        ),
    ],
)
def test_advice_is_right(error, call, advice):
    assert advice in message(error, call)


@pytest.mark.parametrize("label", [2**32 + 1, -(2**32) + 1, 2**63 - 1])
def test_labels_of_64_bits_do_not_wrap_into_a_class(label):
    logits, labels = jnp.zeros((2, 3)), np.array([1, label])
    for loss in (jaxloss.cross_entropy, jax.jit(lambda logits: jaxloss.cross_entropy(logits, labels))):
        args = (logits,) if loss is not jaxloss.cross_entropy else (logits, labels)
        assert np.isnan(loss(*args))
    assert np.isfinite(jaxloss.cross_entropy(logits, labels, ignore_index=label))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_distributions_over_many_classes_in_half_precision_are_no_false_alarm(dtype):
    """50257 nearly equal classes: log p is near -10.8, which bfloat16 rounds by 0.03."""
    logits = 0.01 * jax.random.normal(jax.random.key(0), (2, 50257))
    log_p, p = jax.nn.log_softmax(logits).astype(dtype), jax.nn.softmax(logits).astype(dtype)
    step = chex.chexify(jax.jit(jaxloss.kl_div, static_argnames="log_target"), async_check=False)
    step(log_p, p)
    step(log_p, log_p, log_target=True)
    chex.chexify(jax.jit(jaxloss.soft_target_cross_entropy), async_check=False)(logits.astype(dtype), p)
    with pytest.raises(checkify.JaxRuntimeError, match="must hold distributions"):
        step(log_p, 0.8 * p)


@pytest.mark.parametrize(
    ("loss", "option"),
    [
        (jaxloss.smooth_l1_loss, "beta"),
        (jaxloss.huber_loss, "delta"),
        (jaxloss.focal_loss, "gamma"),
        (jaxloss.sigmoid_focal_loss, "gamma"),
    ],
)
def test_an_option_may_be_a_python_integer_under_differentiation(loss, option):
    pred, target = jnp.array([0.5, -2.5]), jnp.array([1.0, 0.0])
    gradients = [jax.jit(jax.grad(lambda pred, two=two: loss(pred, target, **{option: two})))(pred) for two in (2, 2.0)]
    np.testing.assert_array_equal(*gradients)


@pytest.mark.usefixtures("without_annotations")
def test_chex_can_switch_the_assertions_off():
    chex.disable_asserts()
    try:
        assert jaxloss.mse_loss(jnp.ones((2, 1)), jnp.zeros(2)).shape == ()
    finally:
        chex.enable_asserts()
    with pytest.raises(AssertionError, match="mse_loss: `target` must be floating, of shape"):
        jaxloss.mse_loss(jnp.ones((2, 1)), jnp.zeros(2))


def test_value_contracts_leave_no_trace_in_compiled_code():
    logits, labels = jnp.zeros((8, 10)), jnp.zeros(8, jnp.int32)

    def unchecked(pred, target):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkify, "debug_check", lambda *args, **kwargs: None)
            return jaxloss.cross_entropy(pred, target)

    texts = [jax.jit(f).lower(logits, labels).compile().as_text() for f in (jaxloss.cross_entropy, unchecked)]
    # But for the numbers in names, which count what was there before XLA simplified it.
    instructions = [
        [re.sub(r"\.\d+\b", "", line.split(", metadata=")[0]) for line in str(text).splitlines() if " = " in line]
        for text in texts
    ]
    assert len(instructions[0]) > 10
    assert instructions[0] == instructions[1]


@pytest.mark.parametrize("loss", [jaxloss.cross_entropy, jaxloss.softmax_focal_loss])
def test_a_label_out_of_range_gives_nan_in_value_and_gradient(loss):
    logits, step = jnp.ones((2, 10)), jax.jit(jax.value_and_grad(loss))
    for label in (-1, -100, 10, 300, 2**31 - 1, -(2**31)):
        labels = jnp.array([3, label])
        value, gradient = step(logits, labels)
        assert np.isnan(value)
        assert np.isfinite(gradient[0]).all()
        assert np.isnan(gradient[1]).all()
        for weight in (jnp.ones(10), jnp.zeros(10)):
            assert np.isnan(jaxloss.cross_entropy(logits, labels, weight=weight, label_smoothing=0.1))
        assert np.isfinite(loss(logits, labels, ignore_index=label))
        assert np.isfinite(loss(logits, labels, where=jnp.array([True, False])))


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.uint16, jnp.int32, jnp.uint32])
def test_every_integer_dtype_holds_class_indices(dtype):
    logits = jax.random.normal(jax.random.key(0), (4, 300))
    labels = jnp.array([0, 1, 100, 127], dtype)
    expected = jaxloss.cross_entropy(logits, labels.astype(jnp.int32))
    assert jaxloss.cross_entropy(logits, labels) == expected
    assert jaxloss.cross_entropy(logits, labels, ignore_index=-100) == expected


def test_int64_labels_do_not_wrap():
    with jax.enable_x64(True):
        assert np.isnan(jaxloss.cross_entropy(jnp.zeros((1, 3)), jnp.array([2**32 + 1], jnp.int64)))


def test_options_of_the_wrong_kind_are_refused():
    x = jnp.ones(3)
    for wrong in (True, jnp.ones(3), jnp.array(True), 1j):
        assert "huber_loss: `delta` must" in message(AssertionError, jaxloss.huber_loss, x, x, delta=wrong)
    for wrong in ("1", None, [1.0]):
        assert "huber_loss: `delta` must be an array" in message(TypeError, jaxloss.huber_loss, x, x, delta=wrong)
    for number in (1, 1.0, np.float64(1), np.float32(1), np.int32(1), np.array(1.0), jnp.array(1.0), jnp.array(1)):
        value = jaxloss.huber_loss(x, 2 * x, delta=number)
        assert value == 0.5
        assert value.dtype == jnp.float32


def test_options_do_not_raise_the_precision():
    with jax.enable_x64(True):
        x = jnp.ones((3, 3), jnp.float32)
        for option in (np.float64(0.5), jnp.asarray(0.5)):
            assert jaxloss.huber_loss(x, x, delta=option).dtype == jnp.float32
            assert jaxloss.binary_cross_entropy_with_logits(x, x, pos_weight=option).dtype == jnp.float32
            assert jaxloss.triplet_margin_loss(x, x, -x, p=option).dtype == jnp.float32
        labels = jnp.zeros(3, jnp.int32)
        assert (
            jaxloss.cross_entropy(x, labels, weight=jnp.ones(3), label_smoothing=jnp.asarray(0.1)).dtype == jnp.float32
        )


def test_the_recipe_of_the_readme_reports_and_leaves_no_warning_at_exit():
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    (recipe,) = re.findall(r"```python\n([^`]*chexify.*?)```", readme, re.DOTALL)
    program = f"""
import logging, chex, jax, jax.numpy as jnp, jaxloss
train_step = jaxloss.cross_entropy
{recipe}
train_step(jnp.zeros((2, 3)), jnp.array([0, 1]))
try:
    train_step(jnp.zeros((2, 3)), jnp.array([0, 3]))
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "cross_entropy: `target` must hold class indices in [0, 3), got values from 0 to 3." in done.stdout
    assert done.stderr == ""
