"""Checkpoints: what goes in comes out, and only what is safe goes in."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aelib import checkpoints

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(plain)
def test_plain_values_come_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint"
    checkpoints.save(value, path)
    assert checkpoints.load(path) == value


def test_tensors_come_back_bit_by_bit(tmp_path):
    shared = torch.randn(4, 4)
    value = {"a": {0: shared, 1: shared.t()}, "b": [torch.tensor(2.5), torch.zeros(0), torch.arange(3).bool()]}
    checkpoints.save(value, tmp_path / "c")
    back = checkpoints.load(tmp_path / "c")
    assert torch.equal(back["a"][0], shared)
    assert torch.equal(back["a"][1], shared.t())
    assert [tensor.dtype for tensor in back["b"]] == [torch.float32, torch.float32, torch.bool]
    assert back["b"][0].shape == ()


def test_what_only_a_pickle_could_keep_is_refused(tmp_path):
    with pytest.raises(TypeError, match="a checkpoint cannot keep"):
        checkpoints.save({"module": torch.nn.Linear(1, 1)}, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []
