"""Devices that exist resolve, those that do not are refused with what to do."""

import os
import subprocess
import sys

import pytest
import torch

from hornbook.distributed.device import explained_nondeterminism, resolve_device, use_deterministic_algorithms
from hornbook.errors import ConfigError


def test_cpu_and_auto() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in {"cpu", "cuda", "mps"}


def test_auto_prefers_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda:1")


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:3", 0), ("cuda:2", 2)])
def test_absent_cuda_devices(monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ConfigError, match=f"{name}.*sees {count} CUDA devices"):
        resolve_device(name)


def test_absent_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="Apple"):
        resolve_device("mps")


def test_deterministic_algorithms_refuse_an_operation_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # the user's own choice stays
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    try:
        use_deterministic_algorithms()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
        assert not torch.backends.cudnn.benchmark
        with pytest.raises(ConfigError, match=r"run\.deterministic = true, but put_"), explained_nondeterminism():
            torch.empty(3).put_(torch.tensor([0]), torch.ones(1))
    finally:
        torch.use_deterministic_algorithms(False)


def test_other_errors_pass_untouched() -> None:
    with pytest.raises(RuntimeError, match="something else"), explained_nondeterminism():
        raise RuntimeError("something else")


KEPT = """
import resource, sys
from hornbook.distributed.device import keep_freed_memory
sys.exit(77) if sys.argv[1] == "kept" and not keep_freed_memory() else None
import torch
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def fill():
    before = faults()
    torch.ones(64 * 2**20, dtype=torch.uint8)
    return faults() - before
print(min([fill() for _ in range(20)]))  # the first few find their places
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is glibc's to keep")
def test_freed_memory_is_used_again_without_fresh_pages() -> None:
    def new_pages(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", KEPT, how], capture_output=True, text=True, check=False)
        if done.returncode == 77:
            pytest.skip("no glibc")
        return int(done.stdout)

    assert new_pages("kept") < 100 < 1000 < new_pages("as it is")  # 64 MB are 16,384 pages of 4 KB
