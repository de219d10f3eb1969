"""Rules of the house that a syntax tree can keep: what never stands in src, and what --help never loads."""

import ast
import re
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import pytest

from hornbook.config.keys import all_tables, tagged_tables

SOURCE = Path(__file__).parents[1] / "src" / "hornbook"
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN_NAMES = {"utils", "util", "common", "misc", "helpers", "helper", "base", "core", "manager", "handler"}


@cache
def trees():
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def broken_rules(tree):
    """What stands in a syntax tree and must not: running text as code, unpickling."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="eval" | "exec" | "__import__" as name)):
                yield f"{node.lineno}: calls {name}"
            case ast.Import(names=names):
                modules = {alias.name.partition(".")[0] for alias in names}
                yield from (f"{node.lineno}: imports {name}" for name in modules & FORBIDDEN_MODULES)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in FORBIDDEN_MODULES:
                yield f"{node.lineno}: imports {module}"
            case ast.ImportFrom(module="builtins"):
                yield f"{node.lineno}: imports from builtins"
            case ast.ImportFrom(module="torch", names=names) if any(alias.name == "load" for alias in names):
                yield f"{node.lineno}: imports torch.load"
            case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                yield f"{node.lineno}: torch.load"
            case ast.Attribute(value=ast.Name(id="builtins"), attr="eval" | "exec" as name):
                yield f"{node.lineno}: builtins.{name}"
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                yield f"{node.value.lineno}: allow_pickle=True"


def test_nothing_runs_text_or_unpickles():
    found = [f"{path.name}:{rule}" for path, tree in trees().items() for rule in broken_rules(tree)]
    # What torch.save wrote is read in one place, and by the peer that checkpoints are compared with; neither runs it.
    reading = {
        "foreign_checkpoints.py": SOURCE / "interop" / "foreign_checkpoints.py",
        "peer_checkpoint.py": SOURCE / "benchmarks" / "sides" / "peer_checkpoint.py",
    }
    assert [rule.split(":")[0] for rule in found if rule.endswith("torch.load")] == sorted(reading, reverse=True)
    assert len(found) == len(reading)
    for file in reading.values():
        calls = re.findall(r"torch\.load\(.*", file.read_text(encoding="utf-8"))
        assert len(calls) == 1
        assert 'map_location="cpu", weights_only=True)' in calls[0]


@pytest.mark.parametrize(
    "text",
    [
        "eval('1')",
        "def f():\n    exec(x)",
        "import os, pickle",
        "from pickle import loads",
        "import dill.source",
        "torch.load(p, weights_only=True)",
        "from torch import load",
        "builtins.eval(x)",
        "__import__('pickle')",
        "np.load(p, allow_pickle=True)",
    ],
)
def test_the_rules_see(text):
    assert len(list(broken_rules(ast.parse(text)))) == 1


@pytest.mark.parametrize(
    "text", ["model.eval()", "self.exec(x)", "# eval(x)", "s = 'eval(x)'", "load(p)", "np.load(p)"]
)
def test_the_rules_let_pass(text):
    assert list(broken_rules(ast.parse(text))) == []


def test_no_file_is_named_for_nothing():
    names = {part.removesuffix(".py") for path in trees() for part in path.relative_to(SOURCE).parts}
    assert names & FORBIDDEN_NAMES == set()


@cache
def names_outside_config():
    """Attributes read, names mentioned and keys matched in every room but config."""
    found = set()
    for path, tree in trees().items():
        if path.relative_to(SOURCE).parts[0] == "config":
            continue
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(attr=name, ctx=ast.Load()) | ast.Name(id=name):
                    found.add(name)
                case ast.MatchClass(kwd_attrs=names):
                    found.update(names)
    return found


def unread_fields():
    """Settings that no room reads; the `kind` of a tagged table is read by naming the table's class."""
    unread = set()
    for key, table in all_tables():
        for name in table.model_fields if key else ():
            read_as = table.__name__ if name == "kind" and key in tagged_tables() else name
            if read_as not in names_outside_config():
                unread.add(f"{'.'.join(map(str, key))}.{name}")
    # Read by hornbook.config: the first two are turned into the keys that they stand for, the last is Config.step_size.
    return unread - {"model.preset", "model.depth", "train.sequences_per_step"}


def test_every_setting_is_read_somewhere():
    assert sorted(unread_fields()) == []


def test_a_warning_is_an_error_here():
    with pytest.raises(UserWarning, match="an inverted guard"):
        warnings.warn("an inverted guard", stacklevel=1)


HELP = """
import argparse, contextlib, io, sys
from hornbook.cli.main import VERBS, main, verb_parser

def parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)

for verb in [None, *VERBS]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        main([verb, "--help"] if verb else ["--help"])
    assert "usage: hornbook" in out.getvalue(), verb
    for parser in parsers(verb_parser(verb)) if verb else ():
        assert "usage: hornbook" in parser.format_help()
    heavy = sorted({"torch", "numpy", "pydantic", "rich", "regex"} & set(sys.modules))
    assert not heavy, f"hornbook {verb} --help imports {heavy}"
"""


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_no_help_imports_anything_heavy():
    done = run_python(HELP)
    assert done.returncode == 0, done.stderr


IMPORT_EVERYTHING = """
import importlib, pkgutil, socket, sys, threading

class Refused(socket.socket):
    def __init__(self, *args, **kwargs):
        raise RuntimeError("an import opens a socket")

socket.socket = Refused
import hornbook
for module in pkgutil.walk_packages(hornbook.__path__, "hornbook."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert threading.active_count() == 1, threading.enumerate()
"""


@pytest.mark.medium
def test_importing_every_module_opens_no_socket_starts_no_thread_and_says_nothing():
    done = run_python(IMPORT_EVERYTHING)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
