import json

import pytest
import torch

from hornbook.profiling import memory_use

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_on_a_cpu_the_allocators_functions_do_nothing(tmp_path):
    assert memory_use.start_history(CPU) is False
    assert memory_use.write_history(tmp_path / "memory.json", CPU) is False
    assert memory_use.history_page(CPU) is None
    memory_use.stop_history(CPU)
    memory_use.reset_peaks(CPU)
    assert list(tmp_path.iterdir()) == []


def test_the_peak_of_a_process_grows_with_what_it_takes():
    pytest.importorskip("resource")
    before = memory_use.peaks(CPU)["host_peak_bytes"]
    size = 2**25
    taken = torch.ones(before + size, dtype=torch.uint8)  # beyond whatever was given back before
    after = memory_use.peaks(CPU)["host_peak_bytes"]
    assert after >= len(taken)
    assert memory_use.summary(CPU) == f"host peak: {memory_use.peaks(CPU)['host_peak_bytes'] / 2**20:,.0f} MiB"


@pytest.mark.gpu
@needs_cuda
def test_peaks_and_history_of_a_device(tmp_path):
    device = torch.device("cuda")
    assert memory_use.start_history(device)
    try:
        memory_use.reset_peaks(device)
        before = memory_use.peaks(device)["allocated_peak_bytes"]
        taken = torch.ones(2**24, dtype=torch.uint8, device=device)
        assert memory_use.peaks(device)["allocated_peak_bytes"] >= before + len(taken)
        assert memory_use.write_history(tmp_path / "memory.json", device)
        page = memory_use.history_page(device)
    finally:
        memory_use.stop_history(device)
    snapshot = json.loads((tmp_path / "memory.json").read_text())
    assert {"segments", "device_traces"} <= set(snapshot)
    assert any(event["size"] >= 2**24 for events in snapshot["device_traces"] for event in events)
    assert page is not None
    assert "<html" in page.lower() or "<script" in page.lower()
    assert "GPU" in memory_use.summary(device) or "CUDA" in memory_use.summary(device)
