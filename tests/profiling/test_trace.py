import gzip
import json

import pytest
import torch

from hornbook.profiling.ranges import Recorded
from hornbook.profiling.trace import traced

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recorded():
    ranges = Recorded()
    a = torch.ones(200, 200)
    with traced(CPU) as trace:
        ranges.push("the range")
        for _ in range(3):
            a = (a @ a).clamp(max=1.0)
        ranges.pop()
    return trace


def test_operators_are_counted_and_ranges_are_none(recorded):
    found = {each.name: each for each in recorded.operators()}
    assert found["aten::mm"].calls == 3
    assert found["aten::clamp"].calls == 3
    assert found["aten::mm"].host > 0.0
    assert found["aten::mm"].device == 0.0
    assert "the range" not in found
    times = [each.host for each in recorded.operators()]
    assert times == sorted(times, reverse=True)


def test_the_trace_is_what_perfetto_reads(recorded, tmp_path):
    path = tmp_path / "trace.json.gz"
    recorded.write(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["trace.json.gz"]
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    spans = [event for event in events if event.get("ph") == "X"]
    [own] = [event for event in spans if event["name"] == "the range"]
    products = [event for event in spans if event["name"] == "aten::mm"]
    assert len(products) == 3
    for each in products:
        assert own["ts"] <= each["ts"] <= each["ts"] + each["dur"] <= own["ts"] + own["dur"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_has_its_own_time():
    a = torch.ones(2000, 2000, device="cuda")
    with traced(a.device) as trace:
        a @ a
    assert max(each.device for each in trace.operators()) > 0.0
