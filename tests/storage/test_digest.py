from pathlib import Path

from hornbook.storage.digest import bytes_sha256, file_sha256


def test_known_values(tmp_path: Path) -> None:
    # FIPS 180-2, appendix B.1, and the digest of nothing.
    assert bytes_sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "empty").touch()
    assert file_sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_file_and_bytes_agree(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert file_sha256(tmp_path / "a") == bytes_sha256(data)
