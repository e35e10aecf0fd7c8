"""The catalogue: one record a loss, a file a family. `tests/properties` derives from it what holds for every loss."""

from tests.catalogue import (
    classification,
    contrastive,
    detection,
    distillation,
    divergence,
    language_modeling,
    margin,
    metric_learning,
    policy,
    preference,
    ranking,
    regression,
    segmentation,
    self_supervised,
    sequence,
)

TABLE = (
    *regression.RECORDS,
    *classification.RECORDS,
    *margin.RECORDS,
    *segmentation.RECORDS,
    *detection.RECORDS,
    *divergence.RECORDS,
    *metric_learning.RECORDS,
    *contrastive.RECORDS,
    *self_supervised.RECORDS,
    *sequence.RECORDS,
    *language_modeling.RECORDS,
    *distillation.RECORDS,
    *preference.RECORDS,
    *policy.RECORDS,
    *ranking.RECORDS,
)
