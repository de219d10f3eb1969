"""The pages tell the truth: links lead somewhere, named symbols exist, settings are those of the tables."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from hornbook.cli.main import VERBS
from hornbook.config.load import load_config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[(`?)([^\]`]+)`?\]\(([^)\s]+)\)")


def links(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    return [(bool(tick), said, target) for tick, said, target in LINK.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    local = [target for _, _, target in links(page) if "://" not in target and not target.startswith("#")]
    missing = [target for target in local if not (page.parent / target.partition("#")[0]).exists()]
    assert missing == []


def symbols(file):
    """Dotted names of the functions and classes of a file."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def test_every_symbol_of_the_tour_stands_in_its_file():
    tour = ROOT / "docs" / "tour.md"
    named = [(said, target) for is_code, said, target in links(tour) if is_code and target.endswith(".py")]
    assert len(named) > 30
    missing = [(name, target) for name, target in named if name not in symbols(tour.parent / target)]
    assert missing == []


def test_files_named_in_contributing_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = [name for name in re.findall(r"`(\w+/\w+\.py)`", text) if not (ROOT / name).exists()]
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / "src" / "hornbook" / name).exists()] == []


def test_the_settings_page_is_that_of_the_tables():
    page = runpy.run_path(str(ROOT / "scripts" / "make_configuration_page.py"))["page"]
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == page(), "run: python scripts/make_configuration_page.py"


def test_the_configurations_of_the_diffusion_page_are_valid(tmp_path):
    page = (ROOT / "docs" / "diffusion.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", page, re.S)
    assert len(examples) >= 2
    for number, text in enumerate(examples):
        file = tmp_path / f"{number}.toml"
        file.write_text(text.replace('"configs/', f'"{(ROOT / "configs").as_posix()}/'), encoding="utf-8")
        assert load_config(file).config.objective.kind == "masked_diffusion"


def test_metric_names_of_the_formats_page_are_those_that_are_logged():
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    rooms = (ROOT / "src" / "hornbook" / room for room in ("training", "objectives"))
    code = "".join(file.read_text(encoding="utf-8") for room in rooms for file in room.rglob("*.py"))
    names = {name.partition("/")[2] for name in re.findall(r"`((?:train|val)/\w+)`", page)}
    names -= {name for name in names if name.startswith("skipped_")}  # made of the reasons
    assert {name for name in names if not re.search(rf"\b{name}\b", code)} == set()


def test_messages_of_troubleshooting_are_those_of_the_code():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    parts = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    assert len(parts) > 30
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src" / "hornbook").rglob("*.py"))
    assert [part for part in parts if part not in code] == []


def test_the_table_of_pages_names_verbs_and_pages_that_tell_of_them():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1:3] for row in index.splitlines() if row.startswith("| `")]
    assert len(rows) >= 15
    for verbs, pages in rows:
        told = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in re.findall(r"\((\w+\.md)", pages))
        for verb in re.findall(r"`([\w-]+)`", verbs):
            assert verb in VERBS
            assert re.search(rf"\bhornbook {verb}\b", told), verb


@pytest.mark.slow
def test_the_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", tmp_path / "doctrees"]
    done = subprocess.run([*command, ROOT / "docs", tmp_path / "html"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
