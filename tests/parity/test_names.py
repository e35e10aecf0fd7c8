import pytest
import torch  # pyright: ignore[reportMissingImports] an extra of its own

from tests.catalogue import TABLE

# A layer with weights of its own, of clusters of rare classes: `linear_cross_entropy` needs no logits of all classes.
ELSEWHERE = {"AdaptiveLogSoftmaxWithLoss"}
IN_TORCH = [record for record in TABLE if record.about.torch]


@pytest.mark.parametrize("record", IN_TORCH, ids=[record.name for record in IN_TORCH])
def test_the_module_that_a_record_names_exists(record):
    assert issubclass(getattr(torch.nn, record.about.torch), torch.nn.Module)


def test_every_loss_of_pytorch_is_named_by_a_record():
    public = {name for name in dir(torch.nn) if name.endswith("Loss")}
    assert public - ELSEWHERE == {record.about.torch for record in IN_TORCH}
