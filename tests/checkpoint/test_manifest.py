"""A manifest describes its directory, notices its own damage and leads nowhere else."""

import json
import os
from pathlib import Path

import pytest

from hornbook.checkpoint.manifest import FORMAT, Manifest, _content_sha256, read_manifest, verify_files, write_manifest
from hornbook.errors import CheckpointError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    (path / "tokenizer").mkdir(parents=True)
    (path / "a.bin").write_bytes(b"abc")
    (path / "empty").touch()
    (path / "tokenizer" / "vocab.json").write_text("{}")
    return path


def rewrite(directory: Path, **changes: object) -> None:
    """Forge the manifest with a right digest of its own."""
    content = json.loads((directory / "manifest.json").read_text())
    del content["sha256"]
    content |= changes
    content["sha256"] = _content_sha256(content)
    (directory / "manifest.json").write_text(json.dumps(content))


def verify(directory: Path) -> None:
    manifest = read_manifest(directory)
    verify_files(directory, manifest, names=manifest.files)


def test_round_trip(directory: Path) -> None:
    written = write_manifest(directory, step=5, kind="full")
    assert read_manifest(directory) == written
    assert (written.step, written.kind) == (5, "full")
    assert {name: record.bytes for name, record in written.files.items()} == {
        "a.bin": 3, "empty": 0, "tokenizer/vocab.json": 2,
    }  # fmt: skip
    verify(directory)


def test_content_is_that_of_the_files_and_nothing_else(directory: Path) -> None:
    # No clock, no host: the same checkpoint has the same bytes wherever it is made.
    write_manifest(directory, step=5, kind="light")
    assert json.loads((directory / "manifest.json").read_text()).keys() == {"format", "kind", "step", "files", "sha256"}


def test_no_manifest_is_incomplete(directory: Path) -> None:
    with pytest.raises(CheckpointError, match=r"incomplete checkpoint: no manifest\.json"):
        read_manifest(directory)


def test_a_flipped_bit_of_any_byte_of_the_manifest_is_noticed(directory: Path) -> None:
    write_manifest(directory, step=5, kind="full")
    path = directory / "manifest.json"
    good = path.read_bytes()
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 1 << index % 8
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"manifest\.json"):
            read_manifest(directory)


def test_truncated_manifest(directory: Path) -> None:
    write_manifest(directory, step=5, kind="full")
    path = directory / "manifest.json"
    good = path.read_bytes()
    for length in range(0, len(good) - 1, 7):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError, match=r"manifest\.json"):
            read_manifest(directory)


def test_every_broken_file_is_named(directory: Path) -> None:
    write_manifest(directory, step=5, kind="full")
    (directory / "a.bin").write_bytes(b"abd")
    (directory / "empty").write_bytes(b"x")
    (directory / "tokenizer" / "vocab.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        verify(directory)
    for part in ("a.bin: its sha256 differs", "empty: 1 bytes, expected 0", "tokenizer/vocab.json: missing"):
        assert part in str(caught.value)


def test_sizes_alone(directory: Path) -> None:
    manifest = write_manifest(directory, step=5, kind="full")
    (directory / "a.bin").write_bytes(b"abd")
    verify_files(directory, manifest, names=manifest.files, digests=False)
    (directory / "a.bin").write_bytes(b"ab")
    with pytest.raises(CheckpointError, match=r"a\.bin"):
        verify_files(directory, manifest, names=manifest.files, digests=False)


def test_file_beside_is_no_damage(directory: Path) -> None:
    write_manifest(directory, step=5, kind="full")
    (directory / "notes.txt").write_text("mine")
    verify(directory)


@pytest.mark.parametrize("number", [FORMAT + 1, 0, "1", None])
def test_unknown_format(directory: Path, number: object) -> None:
    write_manifest(directory, step=5, kind="full")
    rewrite(directory, format=number)
    with pytest.raises(CheckpointError, match=f"reads format {FORMAT}; use the version that wrote it"):
        read_manifest(directory)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "5"},
        {"kind": "half"},
        {"files": []},
        {"files": {"a": 1}},
        {"files": {"a": {"bytes": "3", "sha256": ""}}},
    ],
)
def test_wrong_types(directory: Path, changes: dict[str, object]) -> None:
    write_manifest(directory, step=5, kind="full")
    rewrite(directory, **changes)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        read_manifest(directory)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "a/../../secret", "..", "C:\\secret", "a\\..\\..\\secret", "\\\\host\\x", "./a", ""],
)
def test_names_that_lead_out_are_refused(directory: Path, name: str) -> None:
    write_manifest(directory, step=5, kind="full")
    rewrite(directory, files={name: {"bytes": 1, "sha256": "0"}})
    with pytest.raises(CheckpointError, match="leads out of the checkpoint"):
        read_manifest(directory)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_that_lead_out_are_refused(directory: Path) -> None:
    secret = directory.parent / "secret"
    secret.write_bytes(b"abc")  # even of the right content
    (directory / "a.bin").unlink()
    (directory / "a.bin").symlink_to(secret)
    write_manifest(directory, step=5, kind="full")
    with pytest.raises(CheckpointError, match=r"a\.bin: a link that leads out"):
        verify(directory)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_link_to_the_whole_checkpoint_is_fine(directory: Path) -> None:
    write_manifest(directory, step=5, kind="full")
    link = directory.with_name("link")
    link.symlink_to(directory, target_is_directory=True)
    verify(link)


def test_manifest_is_a_value(directory: Path) -> None:
    assert write_manifest(directory, step=5, kind="full") == Manifest(
        step=5, kind="full", files=read_manifest(directory).files
    )
