"""The wall of classification: public reports of its losses, reproduced in the formula of the library that is named."""

import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.wall.test_known_bugs import graded, holds


def asymmetric_with_eps(logits, target):
    """As the authors of ASL have it: a small number keeps the logarithms from 0, and is 0 itself in half precision."""
    eps = jnp.asarray(1e-8, logits.dtype)
    p = 1 / (1 + jnp.exp(-logits))
    rest = jnp.minimum(1 - p + jnp.asarray(0.05, logits.dtype), 1)
    values = target * jnp.log(jnp.maximum(p, eps)) + (1 - target) * jnp.log(jnp.maximum(rest, eps))
    p_t = p * target + rest * (1 - target)
    return -jnp.sum(values * (1 - p_t) ** (target + 4 * (1 - target)))


def test_the_asymmetric_loss_is_finite_in_half_precision():
    """A negative that the model was sure of made the loss NaN under mixed precision.

    https://github.com/Alibaba-MIIL/ASL/issues/53
    """
    logits, target = jnp.array([-20.0, 20.0, -20.0]), jnp.array([0.0, 0.0, 1.0])
    half = jnp.float16(logits), jnp.float16(target)
    assert np.isnan(graded(asymmetric_with_eps, *half)[0])
    expected = -(0.95**4) * np.log(0.05) + 20
    # Of the negative at 20, what is left of its slope is exp(-20) / 0.05 and less.
    holds(graded(jaxloss.asymmetric_loss, *half, reduction="sum"), expected, [0.0, 0.0, -1.0])
    # In single precision theirs is finite, but no label costs more than 18.4, and beyond it nothing is learned.
    value, gradient = graded(asymmetric_with_eps, logits, target)
    np.testing.assert_allclose(value, expected - 20 - np.log(1e-8), rtol=1e-5)
    assert abs(gradient[2]) < 1e-5
