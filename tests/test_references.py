"""docs/references.md: every paper that the code names is there, and every file that it names speaks of the paper."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "references.md"
ARXIV = re.compile(r"arxiv(?:\.org/abs/|:| )(\d{4}\.\d{4,5})", re.I)


def papers():
    """(title, arXiv number or None, files) of each line."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        files = re.findall(r"\]\(\.\./(src/[^)]+)\)", line)
        if len(cells) == 5 and files:
            number = ARXIV.search(cells[1])
            yield cells[1], number[1] if number else None, [ROOT / file for file in files]


def test_every_file_exists_and_names_the_paper():
    found = list(papers())
    assert len(found) > 40
    for title, number, files in found:
        author = re.split(r" and |,| et al", title)[0]
        for file in files:
            assert file.is_file(), (title, file)
            text = file.read_text(encoding="utf-8")
            assert author in text or (number is not None and number in text), (title, file)


def test_every_paper_of_the_code_is_there():
    listed = {number for _, number, _ in papers()}
    for file in sorted((ROOT / "src").rglob("*.py")):
        named = set(ARXIV.findall(file.read_text(encoding="utf-8")))
        assert named <= listed, f"docs/references.md lacks {named - listed} of {file.relative_to(ROOT)}"


def test_everybody_whom_the_code_names_with_others_is_there():
    """Also of papers that have no number."""
    page = PAGE.read_text(encoding="utf-8")
    for file in sorted((ROOT / "src").rglob("*.py")):
        named = set(re.findall(r"([A-Z][a-z]+)\s+et\s+al\b", file.read_text(encoding="utf-8")))
        missing = {name for name in named if name not in page}
        assert not missing, f"docs/references.md lacks {missing} of {file.relative_to(ROOT)}"


def test_no_paper_is_listed_twice():
    numbers = [number for _, number, _ in papers() if number]
    assert len(numbers) == len(set(numbers))
