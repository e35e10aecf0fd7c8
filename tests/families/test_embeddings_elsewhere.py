"""Embeddings and rankings as other libraries write them, in value and gradient; and what differs here, by its numbers.

The formulas are those of the sources in 2026: open_clip 3.3, lightly 1.6, sentence-transformers 6.2, rax 0.4, MONAI,
allRank, SupContrast, and the code of papers. A case stands for a line of docs/embeddings.md, by what stands in its
first column; so does a difference, by its first sentence. Lines of pytorch-metric-learning are held in tests/parity.
"""

import functools
import inspect
import math
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxloss
from tests.support import assert_close

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "embeddings.md"
RNG = np.random.default_rng(0)
X, Y, MORE = RNG.normal(size=(3, 6, 4))
QUEUE = RNG.normal(size=(5, 4))
LABELS, OTHERS = np.array([0, 0, 1, 1, 2, 2]), ~np.eye(6, dtype=bool)
SIGNS = np.array([1.0, -1, -1, 1, 1, -1])
SCORES = RNG.normal(size=(3, 5))
GRADES, RANKED = RNG.integers(0, 3, size=(3, 5)).astype(float), RNG.permuted(np.tile(np.arange(5.0), (3, 1)), axis=1)
IN_ORDER = np.tile(np.arange(5.0)[::-1], (3, 1))
STUDENT, TEACHER, CENTER = RNG.normal(size=(4, 6, 3)), RNG.normal(size=(2, 6, 3)), RNG.normal(size=3)


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def of_positive(values, weights):
    """The mean over the losses greater than 0."""
    return values.sum() / (values > 0).sum()


def cross_entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], -1).mean()


def clip(x, y, scale=1 / 0.07):
    logits, labels = scale * x @ y.T, jnp.arange(len(x))
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def siglip(x, y, scale=10.0, bias=-10.0):
    labels = 2 * jnp.eye(len(x)) - 1
    return -jax.nn.log_sigmoid(labels * (scale * x @ y.T + bias)).sum() / len(x)


def of_unit_rows(loss):
    return lambda *rows: loss(*map(unit, rows))


def supcontrast(views, labels, temperature=0.07):
    """Of unit rows (rows, views, features)."""
    rows, labels = jnp.concatenate(jnp.unstack(views, axis=1)), jnp.tile(labels, views.shape[1])
    logits = rows @ rows.T / temperature
    others = ~jnp.eye(len(rows), dtype=bool)
    like = others & (labels[:, None] == labels)
    log_p = logits - jnp.log((jnp.exp(logits) * others).sum(1, keepdims=True))
    return (-(temperature / 0.07) * (like * log_p).sum(1) / like.sum(1)).mean()


def simclr(x, y, temperature):
    """MONAI's: a quotient of exponentials."""
    rows = unit(jnp.concatenate([x, y]))
    exponentials = jnp.exp(rows @ rows.T / temperature)
    own = jnp.concatenate([jnp.diagonal(exponentials, len(x)), jnp.diagonal(exponentials, -len(x))])
    return -jnp.log(own / (exponentials * ~jnp.eye(len(rows), dtype=bool)).sum(1)).mean()


def lightly_ntxent(x, y, temperature=0.5):
    same, cross, size = unit(x) @ unit(x).T, unit(x) @ unit(y).T, len(x)
    apart = [each[~np.eye(size, dtype=bool)].reshape(size, -1) for each in (same, unit(y) @ unit(y).T)]
    logits = jnp.concatenate([jnp.concatenate([cross, apart[0]], 1), jnp.concatenate([cross.T, apart[1]], 1)])
    return cross_entropy(logits / temperature, jnp.tile(jnp.arange(size), 2))


def with_queue(x, y, temperature=0.5):
    logits = jnp.concatenate([(unit(x) * unit(y)).sum(1, keepdims=True), unit(x) @ unit(QUEUE).T], 1)
    return cross_entropy(logits / temperature, jnp.zeros(len(x), int))


def decoupled(x, y, temperature=0.1):
    """The positive is no part of the denominator."""

    def one_way(x, y):
        logits = jnp.concatenate([x @ x.T, x @ y.T], 1)[np.tile(OTHERS, 2)].reshape(len(x), -1) / temperature
        return jax.nn.logsumexp(logits, 1).mean() - (x * y).sum(1).mean() / temperature

    return (one_way(unit(x), unit(y)) + one_way(unit(y), unit(x))) / 2


def without_the_positive(values, weights):
    """Of log(1 + n / p) what log(n / p) is."""
    return jaxloss.reductions.mean(values + jnp.log(-jnp.expm1(-values)), weights)


def off_diagonal(products):
    return products[~np.eye(len(products), dtype=bool)]


def vicreg(x, y):
    def variance(x):
        return jax.nn.relu(1 - jnp.sqrt(x.var(0, ddof=1) + 1e-4)).mean()

    def covariance(x):
        x = x - x.mean(0)
        return (off_diagonal(x.T @ x / (len(x) - 1)) ** 2).sum() / x.shape[1]

    return 25 * ((x - y) ** 2).mean() + 25 * (variance(x) + variance(y)) / 2 + covariance(x) + covariance(y)


def barlow(x, y, weight, ddof=0, eps=1e-5, eps_of_deviation=0.0):
    x, y = ((x - x.mean(0)) / (jnp.sqrt(x.var(0, ddof=ddof) + eps) + eps_of_deviation) for x in (x, y))
    products = x.T @ y / len(x)
    return ((jnp.diagonal(products) - 1) ** 2).sum() + weight * (off_diagonal(products) ** 2).sum()


def dino(student):
    """Each view of the teacher with every other view of the student."""
    labels = jax.nn.softmax((TEACHER - CENTER) / 0.04)
    logs = jax.nn.log_softmax(student / 0.1)
    terms = [-(labels[t] * logs[s]).sum(-1).mean() for t in range(len(TEACHER)) for s in range(len(student)) if s != t]
    return sum(terms) / len(terms)


def dino_here(student):
    pairs = np.array([(t, s) for t in range(len(TEACHER)) for s in range(len(STUDENT)) if s != t]).T
    return jaxloss.dino_loss(student[pairs[1]], jnp.asarray(TEACHER)[pairs[0]], CENTER)


def pairwise_distance_of_all(x):
    first, second = np.triu_indices(len(x), 1)
    return ((x[first] - x[second]) ** 2).sum(-1)


def uniform(x, t):
    return jnp.log(jnp.exp(-t * pairwise_distance_of_all(x)).mean())


def koleo(x):
    x = unit(x)
    near = jnp.argmax(x @ x.T - 3 * jnp.eye(len(x)), 1)
    return -jnp.log(jnp.linalg.norm(x - x[near] + 1e-8, axis=-1) + 1e-8).mean()


def hypersphere(x, y):
    apart = ((unit(x) - unit(y)) ** 2).sum(-1).mean()
    return apart + (uniform(unit(x), 1.0) + uniform(unit(y), 1.0)) / 2


def hypersphere_here(x, y):
    uniformity = functools.partial(jaxloss.uniformity_loss, t=1.0)
    return 2 * jaxloss.cosine_distance(x, y) + (uniformity(x) + uniformity(y)) / 2


def cosent(scores, grades):
    gaps = jnp.where(grades[:, None] < grades, 20 * (scores[:, None] - scores), -jnp.inf)
    return jax.nn.logsumexp(jnp.append(gaps.ravel(), 0.0))


def squared_of_cosines(x, y):
    """With labels of 0 and 1."""
    labels, apart = (SIGNS + 1) / 2, 1 - (unit(x) * unit(y)).sum(-1)
    return 0.5 * (labels * apart**2 + (1 - labels) * jax.nn.relu(0.5 - apart) ** 2).mean()


def squared_of_cosines_here(x, y):
    apart = jaxloss.cosine_distance(x, y, reduction="none")[:, None]
    return 0.5 * jaxloss.contrastive_loss(apart, 0 * apart, SIGNS, margin=0.5)


def triplets(anchor, positive, negative, margin):
    near, far = (jnp.linalg.norm(anchor - other, axis=-1) for other in (positive, negative))
    return jax.nn.relu(near - far + margin).mean()


def multiple_negatives(x, y, more):
    return cross_entropy(20 * unit(x) @ unit(jnp.concatenate([y, more])).T, jnp.arange(len(x)))


def list_net(scores, grades, eps=0.0):
    return -(jax.nn.softmax(grades) * jnp.log(jax.nn.softmax(scores) + eps)).sum(-1).mean()


def list_mle(scores, grades, eps=0.0):
    ordered = jnp.take_along_axis(scores, jnp.argsort(-grades, -1), -1)
    ordered = ordered - ordered.max(-1, keepdims=True)
    return (jnp.log(jnp.cumsum(jnp.exp(ordered)[:, ::-1], -1)[:, ::-1] + eps) - ordered).sum(-1).mean()


def rank_net(scores, grades):
    """The mean over the pairs of all lists."""
    losses = jax.nn.softplus(scores[:, None, :] - scores[:, :, None])
    pairs = grades[:, :, None] > grades[:, None, :]
    return (losses * pairs).sum() / pairs.sum()


def rank_net_here(scores, grades):
    pairs = (grades[:, :, None] > grades[:, None, :]).sum((1, 2))
    return jaxloss.pairwise_logistic_loss(scores, jnp.asarray(grades), sample_weight=pairs)


def ranked(loss, grades):
    return lambda scores: loss(scores, jnp.asarray(grades))


def softmax_of(grades):
    return jax.nn.softmax(jnp.asarray(grades))


INFO_NCE = functools.partial(jaxloss.info_nce_loss, temperature=0.05)
VICREG = functools.partial(jaxloss.vicreg_loss, invariance_weight=25.0, variance_weight=25.0, covariance_weight=1.0)
BARLOW = functools.partial(jaxloss.barlow_twins_loss, off_diagonal_weight=0.005)
# Theirs, ours, and the arrays, to all of which there is a gradient.
SAME = {
    "open_clip `ClipLoss`": (of_unit_rows(clip), functools.partial(jaxloss.clip_loss, temperature=0.07), (X, Y)),
    "open_clip `SigLipLoss`": (
        of_unit_rows(siglip),
        functools.partial(jaxloss.siglip_loss, temperature=0.1, logit_bias=-10.0),
        (X, Y),
    ),
    "sentence-transformers `MultipleNegativesRankingLoss`": (
        multiple_negatives,
        lambda x, y, more: INFO_NCE(x, y, negatives=more),
        (X, Y, MORE),
    ),
    "sentence-transformers `MultipleNegativesSymmetricRankingLoss`": (
        of_unit_rows(functools.partial(clip, scale=20.0)),
        functools.partial(jaxloss.clip_loss, temperature=0.05),
        (X, Y),
    ),
    "sentence-transformers `CoSENTLoss`": (
        lambda scores: cosent(scores, GRADES[0]),
        lambda scores: jaxloss.cosent_loss(scores, jnp.asarray(GRADES[0]), scale=20.0),
        (SCORES[0] / 5,),
    ),
    "sentence-transformers `ContrastiveLoss`": (squared_of_cosines, squared_of_cosines_here, (X, Y)),
    "sentence-transformers `TripletLoss`": (
        functools.partial(triplets, margin=5.0),
        functools.partial(jaxloss.triplet_margin_loss, margin=5.0, eps=0.0),
        (X, Y, MORE),
    ),
    "sentence-transformers `ListNetLoss`": (
        ranked(list_net, GRADES),
        lambda scores: jaxloss.ranking_softmax_loss(scores, softmax_of(GRADES)),
        (SCORES,),
    ),
    "sentence-transformers `ListMLELoss`": (
        ranked(list_mle, IN_ORDER),
        ranked(jaxloss.list_mle_loss, IN_ORDER),
        (SCORES,),
    ),
    "sentence-transformers `RankNetLoss`": (
        lambda scores: rank_net(scores, GRADES) / math.log(2),
        lambda scores: rank_net_here(scores, GRADES) / math.log(2),
        (SCORES,),
    ),
    "SupContrast `SupConLoss`": (
        lambda x: supcontrast(unit(x)[:, None], LABELS),
        lambda x: jaxloss.supcon_loss(x, LABELS, temperature=0.07),
        (X,),
    ),
    "SupContrast `SupConLoss`, without labels": (
        lambda x, y: supcontrast(jnp.stack([unit(x), unit(y)], 1), jnp.arange(6)),
        functools.partial(jaxloss.ntxent_loss, temperature=0.07),
        (X, Y),
    ),
    "lightly `NTXentLoss`": (lightly_ntxent, functools.partial(jaxloss.ntxent_loss, temperature=0.5), (X, Y)),
    "lightly `NTXentLoss` with a memory bank (MoCo)": (
        with_queue,
        lambda x, y: jaxloss.info_nce_loss(
            x, y, temperature=0.5, negatives=jnp.asarray(QUEUE), ids=np.zeros(6, int), negative_ids=np.ones(5, int)
        ),
        (X, Y),
    ),
    "lightly `DCLLoss`": (
        decoupled,
        functools.partial(jaxloss.ntxent_loss, temperature=0.1, reduction=without_the_positive),
        (X, Y),
    ),
    "lightly `NegativeCosineSimilarity`": (
        lambda x, y: -(unit(x) * unit(y)).sum(-1).mean(),
        lambda x, y: jaxloss.cosine_distance(x, y) - 1,
        (X, Y),
    ),
    "lightly `BarlowTwinsLoss`, and its authors' code": (functools.partial(barlow, weight=0.005), BARLOW, (X, Y)),
    "lightly `VICRegLoss`, and its authors' code": (vicreg, VICREG, (X, Y)),
    "lightly `DINOLoss`, and its authors' code": (dino, dino_here, (STUDENT,)),
    "lightly `Center`": (
        lambda target: jax.lax.stop_gradient(0.9 * CENTER + 0.1 * target.mean((0, 1))),
        lambda target: jaxloss.dino_center(target, CENTER, momentum=0.9),
        (TEACHER,),
    ),
    "lightly `KoLeoLoss`": (koleo, functools.partial(jaxloss.koleo_loss, eps=1e-8), (X,)),
    "lightly `HypersphereLoss`": (hypersphere, hypersphere_here, (X, Y)),
    "BYOL's `regression_loss`": (
        lambda x, y: ((unit(x) - unit(y)) ** 2).sum(-1).mean(),
        lambda x, y: 2 * jaxloss.cosine_distance(x, y),
        (X, Y),
    ),
    "align_uniform `uniform_loss`": (
        lambda x: uniform(unit(x), 2.0),
        functools.partial(jaxloss.uniformity_loss, t=2.0),
        (X,),
    ),
    "MONAI `ContrastiveLoss`": (
        functools.partial(simclr, temperature=0.5),
        functools.partial(jaxloss.ntxent_loss, temperature=0.5),
        (X, Y),
    ),
    "optax `ntxent`, each label twice": (
        lambda x, y: optax.losses.ntxent(jnp.concatenate([x, y]), jnp.tile(jnp.arange(6), 2)),
        functools.partial(jaxloss.ntxent_loss, temperature=0.07),
        (X, Y),
    ),
    "optax `triplet_margin_loss`": (
        lambda *rows: optax.losses.triplet_margin_loss(*rows, eps=0.0).mean(),
        functools.partial(jaxloss.triplet_margin_loss, margin=1.0, eps=0.0),
        (X, Y, MORE),
    ),
    "optax `cosine_distance`": (
        lambda x, y: optax.losses.cosine_distance(x, y).mean(),
        jaxloss.cosine_distance,
        (X, Y),
    ),
    "optax `ranking_softmax_loss`": (
        ranked(optax.losses.ranking_softmax_loss, GRADES),
        ranked(jaxloss.ranking_softmax_loss, GRADES),
        (SCORES,),
    ),
    "rax `softmax_loss`": (
        lambda scores: -(GRADES * jax.nn.log_softmax(scores)).sum(-1).mean(),
        ranked(jaxloss.ranking_softmax_loss, GRADES),
        (SCORES,),
    ),
    "rax `listmle_loss`": (ranked(list_mle, RANKED), ranked(jaxloss.list_mle_loss, RANKED), (SCORES,)),
    "rax `pairwise_logistic_loss`, allRank `rankNet`": (
        ranked(rank_net, GRADES),
        ranked(rank_net_here, GRADES),
        (SCORES,),
    ),
    "allRank `listNet`": (
        lambda scores: list_net(scores, jnp.asarray(GRADES), eps=1e-10),
        lambda scores: jaxloss.ranking_softmax_loss(scores, softmax_of(GRADES)),
        (SCORES,),
    ),
    "allRank `listMLE`": (
        lambda scores: list_mle(scores, jnp.asarray(RANKED), eps=1e-10),
        ranked(jaxloss.list_mle_loss, RANKED),
        (SCORES,),
    ),
}
# Theirs has an eps more.
NEARLY = {"lightly `KoLeoLoss`", "allRank `listNet`", "allRank `listMLE`"}


@pytest.mark.parametrize("name", SAME)
def test_a_formula_of_another_library(name):
    theirs, ours, arrays = SAME[name]
    with jax.enable_x64(True):

        def of_both(*arrays):
            values, pulls = zip(*(jax.vjp(loss, *arrays) for loss in (theirs, ours)), strict=True)
            return [
                (value, pull(jnp.cos(jnp.ones(value.shape).cumsum()).reshape(value.shape)))
                for value, pull in zip(values, pulls, strict=True)
            ]

        (value, slopes), (found, gradients) = jax.jit(of_both)(*map(jnp.asarray, arrays))
        tolerance = 1e-6 if name in NEARLY else 1e-10
        assert_close(found, value, tolerance)
        for ours_of, theirs_of in zip(gradients, slopes, strict=True):
            assert_close(ours_of, theirs_of, tolerance)


def single(numbers):
    return np.asarray(numbers, np.float32)


EYE, SCALED = single(np.eye(2)), single(2 * np.eye(2))
LONE = np.array([0, 0, 1])
ALIKE, THREE = single([[1, 0]] * 3 + [[0, 1]]), np.array([0, 0, 0, 1])
TWO_ROWS = single([[1.0], [-1.0]])
LONG_AND_SHORT = (
    single([[0, 1, 2], [0, 1, 0]]),
    single([[0, 1, 2], [1, 0, 0]]),
    np.array([[True] * 3, [True, True, False]]),
)
GAP = single([[0.0, -100.0]]), single([[1.0, 0.0]])


def pairs_of_lists(scores, grades, where):
    losses = jax.nn.softplus(scores[:, None, :] - scores[:, :, None])
    pairs = (grades[:, :, None] > grades[:, None, :]) & where[:, :, None] & where[:, None, :]
    return (losses * pairs).sum() / pairs.sum()


# By what stands in the list below the table: theirs, ours, and what both are.
LOSS_OF_1, LOSS_OF_2 = math.log1p(math.exp(-1)), math.log1p(math.exp(-2))
DIFFERS = {
    "open_clip's losses take the rows as they are": (
        lambda: clip(SCALED, SCALED, scale=1.0),
        lambda: jaxloss.clip_loss(SCALED, SCALED, temperature=1.0),
        (math.log1p(math.exp(-4)), LOSS_OF_1),
    ),
    "SupContrast multiplies the loss by its temperature": (
        lambda: supcontrast(ALIKE[:3, None], np.zeros(3, int), temperature=0.5),
        lambda: jaxloss.supcon_loss(ALIKE[:3], np.zeros(3, int), temperature=0.5),
        (math.log(2) * 0.5 / 0.07, math.log(2)),
    ),
    "SupContrast is NaN where a label stands once": (
        lambda: supcontrast(ALIKE[1:, None], LONE, temperature=1.0),
        lambda: jaxloss.supcon_loss(ALIKE[1:], LONE, temperature=1.0),
        (math.nan, LOSS_OF_1),
    ),
    "optax leaves other positives out of NT-Xent's denominator": (
        lambda: optax.losses.ntxent(ALIKE, THREE, temperature=1.0),
        lambda: jaxloss.supcon_loss(ALIKE, THREE, temperature=1.0),
        (LOSS_OF_1, math.log(2 + math.exp(-1))),
    ),
    "MONAI's exponentials overflow": (
        lambda: simclr(EYE, EYE[::-1], temperature=0.01),
        lambda: jaxloss.ntxent_loss(EYE, EYE[::-1], temperature=0.01),
        (math.inf, 100),
    ),
    "MONAI divides Barlow twins' variances by the rows less 1": (
        lambda: barlow(TWO_ROWS, TWO_ROWS, 0.005, ddof=1, eps=0.0, eps_of_deviation=1e-6),
        lambda: jaxloss.barlow_twins_loss(TWO_ROWS, TWO_ROWS, eps=1e-12),
        (0.25, 0.0),
    ),
    "allRank adds 1e-10 within its logarithms": (
        lambda: list_mle(*GAP, eps=1e-10),
        lambda: jaxloss.list_mle_loss(*GAP),
        (100 + math.log(1e-10), 0.0),
    ),
    "rax and allRank average over pairs, here the mean is over lists": (
        lambda: pairs_of_lists(*LONG_AND_SHORT),
        lambda: jaxloss.pairwise_logistic_loss(*LONG_AND_SHORT[:2], where=LONG_AND_SHORT[2]),
        ((2 * LOSS_OF_1 + LOSS_OF_2 + LOSS_OF_1 + 1) / 4, ((2 * LOSS_OF_1 + LOSS_OF_2) / 3 + LOSS_OF_1 + 1) / 2),
    ),
}


@pytest.mark.parametrize("name", DIFFERS)
def test_what_differs(name):
    theirs, ours, expected = DIFFERS[name]
    np.testing.assert_allclose([theirs(), ours()], expected, rtol=1e-5, atol=1e-6)


def test_the_page_has_every_case_and_names_what_is_here():
    text = PAGE.read_text()
    rows = dict(re.findall(r"^\| ([^|]*?) \| `([^|]*?)` \|", text, re.MULTILINE))
    assert {there for there in rows if not there.startswith("PML ")} == set(SAME)
    differences = re.findall(r"^- \*\*(.*)\.\*\*", text, re.MULTILINE)
    assert {each for each in differences if not each.startswith("PML")} == set(DIFFERS)
    for there, here in rows.items():
        name, _, options = here.rstrip(")").partition("(")
        parameters = inspect.signature(getattr(jaxloss, name)).parameters
        for option in re.findall(r"(\w+)=", options):
            assert option in parameters, there
    for there, (_, ours, _) in SAME.items():
        if isinstance(ours, functools.partial):
            assert rows[there].partition("(")[0] == ours.func.__name__, there
