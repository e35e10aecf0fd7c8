"""optax's and keras's losses against what the page names in their place: the same value and gradient, in float64."""

import dataclasses
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxloss
from tests.support import assert_close

PAGE = Path(__file__).parents[2] / "docs" / "coming_from_elsewhere.md"
RNG = np.random.default_rng(0)
VALUES, OTHERS = RNG.normal(size=(2, 6, 5))
POSITIVE, MORE = 0.5 + 2 * RNG.random(size=(2, 6, 5))
LABELS = RNG.integers(0, 5, size=6)
ONE_HOT = np.eye(5)[LABELS]
SOFT = RNG.dirichlet(np.ones(5), size=6)
PROBABILITIES = RNG.dirichlet(np.ones(5), size=6)
BITS = RNG.integers(0, 2, size=(6, 5)).astype(float)
SIGNS = 2 * BITS - 1
PIXELS, MASKS = RNG.normal(size=(2, 4, 4)), RNG.integers(0, 2, size=(2, 4, 4)).astype(float)
MAPS = RNG.normal(size=(2, 4, 4, 3))
REGIONS = np.eye(3)[RNG.integers(0, 3, size=(2, 4, 4))]
UNIT = VALUES / np.linalg.norm(VALUES, axis=-1, keepdims=True)
TWICE = np.array([0, 1, 2, 0, 1, 2])


@dataclasses.dataclass(frozen=True)
class Same:
    """Two functions of the prediction, and a prediction."""

    theirs: Callable[..., Any]
    ours: Callable[..., Any]
    pred: np.ndarray
    tolerance: float = 1e-9
    # keras's circle loss differentiates the weights too, which the paper holds constant.
    gradient: bool = True


def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "jax"
    with warnings.catch_warnings():  # What it imports warns of its own imports.
        warnings.simplefilter("ignore")
        import keras

    keras.config.set_floatx("float64")
    return keras.losses


def deprecated(loss: Callable[..., Any], *args: Any) -> Any:
    with warnings.catch_warnings():  # Which the newest optax warns of.
        warnings.simplefilter("ignore", DeprecationWarning)
        return loss(*args)


def ctc_of_keras(logits: Any) -> Any:
    return keras().ctc(np.array([[1, 2], [3, 0]]), logits)


FRAMES = RNG.normal(size=(2, 6, 4))
TARGETS = np.array([[1, 2], [3, 1]])

OPTAX = {
    "binary_dice_loss": Same(
        lambda x: optax.losses.binary_dice_loss(x[..., None], MASKS[..., None]).mean(),
        lambda x: jaxloss.dice_loss(x, MASKS, axis=(1, 2), smooth=2.0),
        PIXELS,
    ),
    "convex_kl_divergence": Same(
        lambda x: deprecated(optax.losses.convex_kl_divergence, x, SOFT),
        lambda x: jaxloss.generalized_kl_div(x, SOFT, reduction="none").sum(-1),
        VALUES,
    ),
    "cosine_distance": Same(
        lambda x: optax.losses.cosine_distance(x, OTHERS),
        lambda x: jaxloss.cosine_distance(x, OTHERS, reduction="none"),
        VALUES,
    ),
    "cosine_similarity": Same(
        lambda x: optax.losses.cosine_similarity(x, OTHERS),
        lambda x: 1 - jaxloss.cosine_distance(x, OTHERS, reduction="none"),
        VALUES,
    ),
    "ctc_loss": Same(
        lambda x: optax.losses.ctc_loss(x, np.zeros((2, 6)), TARGETS, np.array([[0.0, 0.0], [0.0, 1.0]])),
        lambda x: jaxloss.ctc_loss(x, TARGETS, target_lengths=np.array([2, 1]), reduction="none"),
        FRAMES,
    ),
    "dice_loss": Same(
        lambda x: optax.losses.dice_loss(x, REGIONS).mean(),
        lambda x: jaxloss.dice_loss(x, REGIONS, class_axis=-1, axis=(1, 2), smooth=2.0),
        MAPS,
    ),
    "dice_loss(alpha, beta)": Same(
        lambda x: optax.losses.dice_loss(x, REGIONS, alpha=0.3, beta=0.7).mean(),
        lambda x: jaxloss.tversky_loss(x, REGIONS, class_axis=-1, axis=(1, 2), alpha=0.3, beta=0.7, smooth=1.0),
        MAPS,
    ),
    "generalized_kl_divergence": Same(
        lambda x: optax.losses.generalized_kl_divergence(x, SOFT),
        lambda x: jaxloss.generalized_kl_div(x, SOFT, reduction="none").sum(-1),
        VALUES,
    ),
    "hinge_loss": Same(
        lambda x: optax.losses.hinge_loss(x, SIGNS),
        lambda x: jaxloss.hinge_loss(x, SIGNS, reduction="none"),
        VALUES,
    ),
    "huber_loss": Same(
        lambda x: optax.losses.huber_loss(x, OTHERS, delta=0.5),
        lambda x: jaxloss.huber_loss(x, OTHERS, delta=0.5, reduction="none"),
        VALUES,
    ),
    "kl_divergence": Same(
        lambda x: optax.losses.kl_divergence(jax.nn.log_softmax(x), SOFT),
        lambda x: jaxloss.kl_div(jax.nn.log_softmax(x), SOFT, reduction="none").sum(-1),
        VALUES,
    ),
    "kl_divergence_with_log_targets": Same(
        lambda x: optax.losses.kl_divergence_with_log_targets(jax.nn.log_softmax(x), np.log(SOFT)),
        lambda x: jaxloss.kl_div(jax.nn.log_softmax(x), np.log(SOFT), log_target=True, reduction="none").sum(-1),
        VALUES,
    ),
    "l2_loss": Same(
        lambda x: optax.losses.l2_loss(x, OTHERS),
        lambda x: jaxloss.mse_loss(x, OTHERS, reduction="none") / 2,
        VALUES,
    ),
    "log_cosh": Same(
        lambda x: optax.losses.log_cosh(x, OTHERS),
        lambda x: jaxloss.log_cosh_loss(x, OTHERS, reduction="none"),
        VALUES,
    ),
    "make_fenchel_young_loss": Same(
        lambda x: optax.losses.make_fenchel_young_loss(lambda scores, *_: jax.nn.logsumexp(scores))(x, SOFT),
        lambda x: jaxloss.fenchel_young_loss(x, SOFT, max_function=jax.nn.logsumexp, reduction="none"),
        VALUES,
    ),
    "multiclass_generalized_dice_loss": Same(
        lambda x: optax.losses.multiclass_generalized_dice_loss(x, REGIONS),
        lambda x: jaxloss.dice_loss(
            x,
            REGIONS,
            class_axis=-1,
            axis=(1, 2),
            weight=1 / REGIONS.sum((0, 1, 2)) ** 2,
            smooth=2.0,
        ),
        MAPS,
        1e-6,  # 1e-7 is added there.
    ),
    "multiclass_hinge_loss": Same(
        lambda x: optax.losses.multiclass_hinge_loss(x, LABELS),
        lambda x: jaxloss.multiclass_hinge_loss(x, LABELS, reduction="none"),
        VALUES,
    ),
    "multiclass_perceptron_loss": Same(
        lambda x: optax.losses.multiclass_perceptron_loss(x, LABELS),
        lambda x: jaxloss.multiclass_perceptron_loss(x, LABELS, reduction="none"),
        VALUES,
    ),
    "multiclass_sparsemax_loss": Same(
        lambda x: optax.losses.multiclass_sparsemax_loss(x, LABELS),
        lambda x: jaxloss.sparsemax_loss(x, LABELS, reduction="none"),
        VALUES,
    ),
    "ntxent": Same(
        lambda x: optax.losses.ntxent(x, TWICE),
        lambda x: jaxloss.ntxent_loss(x[:3], x[3:], temperature=0.07),
        VALUES,
    ),
    "perceptron_loss": Same(
        lambda x: optax.losses.perceptron_loss(x, jnp.asarray(SIGNS)),
        lambda x: jaxloss.perceptron_loss(x, SIGNS, reduction="none"),
        VALUES,
    ),
    "poly_loss_cross_entropy": Same(
        lambda x: optax.losses.poly_loss_cross_entropy(x, jnp.asarray(ONE_HOT)),
        lambda x: jaxloss.poly1_cross_entropy_loss(x, LABELS, reduction="none"),
        VALUES,
    ),
    "ranking_softmax_loss": Same(
        lambda x: optax.losses.ranking_softmax_loss(x, MORE),
        lambda x: jaxloss.ranking_softmax_loss(x, MORE),
        VALUES,
    ),
    "safe_softmax_cross_entropy": Same(
        lambda x: optax.losses.safe_softmax_cross_entropy(x, SOFT),
        lambda x: jaxloss.soft_target_cross_entropy(x, SOFT, reduction="none"),
        VALUES,
    ),
    "sigmoid_binary_cross_entropy": Same(
        lambda x: optax.losses.sigmoid_binary_cross_entropy(x, BITS),
        lambda x: jaxloss.binary_cross_entropy_with_logits(x, BITS, reduction="none"),
        VALUES,
    ),
    "sigmoid_focal_loss": Same(
        lambda x: optax.losses.sigmoid_focal_loss(x, BITS, alpha=0.25),
        lambda x: jaxloss.sigmoid_focal_loss(x, BITS, alpha=0.25, gamma=2.0, reduction="none"),
        VALUES,
    ),
    "smooth_labels": Same(
        lambda x: optax.losses.softmax_cross_entropy(x, optax.losses.smooth_labels(jnp.asarray(ONE_HOT), 0.1)),
        lambda x: jaxloss.cross_entropy(x, LABELS, label_smoothing=0.1, reduction="none"),
        VALUES,
    ),
    "softmax_cross_entropy": Same(
        lambda x: optax.losses.softmax_cross_entropy(x, SOFT),
        lambda x: jaxloss.soft_target_cross_entropy(x, SOFT, reduction="none"),
        VALUES,
    ),
    "softmax_cross_entropy_with_integer_labels": Same(
        lambda x: optax.losses.softmax_cross_entropy_with_integer_labels(x, LABELS),
        lambda x: jaxloss.cross_entropy(x, LABELS, reduction="none"),
        VALUES,
    ),
    "sparsemax_loss": Same(
        lambda x: optax.losses.sparsemax_loss(x, BITS.astype(bool)),
        lambda x: jaxloss.sparsemax_loss(jnp.stack([0 * x, x], -1), BITS.astype(int), reduction="none"),
        VALUES,
    ),
    "squared_error": Same(
        lambda x: optax.losses.squared_error(x, OTHERS),
        lambda x: jaxloss.mse_loss(x, OTHERS, reduction="none"),
        VALUES,
    ),
    "triplet_margin_loss": Same(
        lambda x: optax.losses.triplet_margin_loss(x, OTHERS, POSITIVE, eps=0.0),
        lambda x: jaxloss.triplet_margin_loss(x, OTHERS, POSITIVE, eps=0.0, reduction="none"),
        VALUES,
    ),
}

KERAS = {
    "binary_crossentropy": Same(
        lambda x: keras().binary_crossentropy(BITS, jax.nn.sigmoid(x)).mean(),
        lambda x: jaxloss.binary_cross_entropy(jax.nn.sigmoid(x), BITS),
        VALUES,
    ),
    "binary_crossentropy(from_logits=True)": Same(
        lambda x: keras().binary_crossentropy(BITS, x, from_logits=True, label_smoothing=0.1).mean(),
        lambda x: jaxloss.binary_cross_entropy_with_logits(x, 0.9 * BITS + 0.05),
        VALUES,
    ),
    "binary_focal_crossentropy": Same(
        lambda x: keras().binary_focal_crossentropy(BITS, x, apply_class_balancing=True, from_logits=True).mean(),
        lambda x: jaxloss.sigmoid_focal_loss(x, BITS, alpha=0.25, gamma=2.0),
        VALUES,
    ),
    "categorical_crossentropy": Same(
        lambda x: keras().categorical_crossentropy(SOFT, x, from_logits=True),
        lambda x: jaxloss.soft_target_cross_entropy(x, SOFT, reduction="none"),
        VALUES,
    ),
    "categorical_focal_crossentropy": Same(
        lambda x: keras().categorical_focal_crossentropy(ONE_HOT, x, from_logits=True),
        lambda x: 0.25 * jaxloss.softmax_focal_loss(x, LABELS, gamma=2.0, reduction="none"),
        VALUES,
    ),
    "categorical_generalized_cross_entropy": Same(
        lambda x: keras().categorical_generalized_cross_entropy(LABELS, jax.nn.softmax(x), q=0.7),
        lambda x: jaxloss.generalized_cross_entropy_loss(x, LABELS, q=0.7, reduction="none"),
        VALUES,
    ),
    "categorical_hinge": Same(
        lambda x: keras().categorical_hinge(ONE_HOT, jax.nn.softmax(x)),
        lambda x: jaxloss.multiclass_hinge_loss(jax.nn.softmax(x), LABELS, reduction="none"),
        VALUES,
    ),
    "circle": Same(
        lambda x: keras().circle(TWICE, unit(x)).mean(),
        lambda x: jaxloss.circle_loss(x, TWICE, margin=0.4, gamma=80.0),
        VALUES,
        gradient=False,
    ),
    "cosine_similarity": Same(
        lambda x: keras().cosine_similarity(OTHERS, x),
        lambda x: jaxloss.cosine_distance(x, OTHERS, reduction="none") - 1,
        VALUES,
    ),
    "ctc": Same(
        ctc_of_keras,
        lambda x: jaxloss.ctc_loss(x, TARGETS, target_lengths=np.array([2, 1]), reduction="none"),
        FRAMES,
    ),
    "dice": Same(
        lambda x: keras().dice(MASKS, jax.nn.sigmoid(x)),
        lambda x: jaxloss.dice_loss(jax.nn.sigmoid(x), MASKS, from_logits=False, smooth=1e-7),
        PIXELS,
    ),
    "hinge": Same(
        lambda x: keras().hinge(BITS, x).mean(),
        lambda x: jaxloss.hinge_loss(x, SIGNS),
        VALUES,
    ),
    "huber": Same(
        lambda x: keras().huber(OTHERS, x, delta=0.5).mean(),
        lambda x: jaxloss.huber_loss(x, OTHERS, delta=0.5),
        VALUES,
    ),
    "kl_divergence": Same(
        lambda x: keras().kl_divergence(SOFT, jax.nn.softmax(x)),
        lambda x: jaxloss.kl_div(jax.nn.log_softmax(x), SOFT, reduction="none").sum(-1),
        VALUES,
    ),
    "log_cosh": Same(
        lambda x: keras().log_cosh(OTHERS, x).mean(),
        lambda x: jaxloss.log_cosh_loss(x, OTHERS),
        VALUES,
    ),
    "mean_absolute_error": Same(
        lambda x: keras().mean_absolute_error(OTHERS, x).mean(),
        lambda x: jaxloss.l1_loss(x, OTHERS),
        VALUES,
    ),
    "mean_absolute_percentage_error": Same(
        lambda x: keras().mean_absolute_percentage_error(OTHERS, x).mean(),
        lambda x: jaxloss.mape_loss(x, OTHERS, eps=1e-7),
        VALUES,
    ),
    "mean_squared_error": Same(
        lambda x: keras().mean_squared_error(OTHERS, x).mean(),
        lambda x: jaxloss.mse_loss(x, OTHERS),
        VALUES,
    ),
    "mean_squared_logarithmic_error": Same(
        lambda x: keras().mean_squared_logarithmic_error(MORE, x).mean(),
        lambda x: jaxloss.msle_loss(x, MORE),
        POSITIVE,
    ),
    "poisson": Same(
        lambda x: keras().poisson(MORE, x).mean(),
        lambda x: jaxloss.poisson_nll_loss(x, MORE, log_input=False, eps=1e-7),
        POSITIVE,
    ),
    "sparse_categorical_crossentropy": Same(
        lambda x: (
            keras().sparse_categorical_crossentropy(LABELS, x, from_logits=True, ignore_class=int(LABELS[0])).sum()
        ),
        lambda x: jaxloss.cross_entropy(x, LABELS, ignore_index=int(LABELS[0]), reduction="sum"),
        VALUES,
    ),
    "squared_hinge": Same(
        lambda x: keras().squared_hinge(BITS, x).mean(),
        lambda x: jaxloss.squared_hinge_loss(x, SIGNS),
        VALUES,
    ),
    "tversky": Same(
        lambda x: keras().tversky(MASKS, jax.nn.sigmoid(x), alpha=0.3, beta=0.7),
        lambda x: jaxloss.tversky_loss(jax.nn.sigmoid(x), MASKS, from_logits=False, alpha=0.7, beta=0.3, smooth=0.0),
        PIXELS,
    ),
}


def unit(x: Any) -> Any:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


# The oldest optax lacks some.
SAMES = {("optax", name): same for name, same in OPTAX.items() if hasattr(optax.losses, name.split("(")[0])}
SAMES |= {("keras", name): same for name, same in KERAS.items()}


@pytest.mark.parametrize(("library", "name"), SAMES, ids=lambda name: name)
def test_value_and_gradient_are_theirs(library, name):
    same = SAMES[library, name]
    with jax.enable_x64(True):
        pred = jnp.asarray(same.pred)
        weights = np.random.default_rng(1).normal(size=np.shape(jax.eval_shape(same.ours, pred)) or ())
        (theirs, slope), (ours, own) = (
            jax.value_and_grad(lambda x, loss=loss: jnp.vdot(weights, loss(x)))(pred)
            for loss in (same.theirs, same.ours)
        )
        tolerance = same.tolerance if library == "optax" else 2e-6  # keras divides by at least, or adds, 1e-7.
        assert_close(ours, theirs, tolerance)
        if same.gradient:
            assert_close(own, slope, tolerance)


def lines(library: str) -> dict[str, str]:
    """What stands in the first column of the page, and in the second."""
    return dict(re.findall(rf"^\| {library} `(.+?)` \| (.+?) \|", PAGE.read_text(), re.MULTILINE))


@pytest.mark.parametrize("library", ["optax", "keras"])
def test_the_page_has_every_loss_and_each_line_is_held(library):
    listed = lines(library)
    module = optax.losses if library == "optax" else keras()
    public = {name for name in dir(module) if name[0].islower() and not name.startswith("_")}
    # What keras's classes are made with.
    public -= {"deserialize", "get", "serialize"}
    assert {name.split("(")[0] for name in listed} >= public
    held = OPTAX if library == "optax" else KERAS
    assert {name for name, here in listed.items() if not here.startswith("none")} == set(held)


def test_what_the_page_names_is_here():
    for library in ("optax", "keras", "torchvision", "MONAI", "kornia", "smp"):
        for here in lines(library).values():
            for name in re.findall(r"`(\w+)(?:\(.*?\))?`", here):
                assert hasattr(jaxloss, name), name
