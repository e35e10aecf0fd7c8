"""The wall of metric learning: public reports of rows compared with the proxies of classes.

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

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 4)).astype(np.float32)
KERNEL = RNG.normal(size=(4, 6)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 5, 0, 1], np.int32)
LOSSES = [jaxloss.arcface_loss, jaxloss.cosface_loss, jaxloss.proxy_nca_loss, jaxloss.proxy_anchor_loss]
of_losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


def cosines(x, kernel):
    return (x / jnp.linalg.norm(x, axis=-1, keepdims=True)) @ (kernel / jnp.linalg.norm(kernel, axis=0))


def graded(loss, *arrays):
    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(*map(jnp.asarray, arrays))
    return float(value), gradients


def is_finite(found):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def with_margin(cosine, sine, margin=0.5):
    return cosine * math.cos(margin) - sine * math.sin(margin)


def test_a_row_along_its_proxy_has_a_finite_gradient():
    """The slope of sqrt(1 - cos^2) is infinite where the cosine is 1, and the root is NaN where rounding takes it on.

    https://github.com/ronghuaiyang/arcface-pytorch/issues/32, https://github.com/ronghuaiyang/arcface-pytorch/issues/91,
    https://github.com/TreB1eN/InsightFace_Pytorch/issues/93, https://github.com/ktjonsson/keras-ArcFace/issues/2
    """
    slope = jax.grad(lambda cosine: with_margin(cosine, jnp.sqrt(1 - cosine**2)))
    assert not math.isfinite(slope(1.0))
    assert math.isnan(with_margin(1.0, jnp.sqrt(1 - jnp.float32(1 + 1.2e-7) ** 2)))
    x, kernel = 3 * KERNEL.T, np.concatenate([KERNEL, -KERNEL], 1)
    every: list[dict[str, Any]] = [{}, {"easy_margin": True}, {"margin": 0.0}]
    for options in every:
        for labels in (np.arange(6), np.arange(6, 12)):  # At 0, and at pi.
            assert is_finite(graded(lambda x, kernel: jaxloss.arcface_loss(x, kernel, labels, **options), x, kernel))  # noqa: B023


def test_the_angle_to_a_near_proxy_keeps_its_digits():
    """What is added to 1 - cos^2 or bounds it, so that the slope is finite, is an angle that is not there.

    https://github.com/ronghuaiyang/arcface-pytorch/issues/91, https://github.com/TreB1eN/InsightFace_Pytorch/issues/93
    """
    angle = np.float32(2e-4)
    x, kernel = np.array([[1, angle]], np.float32), np.eye(2, dtype=np.float32)
    cosine = np.float32(1 / np.sqrt(1 + angle**2))
    exact = math.log1p(math.exp(4 * math.sin(angle) - 4 * math.cos(angle + 0.5)))
    clamped = with_margin(cosine, np.sqrt(max(1 - cosine**2, 1e-6)))
    assert abs(math.log1p(math.exp(4 * math.sin(angle) - 4 * clamped)) / exact - 1) > 1e-3
    ours = jaxloss.arcface_loss(x, kernel, np.array([0]), scale=4.0)
    np.testing.assert_allclose(ours, exact, rtol=1e-6)


def test_the_gradient_flows_through_the_margin():
    """The angle is taken and put back without gradient: the slope is that of the plain cosine.

    https://github.com/deepinsight/insightface/issues/2309
    """
    is_own = LABELS[:, None] == np.arange(6)

    def of_insightface(x, kernel, stopped):
        cosine = cosines(x, kernel)
        moved = jnp.cos(jnp.arccos(cosine) + 0.5)
        moved = cosine + jax.lax.stop_gradient(moved - cosine) if stopped else moved
        logits = 8 * jnp.where(is_own, moved, cosine)
        return -(jnp.where(is_own, jax.nn.log_softmax(logits), 0)).sum(-1).mean()

    x = X + 2 * KERNEL.T[LABELS]  # So that no angle is beyond pi - 0.5.
    right, stopped = (graded(functools.partial(of_insightface, stopped=each), x, KERNEL) for each in (False, True))
    ours = graded(lambda x, kernel: jaxloss.arcface_loss(x, kernel, LABELS, scale=8.0), x, KERNEL)
    np.testing.assert_allclose(ours[0], right[0], rtol=1e-5)
    for gradient, expected, wrong in zip(ours[1], right[1], stopped[1], strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)
        assert np.abs(wrong - expected).max() > 1e-2


def test_beyond_pi_less_the_margin_a_worse_row_costs_more():
    """cos(t + m) turns back there: the worst rows are pushed on.

    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/537,
    https://github.com/deepinsight/insightface/issues/228
    """
    angles = np.linspace(math.pi - 0.45, math.pi - 0.05, 9)
    assert (np.diff(np.cos(angles + 0.5)) > 0).all()
    x = np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32)
    kernel = np.array([[1, 0], [0, 1]], np.float32)
    loss = functools.partial(jaxloss.arcface_loss, kernel=kernel[:, :1], target=np.zeros(9, int), scale=4.0)
    # With one class there is nothing to lose; a second one that all are equally far from shows the logit.
    wide = np.concatenate([x, np.zeros((9, 1), np.float32)], 1)
    proxies = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    losses = jaxloss.arcface_loss(wide, proxies, np.zeros(9, int), scale=4.0, reduction="none")
    assert not loss(x).any()
    assert (np.diff(losses) > 0).all()
    within = np.cos(np.pi - 0.5 - 1e-3 + 0.5)
    assert losses[0] > math.log1p(math.exp(-4 * within))


def test_the_loss_of_proxies_is_never_negative():
    """Proxy-NCA leaves the own proxy out of the sum: what is close enough has a loss below 0, without end.

    https://github.com/euwern/proxynca_pp/issues/6
    """
    distances = 2 - 2 * cosines(KERNEL.T, KERNEL)
    others = jnp.where(jnp.eye(6, dtype=bool), -jnp.inf, -9 * distances)
    assert (9 * jnp.diagonal(distances) + jax.nn.logsumexp(others, -1)).min() < -1
    losses = jaxloss.proxy_nca_loss(KERNEL.T, KERNEL, np.arange(6), scale=9.0, reduction="none")
    assert (losses > 0).all()
    assert losses.max() < 1


def test_the_nearest_proxy_costs_least():
    """Softmax of distances in place of what is less than them: the farthest proxy wins.

    https://github.com/dichotomies/proxy-nca/issues/15, https://github.com/BG2CRW/top_k_optimization/issues/1
    """
    distances = 2 - 2 * cosines(X, KERNEL)
    nearest = np.asarray(distances.argmin(-1))
    assert (jax.nn.log_softmax(distances).argmin(-1) == nearest).all()
    every = [jaxloss.proxy_nca_loss(X, KERNEL, np.full(8, label), reduction="none") for label in range(6)]
    assert (np.stack(every).argmin(0) == nearest).all()


def test_a_probability_that_underflows_is_no_nan_and_no_0():
    """log(sum exp) overflows, and the logarithm of a probability of 0 is -inf: of scales of 64 and more in particular.

    https://github.com/UKPLab/sentence-transformers/issues/4019
    """
    kernel, x = np.eye(2, dtype=np.float32), np.array([[0, 1]], np.float32)
    far = np.array([0])
    for scale in (64.0, 1000.0):
        wrong = jnp.log1p(jnp.exp(jnp.float32(2 * scale * 1.1)))
        assert math.isinf(wrong)
        np.testing.assert_allclose(jaxloss.cosface_loss(x, kernel, far, scale=scale), 1.35 * scale, rtol=1e-6)
        np.testing.assert_allclose(jaxloss.proxy_nca_loss(x, kernel, far, scale=scale), 2 * scale, rtol=1e-6)
        expected = 0.1 * scale + 1.1 * scale / 2
        anchor = graded(lambda x, kernel: jaxloss.proxy_anchor_loss(x, kernel, far, scale=scale), x, kernel)  # noqa: B023
        np.testing.assert_allclose(anchor[0], expected, rtol=2e-3)
        assert is_finite(anchor)


@of_losses
def test_a_row_or_a_proxy_of_zeros_has_cosine_0_and_no_gradient(loss):
    """0/0 in the value, and in the slope of a norm at 0.

    https://github.com/jax-ml/jax/issues/3058, https://github.com/UKPLab/sentence-transformers/issues/4033
    """
    x, kernel = np.where(np.arange(8)[:, None] == 3, 0, X), np.where(np.arange(6) == 2, 0, KERNEL)
    assert np.isnan(cosines(x, kernel)).any()
    found = graded(lambda x, kernel: loss(x, kernel, LABELS), x, kernel)
    assert is_finite(found)
    assert not np.asarray(found[1][0])[3].any()
    assert not np.asarray(found[1][1])[:, 2].any()


@of_losses
def test_half_precision_is_normalised_in_single(loss):
    """Squares of numbers above 256 are infinite in float16, and those of small ones 0.

    https://github.com/lightly-ai/lightly/issues/1259
    """
    for unit in (2.0**9, 2.0**-13):
        x, kernel = (unit * X).astype(np.float16), (unit * KERNEL).astype(np.float16)
        lengths = jnp.sqrt(jnp.square(jnp.asarray(x)).sum(-1))
        assert jnp.isinf(lengths).any() or not lengths.all()
        wide = loss(x.astype(np.float32), kernel.astype(np.float32), LABELS)
        value, gradients = graded(lambda x, kernel: loss(x, kernel, LABELS), x, kernel)
        np.testing.assert_allclose(value, wide, rtol=1e-5)
        # The gradient to small rows is larger than float16 holds: that is what scaling the loss is for.
        assert is_finite(gradients) or unit < 1


@of_losses
def test_labels_are_no_floats(loss):
    """Labels in half precision: of more than 2048 classes two have one label, and from 65520 on it is infinite.

    https://github.com/THUFutureLab/gluon-face/issues/28
    """
    assert jnp.isinf(jnp.asarray(79998).astype(jnp.float16))
    assert jnp.float16(2049) == jnp.float16(2048)
    with pytest.raises(AssertionError, match=f"{loss.__name__}: `target` must hold integer class indices"):
        loss(X, KERNEL, LABELS.astype(np.float16))


@of_losses
def test_a_million_identities_need_no_logits(loss):
    """The logits of two million identities run out of memory: a matrix or three of (rows, classes).

    https://github.com/mk-minchul/AdaFace/issues/123, https://github.com/mk-minchul/AdaFace/issues/88
    """
    rows, features, classes = 1024, 64, 2**20
    shapes = ((rows, features), (features, classes), (rows,))
    given = [jax.ShapeDtypeStruct(shape, kind) for shape, kind in zip(shapes, ("f4", "f4", "i4"), strict=True)]
    compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*given).compile()
    logits, kernel = 4 * rows * classes, 4 * features * classes
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 0.1 * logits + 3 * kernel


def test_the_batch_of_all_devices_has_one_loss():
    """A mean of the losses of devices, each of its own rows, is another number: a factor for each device is missing.

    https://github.com/KevinMusgrave/pytorch-metric-learning/issues/363, https://github.com/ShiqiYu/OpenGait/issues/36
    """
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))

    def mapped(x, kernel, axis_name):
        def local(x, kernel, labels):
            loss = jaxloss.proxy_anchor_loss(x, kernel, labels, axis_name=axis_name)
            return loss if axis_name else jax.lax.pmean(loss, "data")

        specs = P("data"), P(), P("data")
        return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())(x, kernel, LABELS)

    one = graded(lambda x, kernel: jaxloss.proxy_anchor_loss(x, kernel, LABELS), X, KERNEL)
    ours = graded(functools.partial(mapped, axis_name="data"), X, KERNEL)
    wrong = graded(functools.partial(mapped, axis_name=None), X, KERNEL)
    assert abs(wrong[0] / one[0] - 1) > 0.1
    np.testing.assert_allclose(ours[0], one[0], rtol=1e-5)
    for gradient, expected, other in zip(ours[1], one[1], wrong[1], strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
        assert np.abs(other - expected).max() > 1e-2
