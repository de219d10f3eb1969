"""Bugs that are put on purpose into a copy of src, one at a time: does the test that is named beside each see it?

A test must pass without its bug and fail with it, because a value is wrong and not because the code no longer runs.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_WRONG = ("E   assert ", "E   AssertionError", "E   Failed", "E   hornbook.errors.")
"""How a line begins in which pytest says that something is not as it should be."""
_BROKEN = re.compile(
    r"\b(Name|Type|Attribute|Import|ModuleNotFound|Syntax|Indentation)Error\b|killed by SIG|lost contact with another"
)


@dataclass(frozen=True, kw_only=True)
class Bug:
    """A few lines of the package that are made wrong."""

    name: str
    file: str
    """Below src/hornbook."""
    changes: tuple[tuple[str, str], ...]
    """(right, wrong); each right text stands in the file exactly once."""
    also: tuple[tuple[str, str, str], ...] = ()
    """(file, right, wrong) elsewhere, where one file alone does not make the bug."""

    @property
    def edits(self) -> list[tuple[str, str, str]]:
        """(file, right, wrong) of all."""
        return [*((self.file, right, wrong) for right, wrong in self.changes), *self.also]

    def put_into(self, source: Path) -> str | None:
        """Change a copy of src; says why it cannot be done."""
        for file, right, wrong in self.edits:
            path = source / "hornbook" / file
            text = path.read_text(encoding="utf-8")
            if text.count(right) != 1:
                return f"{right!r} stands {text.count(right)} times in {file}, expected once"
            path.write_text(text.replace(right, wrong), encoding="utf-8")
        return None


@dataclass(frozen=True, kw_only=True)
class Mutation(Bug):
    """One bug, and the test that must see it."""

    test: str
    """Below the suite."""


def see_all(mutations: Sequence[Mutation], suite: Path, *, without: Collection[str] = ()) -> int:
    """Put in all, print the table; 0 if every bug is seen. `without`: variables of the environment to leave out."""
    sound = run_tests(list(dict.fromkeys(mutation.test for mutation in mutations)), suite, ROOT / "src", without)
    if sound.returncode != 0:
        print(sound.stdout + sound.stderr)
        print("the tests fail without any bug put in; mend that first")
        return 1
    print(f"{'bug':<44}{'file':<36}{'':<10}test", flush=True)
    caught = 0
    for mutation in mutations:
        word, detail = verdict(mutation, suite, without)
        print(f"{mutation.name:<44}{mutation.file:<36}{word:<10}{mutation.test}{detail}", flush=True)
        caught += word == "caught"
    print(f"{caught} of {len(mutations)} caught")
    return 0 if caught == len(mutations) else 1


def verdict(mutation: Mutation, suite: Path, without: Collection[str]) -> tuple[str, str]:
    """(a word, what else there is to say)."""
    with tempfile.TemporaryDirectory() as folder:
        source = copied(Path(folder) / "src")
        if (problem := mutation.put_into(source)) is not None:
            return "STALE", f": {problem}"
        done = run_tests([mutation.test], suite, source, without)
    if done.returncode == 0:
        return "MISSED", ""
    said = [line for line in done.stdout.splitlines() if line.startswith(_WRONG)]
    if done.returncode != 1 or not said or _BROKEN.search(done.stdout):
        return "BROKEN", ": the mutated code does not run\n" + done.stdout[-3000:]
    return "caught", ""


def copied(source: Path) -> Path:
    """A copy of src at `source`."""
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    return source


def run_tests(
    tests: Sequence[str], suite: Path, source: Path, without: Collection[str]
) -> subprocess.CompletedProcess[str]:
    """Run tests of the suite on the package that lies in `source`."""
    # Where pytest believes that it runs on a CI server, it spells out how large answers differ: minutes a failure.
    left_out = {*without, "CI", "BUILD_NUMBER"}
    ours = {name: value for name, value in os.environ.items() if name not in left_out}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rf", "--tb=short", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *(f"{suite}/{test}" for test in tests)],
        cwd=ROOT,
        env={**ours, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
