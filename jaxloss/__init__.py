"""The loss library for JAX: pure functions `loss(pred, target, *, reduction)` under PyTorch's names."""

from jaxloss import (
    classification,
    composition,
    detection,
    divergence,
    language_modeling,
    margin,
    metric_learning,
    reductions,
    regression,
    segmentation,
    sequence,
)
from jaxloss.classification import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    focal_loss,
    nll_loss,
    sigmoid_focal_loss,
    soft_target_cross_entropy,
    softmax_focal_loss,
)
from jaxloss.composition import weighted_sum
from jaxloss.detection import (
    box_iou_loss,
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
)
from jaxloss.divergence import kl_div
from jaxloss.language_modeling import linear_cross_entropy
from jaxloss.margin import (
    hinge_embedding_loss,
    hinge_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    soft_margin_loss,
    squared_hinge_loss,
)
from jaxloss.metric_learning import (
    cosine_embedding_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from jaxloss.regression import (
    gaussian_nll_loss,
    huber_loss,
    l1_loss,
    log_cosh_loss,
    mse_loss,
    poisson_nll_loss,
    quantile_loss,
    smooth_l1_loss,
)
from jaxloss.segmentation import dice_loss
from jaxloss.sequence import ctc_loss

__version__ = "0.1.0"

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "box_iou_loss",
    "classification",
    "complete_box_iou_loss",
    "composition",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_loss",
    "detection",
    "dice_loss",
    "distance_box_iou_loss",
    "divergence",
    "focal_loss",
    "gaussian_nll_loss",
    "generalized_box_iou_loss",
    "hinge_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "language_modeling",
    "linear_cross_entropy",
    "log_cosh_loss",
    "margin",
    "margin_ranking_loss",
    "metric_learning",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "quantile_loss",
    "reductions",
    "regression",
    "segmentation",
    "sequence",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "soft_target_cross_entropy",
    "softmax_focal_loss",
    "squared_hinge_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "weighted_sum",
]
