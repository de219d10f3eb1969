"""`hornbook tokenizer train`: learn a vocabulary from the text that a configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbook.cli.configuration import add_config_arguments
from hornbook.cli.tokenizer_arguments import load_tokenizer
from hornbook.cli.tokenizer_view import longest_tokens

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from hornbook.config.run import Config
    from hornbook.config.tokenizer import TokenizerConfig
    from hornbook.tokenizer.tokenizer import Tokenizer
    from hornbook.tokenizer.train import TrainProgress
    from hornbook.tracking.console import ConsoleChoice
    from hornbook.tracking.progress import Progress

SAMPLE_BYTES = 2**20
"""Text from the beginning of the source on which bytes per token are measured."""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `train`."""
    text = "learn a vocabulary from [data.source] as [tokenizer] says, and write tokenizer.path"
    train = actions.add_parser("train", help=text, description=text)
    add_config_arguments(train, required=True)
    train.add_argument("--force", action="store_true", help="replace another tokenizer that stands at tokenizer.path")
    train.set_defaults(carry_out=_train)


def _train(args: argparse.Namespace) -> None:
    from hornbook.cli.configuration import load, maybe_print

    config = load(args)
    if not maybe_print(args, config):
        _refuse_early(config.tokenizer, force=args.force)
        _train_from(config, force=args.force)


def _refuse_early(config: TokenizerConfig, *, force: bool) -> None:
    """Say before the work what saving would say after it, as far as settings tell.

    A smaller vocabulary than asked for tells nothing: short texts give one. Saving compares the tokenizers themselves.
    """
    from hornbook.errors import TokenizerError
    from hornbook.tokenizer import files
    from hornbook.tokenizer.byte_pair import BytePairScheme
    from hornbook.tokenizer.train import special_names

    files.check_place(config.path)
    if force or not config.path.exists() or not any(config.path.iterdir()):
        return
    try:
        there = load_tokenizer(config.path)
    except TokenizerError as error:
        raise files.another_tokenizer(config.path, f", which cannot be read ({error})") from None
    differences = [
        ("kind", there.scheme.kind, config.kind),
        ("special tokens", ", ".join(there.special_tokens) or "none", ", ".join(special_names(config)) or "none"),
    ]
    if isinstance(there.scheme, BytePairScheme) and config.kind == "bpe":
        differences.append(("pattern", there.scheme.pattern, config.pattern))
        if there.vocab_size > config.vocab_size:
            differences.append(("ids", f"{there.vocab_size:,}", f"{config.vocab_size:,}"))
    if how := "; ".join(f"{what}: {had} there, {asked} now" for what, had, asked in differences if had != asked):
        raise files.another_tokenizer(config.path, f" ({how})")


def _train_from(config: Config, *, force: bool) -> None:
    import time

    from hornbook.data.sources import SourceReport, open_source
    from hornbook.tokenizer.tokenizer import Tokenizer

    report, sample, started = SourceReport(), bytearray(), time.monotonic()

    def texts() -> Iterator[bytes]:
        for document in open_source(config.data.source, on_error=config.data.on_error, report=report):
            sample.extend(document.text[: SAMPLE_BYTES - len(sample)])
            yield document.text

    with TrainBars(config.tracking.console) as bars:
        tokenizer = Tokenizer.train(texts(), config.tokenizer, progress=bars.show)
    tokenizer.save(config.tokenizer.path, overwrite=force)
    ids = tokenizer.encode_bytes(bytes(sample), errors="replace")
    _show_trained(
        tokenizer,
        config,
        {
            "seconds": round(time.monotonic() - started, 2),
            "documents": report.documents,
            "skipped": sum(report.skipped.values()),
            "bytes_per_token": round(len(sample) / len(ids), 3) if ids else None,
        },
    )


class TrainBars:
    """One progress bar for each phase of training."""

    def __init__(self, console: ConsoleChoice) -> None:
        self._console = console
        self._phase: str | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.finish()

    def show(self, progress: TrainProgress) -> None:
        """The callback of `Tokenizer.train`."""
        from hornbook.tracking.progress import Progress

        if self._bar is None or progress.phase != self._phase:
            if self._bar is not None:
                self._bar.finish()
            unit = {"count": "bytes", "merge": "merges"}[progress.phase]
            self._bar = Progress(f"tokenizer {progress.phase}", unit=unit, console=self._console).start()
            self._phase = progress.phase
        self._bar.update(progress.done, progress.total)


def _show_trained(tokenizer: Tokenizer, config: Config, numbers: Mapping[str, float | int | None]) -> None:
    """The result of training; says so where the text had fewer pairs to merge than asked for."""
    from hornbook.tracking.console import emit, speaks_to_people

    asked, longest = config.tokenizer.vocab_size, longest_tokens(tokenizer)
    short = config.tokenizer.kind == "bpe" and tokenizer.vocab_size < asked
    if speaks_to_people(config.tracking.console):
        print(f"{config.tokenizer.path}: {tokenizer.vocab_size:,} ids from {numbers['documents']:,} documents")
        if short:
            print(f"  fewer than the {asked:,} asked for: every word of the text is one token already")
        print(f"  {numbers['bytes_per_token']} bytes per token on the beginning of the text; {numbers['seconds']} s")
        print(f"  longest tokens: {' '.join(map(repr, longest))}")
    emit(
        "tokenizer",
        console=config.tracking.console,
        path=str(config.tokenizer.path),
        kind=config.tokenizer.kind,
        vocab_size=tokenizer.vocab_size,
        vocab_size_asked=asked if config.tokenizer.kind == "bpe" else None,
        fingerprint=tokenizer.fingerprint,
        longest_tokens=longest,
        **numbers,
    )
