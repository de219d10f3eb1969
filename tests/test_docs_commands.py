"""Every `hornbook` command of the pages is one: its arguments are known, and in a tiny project it does what it says.

A page's commands run in their order, in a copy of a folder that has the runs and data sets that pages speak of, all of
them tiny. Those that would take long, a network or a second machine are only read, each for a reason that stands here;
where they take a configuration, that is resolved.
"""

import argparse
import contextlib
import io
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from hornbook.cli.main import VERBS, main, verb_parser
from tiny_world import make_world

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?:\w+)?(?: [^\n]*)?\n(.*?)^```$", re.M | re.S)

FILE = re.compile(r"^```toml file=(\S+)\n(.*?)^```$", re.M | re.S)
RUN = [page for page in PAGES if page.name not in ("README.md", "log.md")]

READ_ONLY = {
    r"bench ": "minutes to half an hour, and other libraries",
    r"demo": "minutes; tests/cli/test_demo.py has it made small",
    r"doctor": "half a minute; tests/selftest/test_doctor.py",
    r"serve ": "does not end; tests/cli/test_serve.py",
    r"import hf [A-Z]": "needs a network",
    r"data fetch": "needs a network",
    r"tokenizer import (gpt2|cl100k_base|[A-Z])": "needs a network",
    r"import llama2c": "needs a file of another project; tests/interop",
    r"sweep submit (?!.*--dry-run)|sweep retry": "needs a cluster; tests/sweeps",
    r"sweep (run|status|table|best) ": "trains many models; tests/cli/test_sweep.py",
    r"(train|tokenizer train|data prepare) configs/": "a recipe of hours; tests/test_recipes.py trains its small form",
    r"eval perplexity runs/wikitext": "needs windows of 512 and a text of many; tests/evaluation",
    r"eval perplexity runs/chain": "a run on a source of known entropy; tests/evaluation/test_known_truth.py",
    r"eval samples .*--judge": "a judge that another project made; tests/evaluation/test_samples.py",
    r"eval harness": "needs lm-eval and the files of a benchmark; tests/cli/test_eval_harness.py",
    r"plan ": "measures this machine for twenty seconds; tests/cli/test_plan.py",
    r"profile (configs/|.*--nproc|--decode)": "a recipe, several processes, or half a minute; tests/profiling",
    r"report runs/rates": "of a sweep that was not run; tests/reporting",
}
"""What is only read: how it begins (a pattern), and why."""
SHORTER = ["--set", "train.steps=4", "--set", "train.eval_every=2"]
"""Of a training that does not say how long it is."""
PROFILED = ["--steps", "1", "--set", "train.steps=8"]
"""Of a profile that does not say of how many steps."""


def scripts(page):
    """The fences of a page that are shell."""
    for text in FENCE.findall(page.read_text(encoding="utf-8")):
        yield text.replace("\\\n", " ")


def commands(page):
    """Arguments of the `hornbook` commands of a page; what follows a pipe is left out."""
    return [command for command, _ in written(page)]


def written(page):
    """The same, and the file that the output goes to, or None."""
    for text in scripts(page):
        for line in text.splitlines():
            line = re.sub(r"^(\$ |[A-Z_]+=\S+ )+", "", line.strip())
            if not re.match(r"hornbook [a-z-]", line) or "..." in line:
                continue
            words = shlex.split(line, comments=True)
            ends = [i for i, word in enumerate(words) if word in ("|", ">", "&&", "&", ">>", "2>")]
            out = words[words.index(">") + 1] if ">" in words else None
            yield words[1 : min(ends, default=len(words))], out


def said(command):
    return " ".join(command)


ALL = [(page.name, command) for page in PAGES if page.name != "log.md" for command in commands(page)]
"""log.md tells what was run, some of it long ago."""


def test_there_are_commands():
    assert len(ALL) > 80


@pytest.mark.parametrize(("page", "command"), ALL, ids=lambda value: value if isinstance(value, str) else said(value))
def test_the_arguments_are_known(page, command):
    assert command[0] in VERBS or command[0].startswith("-")
    if command[0] in VERBS:
        assert refused(command) is None


def refused(command):
    """What the verb's parser says against a command."""
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            verb_parser(command[0]).parse_args(command[1:])
        except SystemExit as end:
            return told.getvalue() if end.code else None  # --help ends, too
    return None


def test_every_verb_stands_on_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.name not in ("README.md", "log.md"))
    assert [verb for verb in VERBS if not re.search(rf"\bhornbook {verb}\b", pages)] == []


def options(parser):
    """Every --option of a verb, those of its actions included."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from options(each)


INLINE = re.compile(r"`hornbook ([a-z-]+)([^`\n]*)`")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "log.md"], ids=lambda page: page.name)
def test_verbs_and_options_named_in_sentences_exist(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for verb, rest in INLINE.findall(text):
        assert verb in VERBS, rest
        known = {*options(verb_parser(verb))}
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)) <= known, (verb, rest)


def why_only_read(command):
    return next((why for pattern, why in READ_ONLY.items() if re.match(pattern, said(command))), None)


def test_every_reason_is_needed():
    needed = {pattern for _, command in ALL for pattern in READ_ONLY if re.match(pattern, said(command))}
    assert set(READ_ONLY) - needed == set()


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.mark.medium
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page, world, tmp_path, monkeypatch, capfd):
    """The README's run in tests/test_readme.py."""
    here = tmp_path / "world"
    shutil.copytree(world, here, symlinks=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HORNBOOK_KERNELS", "off")  # nothing here is worth compiling
    for name, content in FILE.findall(page.read_text(encoding="utf-8")):
        Path(name).write_text(content, encoding="utf-8")
    failed = []
    for command, out in written(page):
        command = runnable(command)
        monkeypatch.setattr(sys, "stdin", io.StringIO("Once upon\n/quit\n"))
        try:
            status = main(command)
        except SystemExit as error:
            status = error.code
        told = capfd.readouterr()
        if out is not None:
            Path(out).write_text(told.out, encoding="utf-8")
        if status:
            failed.append(f"{said(command)}: {status}: {told.err[-500:]}")
    assert not failed, "\n".join(failed)


def runnable(command):
    """What is run of a command: itself, made shorter; or of one that is only read its configuration, or its help."""
    if why_only_read(command) is not None:
        toml = [word for word in command if word.endswith(".toml") and Path(word).exists()]
        return ["config", "check", *toml] if toml else [command[0], "--help"]
    starts = command[0] == "train" and not {"--resume", "--branch-from", "--replay-step"} & {*command}
    if starts and not any("train.steps" in word for word in command):
        return [*command, *SHORTER]
    if command[0] == "profile" and "--steps" not in command:
        return [*command, *PROFILED]
    return command
