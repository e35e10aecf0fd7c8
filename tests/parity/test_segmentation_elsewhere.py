"""Against MONAI and kornia, in value and gradient: a case stands for a line of docs/coming_from_elsewhere.md."""

import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch  # pyright: ignore[reportMissingImports] an extra of its own

import jaxloss
from tests.families.test_other_libraries import PAGE
from tests.support import assert_close

with warnings.catch_warnings():  # What they import warns of its own imports.
    warnings.simplefilter("ignore")
    import kornia  # pyright: ignore[reportMissingImports] an extra of its own
    import monai  # pyright: ignore[reportMissingImports] an extra of its own

RNG = np.random.default_rng(0)
# Every class is in every image: of absent ones each has a convention of its own.
MAPS = RNG.normal(size=(2, 3, 6, 6))
LABELS = np.stack([RNG.permutation(np.arange(36) % 3).reshape(6, 6) for _ in range(2)])
REGIONS = np.moveaxis(np.eye(3)[LABELS], -1, 1)
MASKS = (RNG.random(size=(2, 3, 6, 6)) < 0.4).astype(float)
VALUES, OTHERS = RNG.normal(size=(2, 4, 5))
HEAT, WARMTH = RNG.dirichlet(np.ones(36), size=(2, 2, 3)).reshape(2, 2, 3, 6, 6)
DISTANCES = np.asarray(jaxloss.signed_distance(MASKS.astype(bool), spatial_axes=(2, 3)), float)
BOXES, OTHER_BOXES = np.sort(RNG.random(size=(2, 5, 2, 2)), axis=2).reshape(2, 5, 4)


class Same(NamedTuple):
    theirs: Callable[..., Any]
    ours: Callable[..., Any]
    pred: np.ndarray = MAPS


def images(loss: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda x: loss(x, MASKS, axis=(2, 3), **options)


def classes(loss: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda x: loss(x, LABELS, class_axis=1, **({"axis": (2, 3)} | options))


def of(loss: Any, target: np.ndarray) -> Callable[..., Any]:
    return lambda x: loss(x, torch.tensor(target))


INDEXED = {"softmax": True, "to_onehot_y": True}
LABELLED = LABELS[:, None].astype(float)
SAME = {
    "MONAI `DiceLoss(sigmoid=True)`": Same(
        of(monai.losses.DiceLoss(sigmoid=True), MASKS), images(jaxloss.dice_loss, smooth=1e-5)
    ),
    "MONAI `DiceLoss(softmax=True, to_onehot_y=True)`": Same(
        of(monai.losses.DiceLoss(**INDEXED), LABELLED), classes(jaxloss.dice_loss, smooth=1e-5)
    ),
    "MONAI `DiceLoss(batch=True)`": Same(
        of(monai.losses.DiceLoss(batch=True, **INDEXED), LABELLED),
        classes(jaxloss.dice_loss, axis=(0, 2, 3), smooth=1e-5),
    ),
    "MONAI `DiceLoss(include_background=False)`": Same(
        of(monai.losses.DiceLoss(include_background=False, **INDEXED), LABELLED),
        classes(jaxloss.dice_loss, weight=np.array([0.0, 1.0, 1.0]), smooth=1e-5),
    ),
    "MONAI `DiceLoss(jaccard=True)`": Same(
        of(monai.losses.DiceLoss(jaccard=True, **INDEXED), LABELLED), classes(jaxloss.jaccard_loss, smooth=5e-6)
    ),
    "MONAI `GeneralizedDiceLoss`": Same(
        of(monai.losses.GeneralizedDiceLoss(**INDEXED), LABELLED),
        classes(jaxloss.generalized_dice_loss, smooth=1e-5),
    ),
    "MONAI `TverskyLoss`": Same(
        of(monai.losses.TverskyLoss(alpha=0.3, beta=0.7, **INDEXED), LABELLED),
        classes(jaxloss.tversky_loss, alpha=0.3, beta=0.7, smooth=1e-5),
    ),
    "MONAI `DiceCELoss`": Same(
        of(monai.losses.DiceCELoss(**INDEXED), LABELLED),
        lambda x: classes(jaxloss.dice_loss, smooth=1e-5)(x) + jaxloss.cross_entropy(x, LABELS, axis=1),
    ),
    "MONAI `FocalLoss`": Same(
        of(monai.losses.FocalLoss(), MASKS), lambda x: jaxloss.sigmoid_focal_loss(x, MASKS, alpha=None, gamma=2.0)
    ),
    "MONAI `FocalLoss(use_softmax=True)`": Same(
        of(monai.losses.FocalLoss(use_softmax=True, to_onehot_y=True), LABELLED),
        lambda x: jaxloss.softmax_focal_loss(x, LABELS, axis=1, gamma=2.0) / 3,
    ),
    "MONAI `BoundaryLoss`": Same(
        of(monai.losses.BoundaryLoss(sigmoid=True), MASKS),
        lambda x: jaxloss.boundary_loss(x, DISTANCES + (DISTANCES < 0)),
    ),
    "MONAI `SoftclDiceLoss`": Same(
        of(monai.losses.SoftclDiceLoss(sigmoid=True, smooth=1e-12), MASKS),
        lambda x: jaxloss.soft_cldice_loss(x, MASKS, spatial_axes=(2, 3), axis=(1, 2, 3)),
    ),
    "MONAI `BoxGIoULoss`": Same(
        of(monai.losses.BoxGIoULoss(), OTHER_BOXES),
        lambda x: jaxloss.generalized_box_iou_loss(x, OTHER_BOXES),
        BOXES,
    ),
    'kornia `dice_loss(average="macro")`': Same(
        lambda x: kornia.losses.dice_loss(x, torch.tensor(LABELS), average="macro"),
        classes(jaxloss.dice_loss, smooth=1e-8),
    ),
    "kornia `tversky_loss`": Same(
        lambda x: kornia.losses.tversky_loss(x, torch.tensor(LABELS), alpha=0.3, beta=0.7),
        classes(jaxloss.tversky_loss, alpha=0.3, beta=0.7, smooth=0.0),
    ),
    "kornia `focal_loss`": Same(
        lambda x: kornia.losses.focal_loss(x, torch.tensor(LABELS), alpha=None, gamma=2.0, reduction="mean"),
        lambda x: jaxloss.softmax_focal_loss(x, LABELS, axis=1, gamma=2.0) / 3,
    ),
    "kornia `binary_focal_loss_with_logits`": Same(
        lambda x: kornia.losses.binary_focal_loss_with_logits(x, torch.tensor(MASKS), reduction="mean"),
        lambda x: jaxloss.sigmoid_focal_loss(x, MASKS, alpha=0.25, gamma=2.0),
    ),
    "kornia `lovasz_hinge_loss`": Same(
        lambda x: kornia.losses.lovasz_hinge_loss(x[:, :1], torch.tensor(MASKS[:, 0])),
        lambda x: jaxloss.lovasz_hinge_loss(x[:, 0], MASKS[:, 0], axis=(1, 2)),
    ),
    "kornia `lovasz_softmax_loss`": Same(
        lambda x: kornia.losses.lovasz_softmax_loss(x, torch.tensor(LABELS)),
        classes(jaxloss.lovasz_softmax_loss, classes="all"),
    ),
    "kornia `js_div_loss_2d`": Same(
        lambda x: kornia.losses.js_div_loss_2d(x / x.sum((2, 3), keepdim=True), torch.tensor(WARMTH)),
        lambda x: jaxloss.generalized_jsd_loss(*(jnp.log(each).reshape(2, 3, -1) for each in (x, WARMTH))),
        HEAT,
    ),
    "kornia `kl_div_loss_2d`": Same(
        lambda x: kornia.losses.kl_div_loss_2d(x, torch.tensor(WARMTH)),
        lambda x: jaxloss.kl_div(jnp.log(x), WARMTH, reduction="none").sum((2, 3)).mean(),
        HEAT,
    ),
    **{
        f"kornia `{name}`": Same(
            lambda x, name=name: getattr(kornia.losses, name)(x, torch.tensor(OTHERS), reduction="mean"),
            lambda x, name=name, factor=factor: factor * getattr(jaxloss, name)(x, OTHERS),
            VALUES,
        )
        for name, factor in (
            ("charbonnier_loss", 1),
            ("cauchy_loss", 1),
            ("geman_mcclure_loss", 1),
            ("welsch_loss", 1),
        )
    },
}


def test_each_line_of_the_page_is_held():
    page = PAGE.read_text()
    listed = re.findall(r"^\| ((?:MONAI|kornia) `[^`]+`) \| `[^`]+`(?: and `\w+`| with `\w+`)? \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(SAME)


@pytest.mark.parametrize("module", [monai.losses, kornia.losses], ids=["MONAI", "kornia"])
def test_the_page_has_every_loss(module):
    page = PAGE.read_text()
    public = {name for name in dir(module) if name.endswith(("Loss", "loss", "_2d"))}
    if module is monai.losses:  # There small letters are modules.
        public = {name for name in public if name[0].isupper()}
    # Of kornia a function or its class is enough.
    named = {re.sub(r"[\W_]", "", name).lower() for name in re.findall(r"`(\w+)", page)}
    assert not {name for name in public if re.sub(r"_", "", name).lower() not in named}


@pytest.mark.parametrize("name", SAME)
def test_value_and_gradient_are_theirs(name):
    same = SAME[name]
    there = torch.tensor(same.pred, requires_grad=True)
    value = same.theirs(there)
    (slope,) = torch.autograd.grad(value, there)
    with jax.enable_x64(True):
        ours, own = jax.value_and_grad(same.ours)(jnp.asarray(same.pred))
    # Some compute distances, or one-hot labels, in float32.
    assert_close(ours, value.detach().numpy(), 1e-6)
    assert_close(own, slope.numpy(), 1e-6)
