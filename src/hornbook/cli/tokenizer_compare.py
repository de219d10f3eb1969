"""`hornbook tokenizer compare`: any number of tokenizers side by side, on built-in samples and on texts of yours."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hornbook.cli.tokenizer_arguments import html_file, load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np

    from hornbook.tokenizer.comparison import Coverage, Measured, Text, TextSize
    from hornbook.tokenizer.tokenizer import Tokenizer

MOST_THREADS = 4
"""Of those that encode; one a core up to here."""

PROGRESS_PAYS = 2**25
"""Bytes to encode from which on progress is shown."""

Group = Literal["given", "language", "kind"]

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "special_tokens.json")
_SUFFIX_OF_RANKS = ".tiktoken"


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `compare`."""
    text = "tokenizers side by side: on samples of many kinds and languages, and on texts of yours"
    compare = actions.add_parser("compare", help=text, description=text)
    compare.add_argument(
        "paths",
        nargs="+",
        metavar="[LABEL=]PATH",
        help="tokenizers (directory, tokenizer.json, .tiktoken, or gpt2, cl100k_base, ...) and texts (any other file "
        "or directory), in any order",
    )
    compare.add_argument("--text", dest="texts", action="append", default=[], metavar="TEXT", help="may be repeated")
    compare.add_argument("--pattern", help="of .tiktoken files whose name does not tell it: gpt2, cl100k, o200k, ...")
    compare.add_argument("--html", type=html_file, metavar="OUT.html", help="write one HTML file instead")
    compare.set_defaults(carry_out=_compare)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Texts that are measured together."""

    name: str
    group: Group
    """Whose they are: the user's, or samples of a language or of a kind of text."""
    texts: Sequence[Text]
    size: TextSize


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All that is known of one tokenizer."""

    name: str
    path: Path
    tokenizer: Tokenizer
    measured: Mapping[str, Measured]
    """By the name of the kind."""
    used: np.ndarray
    """int64, (vocab_size,): how often each id was used on all texts."""
    coverage: Coverage
    only_here: Sequence[bytes]
    """Ordinary tokens that no other tokenizer has, those used most first."""
    same_as: Sequence[str]
    """Names of the others that give the same ids to every text."""

    @property
    def n_ordinary(self) -> int:
        """Ids that are no special tokens."""
        return sum(token is not None for token in self.tokenizer.scheme.tokens)

    @property
    def n_unused(self) -> int:
        """Ordinary ids that no text used."""
        return sum(token is not None and not self.used[i] for i, token in enumerate(self.tokenizer.scheme.tokens))


def _compare(args: argparse.Namespace) -> None:
    from hornbook.cli import comparison_view
    from hornbook.errors import TokenizerError
    from hornbook.tracking.progress import Progress

    named = [_labelled(argument) for argument in args.paths]
    tokenizers = [(label, path) for label, path in named if _is_tokenizer(path)]
    if not tokenizers:
        raise TokenizerError(
            f"{', '.join(map(str, args.paths))}: no tokenizer among these; name at least one directory of a tokenizer, "
            "tokenizer.json or .tiktoken file"
        )
    names = _names(tokenizers)
    loaded = {
        name: (path, load_tokenizer(path, pattern=args.pattern))
        for name, (_, path) in zip(names, tokenizers, strict=True)
    }
    kinds, skipped = _kinds([(label, path) for label, path in named if not _is_tokenizer(path)], args.texts)
    total = len(loaded) * sum(kind.size.n_bytes for kind in kinds)
    done = 0
    with Progress("compare", unit="bytes", console="auto" if total >= PROGRESS_PAYS else "none") as bar:

        def show(n_bytes: int) -> None:
            nonlocal done
            done += n_bytes
            bar.update(done, total)

        compared = compare(loaded, kinds, progress=show)
    if args.html is not None:
        from hornbook.cli.comparison_page import write_page

        write_page(args.html, compared, kinds, skipped)
    else:
        comparison_view.show(compared, kinds, skipped)


def compare(
    tokenizers: Mapping[str, tuple[Path, Tokenizer]],
    kinds: Sequence[Kind],
    *,
    progress: Callable[[int], None] | None = None,
) -> list[Compared]:
    """Measure every tokenizer on every kind."""
    import numpy as np

    from hornbook.storage.cores import available_cores
    from hornbook.tokenizer.comparison import coverage, measure, ordinary_tokens

    threads = min(available_cores(), MOST_THREADS)
    tokens = {name: ordinary_tokens(tokenizer) for name, (_, tokenizer) in tokenizers.items()}
    found = []
    for name, (path, tokenizer) in tokenizers.items():
        used = np.zeros(tokenizer.vocab_size, dtype=np.int64)
        measured = {
            kind.name: measure(tokenizer, kind.texts, kind.size, used, threads=threads, progress=progress)
            for kind in kinds
        }
        others = [other for other in tokenizers if other != name]
        only_here = set(tokens[name]).difference(*(tokens[other] for other in others)) if others else set()
        found.append(
            Compared(
                name=name,
                path=path,
                tokenizer=tokenizer,
                measured=measured,
                used=used,
                coverage=coverage(tokenizer),
                only_here=sorted(only_here, key=lambda token: (-int(used[tokens[name][token]]), tokens[name][token])),
                same_as=[o for o in others if tokenizers[o][1].fingerprint == tokenizer.fingerprint],
            )
        )
    return found


def _labelled(argument: str) -> tuple[str | None, Path]:
    label, equals, path = argument.partition("=")
    if equals and label and path and not Path(argument).exists():
        return label, Path(path)
    return None, Path(argument)


def _is_tokenizer(path: Path) -> bool:
    from hornbook.tokenizer.published import NAMES

    if not path.exists():
        return path.suffix == _SUFFIX_OF_RANKS or str(path) in NAMES
    if path.is_dir():
        return any((path / name).exists() for name in _TOKENIZER_FILES)
    if path.suffix == ".json":
        return path.name == "tokenizer.json" or b'"merges"' in path.read_bytes()
    return path.suffix == _SUFFIX_OF_RANKS


def _names(tokenizers: Sequence[tuple[str | None, Path]]) -> list[str]:
    """A short name for each: its label, else the last part of its path that tells, else the whole path."""
    names: list[str] = []
    short = [label or _short_name(path) for label, path in tokenizers]
    for name, (_, path) in zip(short, tokenizers, strict=True):
        unique = name if short.count(name) == 1 else f"{path}"
        names.append(unique if unique not in names else f"{unique} ({names.count(unique) + 1})")
    return names


def _short_name(path: Path) -> str:
    resolved = path.resolve()
    if path.name == "tokenizer.json" or resolved.name == "tokenizer":
        return resolved.parent.name
    return resolved.stem if path.suffix in (".json", _SUFFIX_OF_RANKS) else resolved.name


def _kinds(given: Iterable[tuple[str | None, Path]], texts: Iterable[str]) -> tuple[list[Kind], list[str]]:
    """What is measured: texts of the user, those of one label together, then the samples; and what was left out.

    Raises:
        TokenizerError: for a file that is not UTF-8, unless it was found in a directory.
    """
    from hornbook.tokenizer.comparison import size_of
    from hornbook.tokenizer.documents import encode_utf8
    from hornbook.tokenizer.samples import KINDS, LANGUAGES

    by_label: dict[str, list[Text]] = {}
    skipped: list[str] = []
    for label, path in given:
        by_label.setdefault(label or str(path), []).extend(_files(path, skipped))
    if given_texts := [encode_utf8(text) for text in texts if text]:
        by_label.setdefault("--text", []).extend(given_texts)
    kinds = [Kind(name=name, group="given", texts=own, size=size_of(own)) for name, own in by_label.items()]
    kinds += [_sample("language", name, text) for name, text in LANGUAGES.items()]
    kinds += [_sample("kind", name, text) for name, text in KINDS.items()]
    return kinds, skipped


def _sample(group: Group, name: str, text: str) -> Kind:
    from hornbook.tokenizer.comparison import size_of

    return Kind(name=name, group=group, texts=[text.encode()], size=size_of([text.encode()]))


def _files(path: Path, skipped: list[str]) -> list[Path]:
    """A file, or the files of UTF-8 below a directory; names of the others go to `skipped`."""
    from hornbook.errors import TokenizerError
    from hornbook.tokenizer.comparison import size_of

    if not path.exists():
        raise TokenizerError(f"{path}: no such file or directory; expected a tokenizer or a text")
    if not path.is_dir():
        return [path]
    found = []
    for file in sorted(path.rglob("*")):
        if not file.is_file() or any(part.startswith(".") for part in file.relative_to(path).parts):
            continue
        try:
            size_of([file])
            found.append(file)
        except (TokenizerError, OSError) as error:
            skipped.append(str(error))
    if not found:
        raise TokenizerError(f"{path}: no file of UTF-8 text below this directory")
    return found
