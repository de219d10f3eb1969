"""`hornbook tokenizer train`: learn a vocabulary from the text that a configuration names."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hornbook.cli.configuration import add_config_arguments
from hornbook.cli.tokenizer_arguments import load_tokenizer
from hornbook.cli.tokenizer_view import longest_tokens

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from hornbook.cli.training_text import TrainingText
    from hornbook.config.run import Config
    from hornbook.config.tokenizer import TokenizerConfig
    from hornbook.tokenizer.kept_counts import KeptCounts
    from hornbook.tokenizer.tokenizer import Tokenizer
    from hornbook.tokenizer.train import TrainProgress
    from hornbook.tracking.console import ConsoleChoice
    from hornbook.tracking.progress import Progress


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `train`."""
    text = "learn a vocabulary from [data.source] as [tokenizer] says, and write tokenizer.path"
    more = (
        "Among equally frequent pairs the order is that of Hugging Face tokenizers, unless tokenizer.tie_order says "
        "lexicographic. Of large texts the counted words are kept in tokenizer.path with .counts behind it: the same "
        "command goes on from them after an interruption, and so does one with another vocab_size or tie_order."
    )
    train = actions.add_parser("train", help=text, description=f"{text}. {more}")
    add_config_arguments(train, required=True)
    train.add_argument("--force", action="store_true", help="replace another tokenizer that stands at tokenizer.path")
    train.set_defaults(carry_out=_train)


def _train(args: argparse.Namespace) -> None:
    from hornbook.cli.configuration import load, maybe_print

    config = load(args)
    if not maybe_print(args, config):
        from hornbook.cli.training_text import TrainingText

        text = TrainingText(config)
        if _refuse_early(config.tokenizer, force=args.force):
            _refuse_other_text(config.tokenizer, text)
        _train_from(config, text, force=args.force)


def _refuse_early(config: TokenizerConfig, *, force: bool) -> bool:
    """Say before the work what saving would say after it, as far as settings tell; whether a tokenizer stands there.

    A smaller vocabulary than asked for tells nothing: short texts give one. Saving compares the tokenizers themselves.
    """
    from hornbook.errors import TokenizerError
    from hornbook.tokenizer import files
    from hornbook.tokenizer.byte_pair import BytePairScheme
    from hornbook.tokenizer.train import special_names

    files.check_place(config.path)
    if force or not config.path.exists() or not any(config.path.iterdir()):
        return False
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
    return True


def _refuse_other_text(config: TokenizerConfig, text: TrainingText) -> None:
    """Say before the work that a tokenizer with the same settings was learnt from another text.

    Kept counts tell what it was learnt from. Without them, little text is trained on and compared; much is not.
    """
    from hornbook.tokenizer import files
    from hornbook.tokenizer.kept_counts import KEPT_FROM, counts_file, read_counts

    path, digest = counts_file(config.path), text.digest()
    if digest is None or config.kind != "bpe":
        return
    if path.exists() and read_counts(path, digest) is None:
        raise files.another_tokenizer(config.path, f" (learnt from other text or settings, as {path} tells)")
    if not path.exists() and min(text.file_bytes or 0, config.max_bytes or KEPT_FROM) >= KEPT_FROM:
        raise files.another_tokenizer(config.path, f" (nobody knows from which text: {path} is not there)")


def _train_from(config: Config, text: TrainingText, *, force: bool) -> None:
    import time

    from hornbook.tokenizer.tokenizer import Tokenizer
    from hornbook.tokenizer.train import learn_scheme, special_names

    started = time.monotonic()
    with TrainBars(config.tracking.console) as bars:
        if config.tokenizer.kind == "bpe":
            counted = _counted(config, text, bars)
            scheme = learn_scheme(counted.words, config.tokenizer, bars.show)
            tokenizer = Tokenizer(scheme, special_names(config.tokenizer))
            documents, skipped, sample = counted.documents, counted.skipped, counted.sample
        else:
            tokenizer = Tokenizer.train(text.documents(), config.tokenizer, progress=bars.show)
            documents, skipped = text.report.documents, sum(text.report.skipped.values())
            sample = bytes(text.sample)
    tokenizer.save(config.tokenizer.path, overwrite=force)
    ids = tokenizer.encode_bytes(sample, errors="replace")
    _show_trained(
        tokenizer,
        config,
        {
            "seconds": round(time.monotonic() - started, 2),
            "documents": documents,
            "skipped": skipped,
            "bytes_per_token": round(len(sample) / len(ids), 3) if ids else None,
        },
    )


def _counted(config: Config, text: TrainingText, bars: TrainBars) -> KeptCounts:
    """The words of the text: those kept from an earlier time, or counted now, and kept if there are many."""
    from hornbook.tokenizer.kept_counts import KEPT_FROM, KeptCounts, counts_file, read_counts, write_counts
    from hornbook.tokenizer.train import count_words, n_merges_asked

    n_merges_asked(config.tokenizer)  # which may be none
    path, digest = counts_file(config.tokenizer.path), text.digest()
    if digest is not None and (kept := read_counts(path, digest)) is not None:
        bars.say(f"goes on from the words that were counted before: {path}")
        return kept
    words = count_words(text.documents(), config.tokenizer, n_bytes=text.n_bytes, progress=bars.show)
    skipped = sum(text.report.skipped.values())
    counted = KeptCounts(words, text.report.documents, skipped, bytes(text.sample))
    if digest is not None and bars.counted_bytes >= KEPT_FROM:
        write_counts(path, counted, digest)
        size = path.stat().st_size / 1e6
        bars.say(f"the counted words are kept in {path} ({size:.0f} MB), for another vocab_size or tie_order")
    return counted


class TrainBars:
    """One progress bar for each phase of training."""

    def __init__(self, console: ConsoleChoice) -> None:
        self._console = console
        self._phase: str | None = None
        self._bar: Progress | None = None
        self.counted_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()

    def say(self, words: str) -> None:
        """One line on stderr, where no bar stands in its way."""
        self._finish()
        print(f"hornbook tokenizer: {words}", file=sys.stderr)

    def show(self, progress: TrainProgress) -> None:
        """The callback of `Tokenizer.train`."""
        from hornbook.tracking.progress import Progress

        if self._bar is None or progress.phase != self._phase:
            self._finish()
            unit = {"count": "bytes", "merge": "merges"}[progress.phase]
            self._bar = Progress(f"tokenizer {progress.phase}", unit=unit, console=self._console).start()
            self._phase = progress.phase
        if progress.phase == "count":
            self.counted_bytes = progress.done
        self._bar.update(progress.done, progress.total)

    def _finish(self) -> None:
        if self._bar is not None:
            self._bar.finish()
        self._bar = None


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
