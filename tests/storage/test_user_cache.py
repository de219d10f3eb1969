from pathlib import Path

import pytest

from hornbook.storage.user_cache import user_cache


def test_a_named_directory_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("HORNBOOK_CACHE", str(tmp_path))
    assert user_cache() == tmp_path


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/somewhere"}, Path("/somewhere/hornbook")),
        ("linux", {"XDG_CACHE_HOME": ""}, Path.home() / ".cache/hornbook"),
        ("darwin", {}, Path.home() / "Library/Caches/hornbook"),
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/hornbook/cache")),
    ],
)
def test_each_system_has_its_place(monkeypatch, platform, variables, expected):
    monkeypatch.delenv("HORNBOOK_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert user_cache() == expected
