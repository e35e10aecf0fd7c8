# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Calls as users write them, for `pyright` and `mypy --strict`: those that they accept, and those that they refuse.

`tests/properties/test_typing.py` runs those that they accept, and says if a kind of parameter is not among them.
"""

import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

import jaxloss

FLOATS = jnp.float32(np.linspace(-1.0, 1.0, 12).reshape(3, 4))
SHARES = jnp.float32(np.full((3, 4), 0.25))
SIGNS = np.ones((3, 4), np.float32)
LABELS = jnp.int32(np.arange(3))
BOXES = jnp.float32(np.array(3 * [[0.0, 0.0, 1.0, 2.0]]))
MASK = np.array([True, False, True])
COLUMN = MASK[:, None]
PARAMETER = nnx.Param(FLOATS)
NUMBER = nnx.Param(jnp.float32(0.5))
PER_CLASS = nnx.Param(SHARES[0])


def largest(values: Array, weights: Array) -> Array:
    return jnp.max(jnp.where(weights > 0, values, -jnp.inf))


def manhattan(x: Array, y: Array) -> Array:
    return jnp.abs(x - y).sum(-1)


def regression() -> list[Array]:
    return [
        jaxloss.mse_loss(PARAMETER, SIGNS, where=COLUMN, reduction=largest),
        jaxloss.mse_loss(1.0, np.float32(2.0), where=True, reduction="sum"),
        jaxloss.l1_loss(FLOATS, PARAMETER, where=jnp.bool_(COLUMN), reduction="none"),
        jaxloss.smooth_l1_loss(SIGNS, PARAMETER, beta=NUMBER, where=None, reduction="mean"),
        jaxloss.huber_loss(PARAMETER, SIGNS, delta=np.float32(0.5), reduction=jaxloss.reductions.mean),
        jaxloss.log_cosh_loss(PARAMETER, SIGNS, reduction=functools.partial(jaxloss.reductions.sum, axis_name=None)),
        jaxloss.charbonnier_loss(PARAMETER, SIGNS, scale=NUMBER, where=COLUMN, reduction=largest),
        jaxloss.cauchy_loss(PARAMETER, SIGNS, scale=np.float32(0.5), reduction="none"),
        jaxloss.geman_mcclure_loss(FLOATS, PARAMETER, scale=2, sample_weight=SHARES, reduction="sum"),
        jaxloss.welsch_loss(FLOATS, SIGNS, scale=0.5),
        jaxloss.general_robust_loss(PARAMETER, SIGNS, alpha=NUMBER, scale=2, where=COLUMN, reduction=largest),
        jaxloss.tukey_loss(PARAMETER, SIGNS, scale=NUMBER, reduction=jaxloss.reductions.mean),
        jaxloss.msle_loss(nnx.Param(SHARES), SIGNS, where=COLUMN, reduction=largest),
        jaxloss.mape_loss(PARAMETER, SIGNS, eps=NUMBER, reduction="none"),
        jaxloss.quantile_loss(PARAMETER, SIGNS, quantile=0.9, reduction=lambda values, weights: values.max()),
        jaxloss.quantile_loss(PARAMETER, SIGNS[:, 0], quantile=PER_CLASS, reduction=largest),
        jaxloss.gaussian_nll_loss(PARAMETER, SIGNS, 1, full=True, eps=1e-3, where=COLUMN, reduction=largest),
        jaxloss.gaussian_nll_loss(PARAMETER, SIGNS, nnx.Param(SHARES), eps=NUMBER),
        jaxloss.poisson_nll_loss(PARAMETER, SIGNS, log_input=True, full=True, eps=NUMBER, reduction=largest),
    ]


def classification() -> list[Array]:
    return [
        jaxloss.cross_entropy(PARAMETER, np.arange(3), weight=PER_CLASS, label_smoothing=0.1, where=MASK),
        jaxloss.cross_entropy(FLOATS, LABELS, axis=1, ignore_index=-1, label_smoothing=NUMBER, reduction=largest),
        jaxloss.cross_entropy(FLOATS[0], 3, class_axis_name=None),
        jaxloss.nll_loss(jnp.log(SHARES), LABELS, axis=-1, weight=SIGNS[0], ignore_index=0, reduction=largest),
        jaxloss.soft_target_cross_entropy(PARAMETER, SHARES, weight=PER_CLASS, label_smoothing=0, where=MASK),
        jaxloss.binary_cross_entropy(nnx.Param(SHARES), SIGNS, weight=0.5, where=COLUMN, reduction=largest),
        jaxloss.binary_cross_entropy_with_logits(PARAMETER, SIGNS, weight=NUMBER, pos_weight=SIGNS, reduction=largest),
        jaxloss.focal_loss(PARAMETER, SIGNS, alpha=COLUMN.astype(np.float32), gamma=1.5, reduction=largest),
        jaxloss.sigmoid_focal_loss(PARAMETER, SIGNS, alpha=None, gamma=NUMBER, where=COLUMN, reduction=largest),
        jaxloss.softmax_focal_loss(PARAMETER, LABELS, axis=-1, alpha=PER_CLASS, gamma=2, ignore_index=1, where=MASK),
        jaxloss.asymmetric_loss(PARAMETER, SIGNS, gamma_neg=NUMBER, gamma_pos=0, clip=NUMBER, where=COLUMN),
        jaxloss.coral_loss(PARAMETER, LABELS, importance_weights=PER_CLASS, ignore_index=1, reduction=largest),
        jaxloss.corn_loss(PARAMETER, LABELS, axis=-1, ignore_index=1, sample_weight=NUMBER, where=MASK),
        jaxloss.poly1_cross_entropy_loss(PARAMETER, LABELS, weight=PER_CLASS, epsilon=NUMBER, reduction=largest),
        jaxloss.generalized_cross_entropy_loss(PARAMETER, LABELS, weight=PER_CLASS, q=NUMBER, where=MASK),
        jaxloss.logit_adjusted_cross_entropy_loss(PARAMETER, LABELS, log_prior=PER_CLASS, tau=NUMBER, where=MASK),
    ]


def margin() -> list[Array]:
    return [
        jaxloss.hinge_loss(PARAMETER, SIGNS, where=COLUMN, reduction=largest),
        jaxloss.squared_hinge_loss(PARAMETER, SIGNS, where=COLUMN, reduction=largest),
        jaxloss.soft_margin_loss(PARAMETER, SIGNS, where=COLUMN, reduction=largest),
        jaxloss.hinge_embedding_loss(PARAMETER, SIGNS, margin=NUMBER, where=COLUMN, reduction=largest),
        jaxloss.margin_ranking_loss(PARAMETER, FLOATS, SIGNS, margin=0.5, where=COLUMN, reduction=largest),
        jaxloss.multi_margin_loss(PARAMETER, LABELS, axis=1, weight=PER_CLASS, margin=NUMBER, p=2, where=MASK),
        jaxloss.multilabel_margin_loss(PARAMETER, np.array(3 * [[0, -1, 0, 0]]), where=MASK, reduction=largest),
        jaxloss.multilabel_soft_margin_loss(PARAMETER, SIGNS, weight=PER_CLASS, where=MASK, reduction=largest),
    ]


def others() -> list[Array]:
    return [
        jaxloss.dice_loss(PARAMETER, SIGNS, from_logits=True, axis=[0, 1], smooth=NUMBER, where=COLUMN),
        jaxloss.dice_loss(nnx.Param(SHARES), SIGNS, from_logits=False, axis=1, axis_name=(), reduction=largest),
        jaxloss.tversky_loss(PARAMETER, LABELS, class_axis=-1, weight=PER_CLASS, alpha=NUMBER, soft="difference"),
        jaxloss.generalized_dice_loss(PARAMETER, LABELS, weighting="simple", ignore_index=-1, where=MASK),
        jaxloss.lovasz_softmax_loss(PARAMETER, LABELS, classes="all", axis=(0,), where=MASK, reduction=largest),
        jaxloss.soft_cldice_loss(PARAMETER, SIGNS**2, spatial_axes=[0, 1], iterations=2, where=COLUMN),
        jaxloss.signed_distance(MASK, spatial_axes=0, spacing=(0.5,)),
        jaxloss.box_iou_loss(nnx.Param(BOXES), np.asarray(BOXES), eps=NUMBER, where=MASK, reduction=largest),
        jaxloss.generalized_box_iou_loss(nnx.Param(BOXES), BOXES, eps=1e-6, where=MASK, reduction=largest),
        jaxloss.distance_box_iou_loss(nnx.Param(BOXES), BOXES, eps=1e-6, where=MASK, reduction=largest),
        jaxloss.complete_box_iou_loss(nnx.Param(BOXES), BOXES, eps=1e-6, where=MASK, reduction=largest),
        jaxloss.efficient_box_iou_loss(nnx.Param(BOXES), BOXES, eps=1e-6, where=MASK, reduction=largest),
        jaxloss.kl_div(nnx.Param(jnp.log(SHARES)), SHARES, where=COLUMN, reduction="batchmean"),
        jaxloss.kl_div(jnp.log(SHARES), jnp.log(SHARES), log_target=True, reduction=largest),
        jaxloss.fenchel_young_loss(jnp.log(SHARES), SHARES, max_function=jnp.max),
        jaxloss.triplet_margin_loss(PARAMETER, SIGNS, FLOATS, margin=2, p=float("inf"), eps=0.0, swap=True, where=MASK),
        jaxloss.triplet_margin_with_distance_loss(
            PARAMETER, SIGNS, SHARES, distance_function=manhattan, margin=NUMBER, swap=True, reduction=largest
        ),
        jaxloss.cosine_embedding_loss(PARAMETER, SHARES, SIGNS[:, 0], margin=NUMBER, where=MASK, reduction=largest),
        jaxloss.ctc_loss(
            FLOATS[None], np.array([[1, 2]]), input_lengths=np.array([3]), target_lengths=LABELS[2:], blank=0
        ),
        jaxloss.linear_cross_entropy(
            PARAMETER, nnx.Param(FLOATS.T), LABELS, bias=SHARES[0, :3], weight=SIGNS[0, :3], z_loss=1e-4,
            logit_softcap=30.0, chunk_size=2, label_smoothing=NUMBER, ignore_index=2, where=MASK, reduction=largest,
        ),
        jaxloss.token_log_probs(PARAMETER, LABELS, temperature=0.7, logit_softcap=NUMBER, ignore_index=2, where=MASK),
        jaxloss.linear_token_log_probs(
            PARAMETER, nnx.Param(FLOATS.T), LABELS, bias=SHARES[0, :3], temperature=NUMBER, with_entropy=True,
            chunk_size=2, num_classes=3, precision="high", where=MASK,
        )[1],
        jaxloss.linear_generalized_jsd_loss(
            PARAMETER, nnx.Param(FLOATS.T), SHARES, SIGNS.T, target_bias=SHARES[0, :3], beta=NUMBER, chunk_size=2,
            where=MASK, reduction=largest,
        ),
        jaxloss.dpo_loss(PARAMETER, SIGNS, FLOATS, SHARES, beta=NUMBER, label_smoothing=0.1, robust=True, where=COLUMN),
        jaxloss.kto_loss(PARAMETER, SIGNS, SHARES, np.float32(0), desirable_weight=2, reduction=largest),
        jaxloss.bradley_terry_loss(PARAMETER, SIGNS, margin=COLUMN.astype(np.float32)),
        jaxloss.clipped_policy_loss(
            PARAMETER, SIGNS, FLOATS[:, 0], clip_low=0.1, clip_high=NUMBER, dual_clip=3, importance="sequence"
        ),
        jaxloss.kl_penalty(PARAMETER, SIGNS, estimator="k2", bound=NUMBER, reduction=jaxloss.reductions.sequence_mean),
        jaxloss.group_advantages(PARAMETER, axis=0, baseline="leave_one_out", scale=False, where=COLUMN),
        jaxloss.info_nce_loss(
            PARAMETER, FLOATS, negatives=FLOATS, temperature=NUMBER, similarity="dot", ids=LABELS, negative_ids=LABELS,
            chunk_size=2, precision="high", axis_name=None, sample_weight=FLOATS[:, 0], where=MASK,
        ),
        jaxloss.siglip_loss(PARAMETER, FLOATS, temperature=1, logit_bias=NUMBER, reduction=largest),
        jaxloss.supcon_loss(PARAMETER, LABELS, temperature=0.1, where=MASK, reduction="sum"),
        jaxloss.circle_loss(PARAMETER, LABELS, margin=NUMBER, gamma=80),
        jaxloss.contrastive_loss(PARAMETER, FLOATS, SIGNS[:, 0], margin=NUMBER),
        jaxloss.arcface_loss(
            PARAMETER, nnx.Param(FLOATS.T), LABELS, margin=NUMBER, scale=30, easy_margin=True, chunk_size=2,
            precision="high", class_axis_name=None, where=MASK, reduction=largest,
        ),
        jaxloss.cosface_loss(PARAMETER, FLOATS.T, LABELS, margin=0.4, scale=NUMBER, sample_weight=FLOATS[:, 0]),
        jaxloss.proxy_nca_loss(PARAMETER, FLOATS.T, LABELS, scale=NUMBER, where=MASK),
        jaxloss.proxy_anchor_loss(
            PARAMETER, FLOATS.T, LABELS, margin=NUMBER, scale=32, chunk_size=2, axis_name=None, class_axis_name=None,
            sample_weight=NUMBER, where=MASK,
        ),
        jaxloss.cosine_distance(PARAMETER, FLOATS, where=MASK, reduction=largest),
        jaxloss.dino_loss(PARAMETER, FLOATS, PER_CLASS, temperature=NUMBER, target_temperature=0.07, where=MASK),
        jaxloss.dino_center(PARAMETER, PER_CLASS, momentum=NUMBER, axis_name=None, where=MASK),
        jaxloss.vicreg_loss(
            PARAMETER, FLOATS, invariance_weight=1, variance_weight=NUMBER, covariance_weight=0.1, eps=1e-3,
            axis_name=None, sample_weight=NUMBER, where=MASK, reduction=largest,
        ),
        jaxloss.barlow_twins_loss(PARAMETER, FLOATS, off_diagonal_weight=NUMBER, eps=1e-3, where=MASK),
        jaxloss.koleo_loss(PARAMETER, eps=NUMBER, axis_name=None, sample_weight=FLOATS[:, 0], where=MASK),
        jaxloss.uniformity_loss(PARAMETER, t=NUMBER, axis_name=None, sample_weight=NUMBER, where=MASK, reduction="sum"),
        jaxloss.weighted_sum({"mse": FLOATS, "l1": PARAMETER}, {"mse": 1, "l1": NUMBER})[0],
        jaxloss.weighted_sum({"mse": FLOATS})[1]["mse"],
        jaxloss.reductions.mean(PARAMETER, SIGNS, axis_name=None),
        jaxloss.reductions.sum(FLOATS, COLUMN, count=12),
        jaxloss.reductions.sequence_mean(PARAMETER, COLUMN, axis=-1, count=NUMBER),
        jaxloss.mse_loss(PARAMETER, SIGNS, reduction=functools.partial(jaxloss.reductions.mean, count=NUMBER)),
        jaxloss.reductions.none(FLOATS),
        jaxloss.reductions.batchmean(FLOATS, NUMBER),
    ]  # fmt: skip


def refused() -> None:
    jaxloss.mse_loss(FLOATS, FLOATS, reduction="avg")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    jaxloss.mse_loss(FLOATS, FLOATS, reduction="batchmean")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    jaxloss.mse_loss(FLOATS, FLOATS, reduction=None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    jaxloss.mse_loss([1.0], FLOATS)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    jaxloss.mse_loss(FLOATS, FLOATS, None)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    jaxloss.huber_loss(FLOATS, FLOATS, delta="1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    jaxloss.huber_loss(FLOATS, FLOATS, beta=1.0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
