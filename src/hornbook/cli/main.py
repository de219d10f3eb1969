"""`hornbook VERB ...`: finds the verb's module, runs it, and turns what went wrong into one line and an exit status.

A verb's module is imported only when that verb is called, and imports what is heavy only in its `run`: no `--help`, of
this program or of a verb, imports torch, numpy or pydantic.

Exit status: 0 done; 2 the user can mend it (message on stderr); 130 interrupted. HORNBOOK_TRACEBACK=1 adds a traceback.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from hornbook.errors import HornbookError, PeerLostError

VERBS = {
    "demo": ("hornbook.cli.demo", "the whole life of a small model, offline, in minutes"),
    "doctor": ("hornbook.cli.doctor", "whether this installation works, in a minute; what this machine lacks"),
    "tokenizer": ("hornbook.cli.tokenizer", "train a tokenizer; encode, decode, inspect, compare, import and export"),
    "data": ("hornbook.cli.data", "turn documents into token shards; count, inspect and fetch them"),
    "plan": ("hornbook.cli.plan", "parameters, operations, memory, time and cost of a configuration, before it is run"),
    "train": ("hornbook.cli.train", "train a model, or resume a run"),
    "verify-parallel": ("hornbook.cli.verify_parallel", "whether many processes train as one; how they scale"),
    "generate": ("hornbook.cli.generate", "continue prompts"),
    "chat": ("hornbook.cli.chat", "talk to a model in the terminal"),
    "serve": ("hornbook.cli.serve", "models over HTTP, as OpenAI's clients speak it, and a page to talk to them"),
    "eval": ("hornbook.cli.eval", "measure a model: perplexity, answers, preferences"),
    "export": ("hornbook.cli.export", "write a checkpoint in the form of another system"),
    "import": ("hornbook.cli.import_", "make a checkpoint of another system's files"),
    "checkpoint": ("hornbook.cli.checkpoint", "inspect, verify, prune, consolidate and merge checkpoints"),
    "sweep": ("hornbook.cli.sweep", "many runs of one file, here or by SLURM and HTCondor; what came of them"),
    "report": ("hornbook.cli.report", "runs as one HTML page: curves, samples, configuration, branches"),
    "bench": ("hornbook.cli.bench", "ratios against ordinary libraries, side by side on this machine"),
    "profile": ("hornbook.cli.profile", "where the time and memory of steps and texts go; a trace"),
    "config": ("hornbook.cli.config", "show, check and describe configurations"),
}
"""Verb -> (module, one line of help)."""

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE ended


class _Verb(Protocol):
    """What a verb's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; argparse itself exits on --help and on wrong arguments."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_what_is_closed()
    _make_stdout_lenient()
    top = _top_parser()
    if not arguments:
        top.print_help(sys.stderr)
        return EXIT_USER_ERROR
    name, rest = arguments[0], arguments[1:]
    if name.startswith("-"):
        top.parse_args(arguments)  # --help and --version exit here
        top.error("give the verb first: hornbook VERB [arguments]")
    if name not in VERBS:
        top.error(f"unknown verb {name!r}{_nearest_verb(name)}")
    status = _guarded(name, rest)
    if argv is None and _is_one_of_several():
        from hornbook.distributed.launch import end_now

        end_now(status)
    return status


def _is_one_of_several() -> bool:
    """Whether this program is one of several processes that train together."""
    from hornbook.distributed.environment import place_of

    try:
        return place_of(os.environ).world_size > 1
    except HornbookError:
        return False


def verb_parser(name: str) -> argparse.ArgumentParser:
    """The argument parser of one verb."""
    verb, summary = _verb(name), VERBS[name][1]
    parser = argparse.ArgumentParser(prog=f"hornbook {name}", description=f"{summary[0].upper()}{summary[1:]}.")
    verb.add_arguments(parser)
    return parser


def _verb(name: str) -> _Verb:
    return cast(_Verb, importlib.import_module(VERBS[name][0]))


def _guarded(name: str, rest: Sequence[str]) -> int:
    """Run a verb; what the user can cause becomes a message and a status, and what we cause stays a traceback."""
    try:
        status = _verb(name).run(verb_parser(name).parse_args(rest, argparse.Namespace(arguments=list(rest))))
        sys.stdout.flush()  # a reader that has gone shows here, not at interpreter exit
    except KeyboardInterrupt:
        return _fail(name, "interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_BROKEN_PIPE
    except PeerLostError as error:
        return _lost_another(name, error)
    except HornbookError as error:
        return _fail(name, str(error), EXIT_USER_ERROR)
    except OSError as error:
        return _fail(name, _os_message(error), EXIT_USER_ERROR)
    return status


def _fail(name: str, message: str, status: int) -> int:
    if os.environ.get("HORNBOOK_TRACEBACK") == "1":
        traceback.print_exc()
    print(f"hornbook {name}: {message}", file=sys.stderr)
    return status


def _lost_another(name: str, error: PeerLostError) -> int:
    """Of several processes, one that another has left. Our launcher tells what became of that one, on the terminal that
    the first process speaks to, which therefore says nothing."""
    from hornbook.distributed.environment import place_of
    from hornbook.distributed.launch import EXIT_PEER_LOST

    place = place_of(os.environ)
    if not place.is_ours:
        return _fail(name, str(error), EXIT_USER_ERROR)
    return _fail(name, str(error), EXIT_PEER_LOST) if place.rank else EXIT_PEER_LOST


def _os_message(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename is not None else ""
    advice = "; free some space and try again" if error.errno == errno.ENOSPC else ""
    return f"{where}{error.strerror or error}{advice}"


def _open_what_is_closed() -> None:
    """A program started with a standard stream closed (`>&-`) has None in its place, which nobody expects."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _make_stdout_lenient() -> None:
    """Models write any letter: on a terminal that cannot show one, escape it rather than stop."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _discard_stdout() -> None:
    """Point stdout elsewhere, or the interpreter would meet the broken pipe once more when it flushes at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (io.UnsupportedOperation, ValueError):
        return  # a replaced stdout, which has no file to point elsewhere


class _VersionAction(argparse.Action):
    """Prints the installed version, which is looked up only now because that costs more than all the help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"hornbook {version('hornbook')}")
        parser.exit()


def _top_parser() -> argparse.ArgumentParser:
    verbs = "\n".join(f"  {name:<17}{summary}" for name, (_, summary) in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="hornbook",
        usage="hornbook VERB [arguments]",
        description="The whole life of a small transformer language model.",
        epilog=f"verbs:\n{verbs}\n\n`hornbook VERB --help` says more of each; `hornbook demo` shows the whole road.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_VersionAction, nargs=0, help="show the version and exit")
    return parser


def _nearest_verb(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, VERBS, n=1)
    return f"; did you mean `hornbook {close[0]}`?" if close else f"; one of {', '.join(VERBS)}"
