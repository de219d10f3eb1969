import pytest
import torch

from hornbook.errors import ConfigError
from hornbook.profiling.nvtx import Nvtx, asked_level, is_available


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HORNBOOK_NVTX": "0"}, None),
        ({"HORNBOOK_NVTX_LEVEL": "verbose"}, None),
        ({"HORNBOOK_NVTX": "1"}, "fine"),
        ({"HORNBOOK_NVTX": "1", "HORNBOOK_NVTX_LEVEL": "coarse"}, "coarse"),
        ({"HORNBOOK_NVTX": "1", "HORNBOOK_NVTX_LEVEL": "verbose"}, "verbose"),
    ],
)
def test_what_the_environment_asks_for(environment, expected):
    assert asked_level(environment) == expected


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HORNBOOK_NVTX": "yes"}, "HORNBOOK_NVTX=yes: expected 1"),
        ({"HORNBOOK_NVTX": "1", "HORNBOOK_NVTX_LEVEL": "loud"}, "coarse, fine, verbose"),
    ],
)
def test_what_it_may_not(environment, said):
    with pytest.raises(ConfigError, match=said):
        asked_level(environment)


def test_it_is_there_exactly_where_torch_can():
    assert is_available() == (torch.version.cuda is not None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_ranges_begin_and_end():
    ranges = Nvtx()
    ranges.push("outer")
    ranges.push("inner")
    ranges.pop()
    ranges.pop()
