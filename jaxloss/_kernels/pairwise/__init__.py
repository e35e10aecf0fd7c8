"""Rows compared with rows: sums over pairs, of which no matrix of all pairs exists.

`sums`: what an anchor needs of all keys, and a key of all anchors, by blocks of keys, with passes of their own for the
derivatives. `nearest`: which other row that is. `layout`: where the rows lie on a mesh. `proxies`: of rows and classes.
"""

from jaxloss._kernels.pairwise.layout import Mesh, of_rows
from jaxloss._kernels.pairwise.nearest import nearest
from jaxloss._kernels.pairwise.proxies import Axes, log_sum_exp_over, of_proxies
from jaxloss._kernels.pairwise.sums import (
    LOG_SUM_EXP,
    LOG_SUM_EXP_OF_KEYS,
    SUM,
    Pairs,
    log_add,
    log_of_sum,
    log_sum_exp,
    pair_sums,
)

__all__ = [
    "LOG_SUM_EXP",
    "LOG_SUM_EXP_OF_KEYS",
    "SUM",
    "Axes",
    "Mesh",
    "Pairs",
    "log_add",
    "log_of_sum",
    "log_sum_exp",
    "log_sum_exp_over",
    "nearest",
    "of_proxies",
    "of_rows",
    "pair_sums",
]
