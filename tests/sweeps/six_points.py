"""A sweep of six points over a tiny project."""

from pathlib import Path

SIX = """extends = "tiny.toml"
[sweep.grid]
optim.learning_rate = [1e-2, 3e-3, 1e-3]
optim.betas = [[0.9, 0.95], [0.9, 0.99]]
"""


def write_six(source: Path, folder: Path) -> Path:
    """The sweep of the prepared project whose file is `source`, with runs of its own in `folder`."""
    text = source.read_text(encoding="utf-8").replace(f"{source.parent.as_posix()}/runs", f"{folder.as_posix()}/runs")
    (folder / "tiny.toml").write_text(text, encoding="utf-8")
    path = folder / "rates.toml"
    path.write_text(SIX, encoding="utf-8")
    return path
