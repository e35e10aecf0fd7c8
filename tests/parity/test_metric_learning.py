"""Against pytorch-metric-learning, in value and gradient; and what differs on purpose, each by its two numbers.

Collected only where it is installed (the `parity` extra). A case stands for a line of docs/embeddings.md, by what
stands in its first column; so does a difference, by its first sentence.
"""

import functools
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch  # pyright: ignore[reportMissingImports] an extra of its own
from pytorch_metric_learning import distances, losses  # pyright: ignore[reportMissingImports] an extra of its own

import jaxloss
from tests.families.test_embeddings_elsewhere import PAGE, of_positive, single, unit
from tests.support import assert_close

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 6, 4))
# One label stands once.
LABELS = np.array([0, 0, 0, 1, 1, 2])
TWICE = np.tile(np.arange(6), 2)
PAIRS = np.array([(i, j) for i, j in itertools.permutations(range(6), 2)]).T
KERNEL = RNG.normal(size=(4, 3))
LIKE = 2.0 * (LABELS[PAIRS[0]] == LABELS[PAIRS[1]]) - 1
TRIPLETS = np.array(
    [
        each
        for each in itertools.permutations(range(6), 3)
        if LABELS[each[0]] == LABELS[each[1]] and LABELS[each[0]] != LABELS[each[2]]
    ]
).T


def of_rows(loss):
    return lambda x: loss(x, torch.tensor(LABELS))


def two_means(values, weights):
    """Of like pairs and of unlike ones, each over what is greater than 0."""
    like, unlike = (of_positive(jnp.where(sign == LIKE, values, 0), weights) for sign in (1, -1))
    return like + unlike


def pairs_of_rows(loss):
    def ours(x):
        first, second = unit(x)[PAIRS]
        return loss(jnp.linalg.norm(first - second, axis=-1), LIKE)

    return ours


def triplets(loss, **options):
    return lambda x: loss(*unit(x)[TRIPLETS], margin=0.05, reduction=of_positive, **options)


def smooth_triplets(x):
    anchor, positive, negative = unit(x)[TRIPLETS]
    near, far = (jnp.linalg.norm(anchor - other, axis=-1) for other in (positive, negative))
    return jaxloss.bradley_terry_loss(-near, -far, margin=0.05)


def cosine_distances(x, y):
    return jaxloss.cosine_distance(x, y, reduction="none")


# Theirs, ours, and the arrays, to all of which there is a gradient.
SAME = {
    "PML `NTXentLoss`, each label twice": (
        lambda x, y: losses.NTXentLoss()(torch.cat([x, y]), torch.tensor(TWICE)),
        functools.partial(jaxloss.ntxent_loss, temperature=0.07),
        (X, Y),
    ),
    "PML `SelfSupervisedLoss(NTXentLoss())`": (
        losses.SelfSupervisedLoss(losses.NTXentLoss()),
        functools.partial(jaxloss.ntxent_loss, temperature=0.07),
        (X, Y),
    ),
    "PML `NTXentLoss` with `ref_emb`, each label once": (
        lambda x, y: losses.NTXentLoss()(x, torch.arange(6), ref_emb=y, ref_labels=torch.arange(6)),
        functools.partial(jaxloss.info_nce_loss, temperature=0.07),
        (X, Y),
    ),
    "PML `SupConLoss`": (
        of_rows(losses.SupConLoss()),
        lambda x: jaxloss.supcon_loss(x, LABELS, temperature=0.1),
        (X,),
    ),
    "PML `MultiSimilarityLoss`": (
        of_rows(losses.MultiSimilarityLoss()),
        lambda x: jaxloss.multi_similarity_loss(x, LABELS, alpha=2.0, beta=50.0, base=0.5),
        (X,),
    ),
    "PML `CircleLoss`": (
        of_rows(losses.CircleLoss()),
        lambda x: jaxloss.circle_loss(x, LABELS, margin=0.4, gamma=80.0),
        (X,),
    ),
    "PML `ContrastiveLoss`": (
        of_rows(losses.ContrastiveLoss()),
        pairs_of_rows(functools.partial(jaxloss.hinge_embedding_loss, margin=1.0, reduction=two_means)),
        (X,),
    ),
    "PML `TripletMarginLoss`": (
        of_rows(losses.TripletMarginLoss()),
        triplets(jaxloss.triplet_margin_loss, eps=0.0),
        (X,),
    ),
    "PML `TripletMarginLoss` with `swap`": (
        of_rows(losses.TripletMarginLoss(swap=True)),
        triplets(jaxloss.triplet_margin_loss, eps=0.0, swap=True),
        (X,),
    ),
    "PML `TripletMarginLoss` with `smooth_loss`": (
        of_rows(losses.TripletMarginLoss(smooth_loss=True)),
        smooth_triplets,
        (X,),
    ),
    "PML `TripletMarginLoss` with `CosineSimilarity`": (
        of_rows(losses.TripletMarginLoss(distance=distances.CosineSimilarity())),
        triplets(jaxloss.triplet_margin_with_distance_loss, distance_function=cosine_distances),
        (X,),
    ),
    "PML `VICRegLoss`": (
        lambda x, y: losses.VICRegLoss()(x, ref_emb=y),
        functools.partial(jaxloss.vicreg_loss, eps=1e-4),
        (X, Y),
    ),
}


def of_proxies(name, parameter, **options):
    """A module with proxies, as a function of them; classes are rows but where the parameter is called W."""
    loss = getattr(losses, name)(num_classes=3, embedding_size=4, **options)

    def call(x, kernel):
        proxies = kernel if parameter == "W" else kernel.T
        return torch.func.functional_call(loss, {parameter: proxies}, (x, torch.tensor(LABELS)))

    return call


def to_proxies(loss, **options):
    return lambda x, kernel: loss(x, kernel, LABELS, **options)


# Lines of docs/metric_learning.md.
WITH_PROXIES = {
    "`ArcFaceLoss`": (of_proxies("ArcFaceLoss", "W"), to_proxies(jaxloss.arcface_loss, margin=math.radians(28.6))),
    "`CosFaceLoss`": (of_proxies("CosFaceLoss", "W"), to_proxies(jaxloss.cosface_loss)),
    "`NormalizedSoftmaxLoss`": (
        of_proxies("NormalizedSoftmaxLoss", "W"),
        to_proxies(jaxloss.cosface_loss, margin=0.0, scale=20.0),
    ),
    "`ProxyNCALoss`": (of_proxies("ProxyNCALoss", "proxies"), to_proxies(jaxloss.proxy_nca_loss, scale=1.0)),
    "`ProxyAnchorLoss`": (of_proxies("ProxyAnchorLoss", "proxies"), to_proxies(jaxloss.proxy_anchor_loss)),
}
EVERY = SAME | {name: (*both, (X, KERNEL)) for name, both in WITH_PROXIES.items()}


@pytest.mark.parametrize("name", EVERY)
def test_value_and_gradients_agree(name):
    theirs, ours, arrays = EVERY[name]
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    value = theirs(*tensors)
    gradients = torch.autograd.grad(value, tensors)
    with jax.enable_x64(True):
        found, slopes = jax.jit(jax.value_and_grad(ours, tuple(range(len(arrays)))))(*map(jnp.asarray, arrays))
        assert_close(found, value.detach().numpy(), 1e-10)
        for slope, gradient in zip(slopes, gradients, strict=True):
            assert_close(slope, gradient.numpy(), 1e-10)


def value_of(loss, x, labels):
    return loss(torch.tensor(x, dtype=torch.float32), torch.tensor(labels)).item()


def largest_slope(loss, x, labels):
    rows = torch.tensor(x, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(rows, torch.tensor(labels)), rows)
    return gradient.abs().max().item()


ALIKE = [[1.0, 0.0]] * 3 + [[0.0, 1.0]]
SQUARE = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
LINE = np.array([[1.0, 0.0], [0.6, 0.8]])  # 2 / sqrt(5) apart
FACES = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-0.6, 0.8]])
ZERO = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
APART = 2 / math.sqrt(5)


def ours(loss, x, labels, **options):
    return loss(np.asarray(x, np.float32), np.asarray(labels), **options)


def on_line(target):
    first, second = LINE[:1].astype(np.float32), LINE[1:].astype(np.float32)
    return jaxloss.contrastive_loss(first, second, single([target]))


# By what stands in the list below the table: their number, ours, and what both are.
DIFFERS = {
    "PML leaves other positives out of NT-Xent's denominator": (
        lambda: value_of(losses.NTXentLoss(temperature=1.0), ALIKE, [0, 0, 0, 1]),
        lambda: ours(jaxloss.supcon_loss, ALIKE, [0, 0, 0, 1], temperature=1.0),
        (math.log(1 + math.exp(-1)), math.log(2 + math.exp(-1))),
    ),
    "PML's NT-Xent stops at 87": (
        lambda: value_of(losses.NTXentLoss(temperature=1 / 120), [[1, 0], [0, 1], [0, 1], [1, 0]], [0, 0, 1, 1]),
        lambda: jaxloss.ntxent_loss(
            np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)[::-1], temperature=1 / 120
        ),
        (-math.log(np.finfo(np.float32).tiny), 120),
    ),
    "PML's losses of labels are 0 where no row is a negative": (
        lambda: value_of(losses.SupConLoss(), ALIKE[:3], [0, 0, 0]),
        lambda: ours(jaxloss.supcon_loss, ALIKE[:3], [0, 0, 0]),
        (0, math.log(2)),
    ),
    "PML averages what is greater than 0": (
        lambda: value_of(losses.CircleLoss(gamma=1000), FACES, [0, 0, 1, 1]),
        lambda: ours(jaxloss.circle_loss, FACES, [0, 0, 1, 1], gamma=1000.0),
        # Two anchors lose exactly nothing, two lose log 3.
        (math.log(3), math.log(3) / 2),
    ),
    "PML's contrastive loss does not square": (
        lambda: value_of(losses.ContrastiveLoss(), LINE, [0, 0]),
        lambda: on_line(1),
        (APART, APART**2),
    ),
    "PML's distances are of unit rows": (
        lambda: value_of(losses.ContrastiveLoss(), [[1.0, 0.0], [3.0, 0.0]], [0, 0]),
        lambda: jaxloss.contrastive_loss(single([[1, 0]]), single([[3, 0]]), single([1])),
        (0, 4),
    ),
    "PML's gradient to a row of zeros is that of a row of 1e-12": (
        lambda: largest_slope(losses.SupConLoss(), ZERO, [0, 0, 1]) > 1e10,
        lambda: np.abs(jax.grad(jaxloss.supcon_loss)(ZERO, np.array([0, 0, 1]))[0]).max(),
        (True, 0),
    ),
}


@pytest.mark.parametrize("name", DIFFERS)
def test_what_differs(name):
    theirs, ours, expected = DIFFERS[name]
    np.testing.assert_allclose([theirs(), ours()], expected, rtol=1e-5)


def test_the_page_has_every_case():
    text = PAGE.read_text()
    assert set(re.findall(r"^\| (PML .*?) \| `", text, re.MULTILINE)) == set(SAME)
    assert set(re.findall(r"^- \*\*(PML.*)\.\*\*", text, re.MULTILINE)) == set(DIFFERS)
    text = PAGE.with_name("metric_learning.md").read_text()
    assert set(re.findall(r"^\| pytorch-metric-learning (.*?) \|", text, re.MULTILINE)) == set(WITH_PROXIES)
