"""A room imports only itself and rooms of strictly lower layers, functions included: the keeper of the architecture."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "hornbook"
ROOMS_BY_LAYER = [
    ["errors"],
    ["config", "storage"],
    ["tracking", "tokenizer"],
    ["data", "models", "optim", "distributed", "profiling"],
    ["objectives", "generation", "checkpoint", "sweeps"],
    ["training", "evaluation", "interop", "serving", "reporting", "planning"],
    ["assemble"],
    ["api", "replay", "selftest", "benchmarks"],
    ["cli", "__init__"],  # __init__ is the package's face, which nothing inside imports
    ["__main__"],
]
LAYERS = {room: layer for layer, rooms in enumerate(ROOMS_BY_LAYER) for room in rooms}
LIGHT = {"errors", "config", "storage"}
HEAVY = {"torch", "numpy"}


def room_of(path, source):
    """The room of a file: its folder, or the file itself when it lies at the top."""
    return path.relative_to(source).parts[0].removesuffix(".py")


def imports(tree):
    """(line, module) of every import, wherever it stands; `from hornbook import x` counts as hornbook.x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "hornbook" else [module]
            yield from ((node.lineno, name) for name in names)


def violations(source):
    """Every import that goes up, sideways, or out of a light room into a heavy package."""
    found = []
    for path in sorted(source.rglob("*.py")):
        room = room_of(path, source)
        here = f"{path.relative_to(source)}"
        if room not in LAYERS:
            found.append(f"{here}: room {room!r} has no layer")
            continue
        for line, module in imports(ast.parse(path.read_text(encoding="utf-8"))):
            top, _, rest = module.partition(".")
            target = rest.partition(".")[0] or "__init__"
            if top == "":
                found.append(f"{here}:{line}: relative import")
            elif top in HEAVY and room in LIGHT:
                found.append(f"{here}:{line}: {room} imports {top}")
            elif top == "hornbook" and target != room and LAYERS.get(target, len(LAYERS)) >= LAYERS[room]:
                found.append(f"{here}:{line}: {room} imports {target}, which is not in a lower layer")
    return found


def test_imports_go_down():
    assert violations(SOURCE) == []


def test_every_room_says_why_it_exists():
    for room in SOURCE.iterdir():
        if room.is_dir() and any(room.glob("*.py")):
            assert ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))), room.name


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("models/a.py", "from hornbook.training.trainer import Trainer", "models imports training"),
        ("models/a.py", "from hornbook.optim import adamw", "models imports optim"),
        ("models/a.py", "from hornbook import optim", "models imports optim"),
        ("models/a.py", "import hornbook.optim.adamw", "models imports optim"),
        ("models/a.py", "def f():\n    import hornbook.cli.main", ":2: models imports cli"),
        ("models/a.py", "class A:\n    def f(self):\n        if True:\n            from hornbook import api", ":4:"),
        ("models/a.py", "import hornbook", "models imports __init__"),
        ("models/a.py", "from hornbook.nowhere import x", "models imports nowhere"),
        ("models/a.py", "from ..optim import adamw", "relative import"),
        ("models/a.py", "from . import b", "relative import"),
        ("config/a.py", "import torch.nn", "config imports torch"),
        ("storage/a.py", "def f():\n    from numpy import array", "storage imports numpy"),
        ("corner/a.py", "", "room 'corner' has no layer"),
        ("api.py", "import hornbook.selftest.demo", "api imports selftest"),
    ],
)
def test_the_keeper_sees(tmp_path, file, text, expected):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    (found,) = violations(tmp_path)
    assert expected in found


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("models/a.py", "from hornbook.models.b import c\nimport torch\nfrom hornbook.config.model import ModelConfig"),
        ("config/a.py", "from hornbook.errors import ConfigError"),
        ("__init__.py", "from hornbook.api import load"),
        ("__main__.py", "from hornbook.cli.main import main"),
        ("assemble.py", "import hornbook.training.trainer\nfrom hornbook import evaluation"),
    ],
)
def test_the_keeper_lets_pass(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert violations(tmp_path) == []
