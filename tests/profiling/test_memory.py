from pathlib import Path

import pytest
import torch

from hornbook.profiling.memory import free_bytes

CPU = torch.device("cpu")


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert free_bytes(CPU, root=tmp_path) is None
    assert free_bytes(torch.device("mps"), root=tmp_path) is None


def test_what_the_system_has_available(tmp_path: Path) -> None:
    meminfo = {"proc/meminfo": "MemTotal: 900 kB\nMemAvailable: 300 kB\n"}
    unlimited = {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "5\n"}
    assert free_bytes(CPU, root=system(tmp_path, meminfo | unlimited)) == 300 * 1024


@pytest.mark.parametrize(
    ("limit", "used", "statistics", "cached"),
    [
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ],
)
@pytest.mark.parametrize(("use", "expected"), [(900, 400), (1_400, 0)])
def test_files_that_a_group_only_caches_are_free(tmp_path, limit, used, statistics, cached, use, expected) -> None:
    group = {limit: "1000\n", used: f"{use}\n", statistics: f"anon 600\n{cached} 300\nactive_file 9\n"}
    files = {f"sys/fs/cgroup/{name}": text for name, text in group.items()}
    assert free_bytes(CPU, root=system(tmp_path, files)) == expected
