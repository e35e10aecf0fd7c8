"""Bytes and memory of every loss on a TPU v5e and an H100, as XLA counts them: exact, and no device is needed.

Peers are compiled too, or taken from the stored results if these are of the same jax.
"""

import functools
import math

import jax
import pytest

import jaxloss
from benchmarks import compiled
from benchmarks.rows import TABLE
from tests.support import THOROUGH

try:
    DEVICES = {platform: compiled.devices(platform)[0] for platform in compiled.PLATFORMS}
except compiled.MissingCompilerError as missing:
    pytest.skip(str(missing), allow_module_level=True)

from benchmarks import accelerators, heads, mesh

STORED = accelerators.read() if accelerators.stored_versions()["jax"] == jax.__version__ else {}


# Of those that share their code one stands for the others in half precision. By default each loss takes turns: in one
# dtype on a TPU and in the other on a GPU, the next loss the other way round.
ROWS = [
    (row, dtype, platform)
    for at, row in enumerate(TABLE)
    for turn, dtype in enumerate(accelerators.DTYPES[: 1 if row.record.like else None])
    for of, platform in enumerate(compiled.PLATFORMS)
    if THOROUGH or (at + turn + of) % 2 == 0
]


@pytest.mark.parametrize(("row", "dtype", "platform"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_no_peer_is_cheaper_and_nothing_large_is_held(row, dtype, platform):
    record, where = row.record, f"{dtype} {platform}"
    result = accelerators.measure(row, dtype, platform, DEVICES[platform], STORED)
    assert bool(result.behind()) == (where in record.benchmark.behind), result.behind()
    if record.elementwise:
        assert result.ours.accessed <= accelerators.BYTES * result.floor
    if record.elementwise or (record.class_axis and record.inner[0]):
        assert result.ours.temporaries <= 1e6 + 0.02 * result.floor
    # Nothing of the size of all pairs.
    assert result.ours.temporaries <= 12 * result.floor
    if where in record.benchmark.held:
        assert result.ours.temporaries <= record.benchmark.held[where] * result.least("temporaries")


def test_the_count_of_the_text_is_the_compilers_own_where_there_is_no_loop():
    row = next(row for row in TABLE if row.record.elementwise)
    for platform, device in DEVICES.items():
        arrays = accelerators.shapes(row, accelerators.size_of(row, "float32"), "float32")
        program = compiled.compile_for(device, jax.value_and_grad(row.ours), arrays)
        assert compiled.count(program).accessed == pytest.approx(
            compiled.hlo.Module(program.as_text()).accessed(), rel=0.01
        ), platform


@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("platform", compiled.PLATFORMS)
def test_label_smoothing_costs_no_pass(platform, weighted):
    logits, weight = jax.ShapeDtypeStruct((32768, 1024), "float32"), jax.ShapeDtypeStruct((1024,), "float32")
    labels = jax.ShapeDtypeStruct((32768,), "int32")

    def loss(logits, labels, weight):
        return jaxloss.cross_entropy(logits, labels, weight=weight if weighted else None, label_smoothing=0.1)

    program = compiled.compile_for(DEVICES[platform], jax.value_and_grad(loss), [logits, labels, weight])
    count, size = compiled.count(program), 4 * math.prod(logits.shape)
    assert count.accessed <= 3.1 * size
    assert count.temporaries <= 0.02 * size


@pytest.mark.parametrize("model", heads.SIZES)
def test_the_classes_of_real_models_cost_no_copy_of_the_kernel(model):
    head = heads.measure("linear_token_log_probs", model, "bfloat16", "tpu", DEVICES["tpu"])
    assert head
    assert head.temporaries < 0.15 * head.results


@functools.cache
def plain_head(layout, dtype):
    return mesh.measure_head(mesh_devices(), layout, "plain", dtype)


def mesh_devices():
    return compiled.devices("tpu", mesh.TOPOLOGY)


@pytest.mark.parametrize("layout", mesh.LAYOUTS)
@pytest.mark.parametrize("dtype", accelerators.DTYPES)
@pytest.mark.parametrize("kind", mesh.MESHES)
def test_the_large_head_keeps_its_memory_on_every_layout(layout, dtype, kind):
    result, plain = mesh.measure_head(mesh_devices(), layout, kind, dtype), plain_head(layout, dtype)
    assert result.temporaries <= 1e6 * mesh.BARS[layout][dtype]
    assert result.bytes_sent <= mesh.SENT * plain.bytes_sent
    # Four products of blocks of classes against three.
    assert result.products <= 4.05 / 3 * mesh.products_of(layout)


@pytest.mark.parametrize("loss", mesh.LOSSES, ids=[loss.__name__ for loss in mesh.LOSSES])
def test_sharded_classes_hold_and_send_a_few_numbers_a_row(loss):
    result = mesh.measure_logits(mesh_devices(), loss, "float32")
    rows = mesh.SIZE[0] // mesh.SHAPE[0]
    assert result.temporaries <= 1e6 + 64 * rows
    assert result.bytes_sent <= 64 * rows
