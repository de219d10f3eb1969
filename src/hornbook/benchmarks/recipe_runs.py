"""Our side of `bench speedrun`: a recipe's tokenizer and data made once, then training as whole commands."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook.benchmarks.speedrun import Contestant, Finished, training_seconds
from hornbook.config.run import Config
from hornbook.errors import HornbookError


class SpeedrunError(HornbookError):
    """A process of a race failed."""


def quick(config: Config) -> tuple[str, ...]:
    """Overrides of a recipe for eight steps: enough to see that everything runs."""
    warmup = ("schedule.warmup_steps=2",) if getattr(config.schedule, "warmup_steps", None) else ()
    return ("train.steps=8", "train.eval_every=0", "train.sample_every=0", *warmup)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A file of settings with its tokenizer and data in the folder of this race."""

    file: Path
    folder: Path
    window: int
    tokens_per_step: int
    overrides: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The file's."""
        return self.file.stem

    def prepare(self) -> None:
        """Train the tokenizer and write the tokens.

        Raises:
            SpeedrunError: here and below, with the last line of what a command that failed said.
        """
        self._hornbook("tokenizer", "train")
        self._hornbook("data", "prepare")

    def contestant(self, name: str, *overrides: str, log_steps: bool = False, keep: bool = False) -> Contestant:
        """A way to train this recipe.

        log_steps: log every step, to know its seconds. keep: what is compiled stays for the next run of this name.
        """
        each = ("train.log_every=1",) if log_steps else ()

        def run(seed: int) -> Finished:
            return self._train(name, seed, (*overrides, *each), keep=keep)

        return Contestant(name=name, run=run)

    def _train(self, name: str, seed: int, overrides: Sequence[str], *, keep: bool) -> Finished:
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            cache = self.folder / f"cache of {name}" if keep else Path(scratch, "cache")
            run = Path(scratch, "runs", "run")
            where = (f"run.out_dir={json.dumps(str(run.parent))}", 'run.name="run"', f"run.seed={seed}")
            started = time.perf_counter()
            self._hornbook("train", overrides=(*overrides, *where), cache=cache)
            seconds = time.perf_counter() - started
            events = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
            taken = _seconds(events, self.tokens_per_step)
            return Finished(
                contestant=name,
                seed=seed,
                steps=len(taken),
                training_seconds=training_seconds(taken),
                command_seconds=seconds,
                loss=self._loss(run),
            )

    def _loss(self, run: Path) -> float:
        """Of the last weights, over the whole validation split."""
        size = str(self.window)
        command = ("eval", "perplexity", str(run), "--split", "valid", "--window", size, "--stride", size)
        _hornbook(command, self.folder, self.folder / "cache")
        (card,) = (run / "evals").glob("perplexity-*.json")
        found = json.loads(card.read_text(encoding="utf-8"))
        return float(found["nats"]) / int(found["tokens_scored"])

    def _hornbook(self, *verb: str, overrides: Sequence[str] = (), cache: Path | None = None) -> None:
        own = (
            f"tokenizer.path={json.dumps(str(self.folder / 'tokenizer'))}",
            f"data.path={json.dumps(str(self.folder / 'data'))}",
        )
        given = [word for one in (*own, *self.overrides, *overrides) for word in ("--set", one)]
        _hornbook([*verb, str(self.file), *given], Path.cwd(), cache or self.folder / "cache")


def _seconds(events: list[dict[str, Any]], tokens_per_step: int) -> list[float]:
    """Of each step; steps that were logged together count alike."""
    taken: list[float] = []
    for event in events:
        if event["event"] == "train":
            count = event["step"] - len(taken)
            compiling = [event["train/compile_seconds"]] if "train/compile_seconds" in event else []
            speed = event.get("train/tokens_per_second", math.inf)  # which is missing if all that was done is compiling
            taken += compiling + [tokens_per_step / speed] * (count - len(compiling))
    return taken


def _hornbook(arguments: Sequence[str], folder: Path, cache: Path) -> None:
    run_command([sys.executable, "-m", "hornbook", *arguments], folder, fresh_environment(cache))


def fresh_environment(cache: Path) -> dict[str, str]:
    """This process's environment, where everything that is kept between processes is kept in `cache`."""
    names = ("HORNBOOK_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    return {**os.environ, **{name: str(cache / name.lower()) for name in names}}


def run_command(command: Sequence[str], folder: Path, variables: dict[str, str]) -> str:
    """Run to the end and return what was printed.

    Raises:
        SpeedrunError: if it ended otherwise than with 0.
    """
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " ".join(done.stderr.strip().splitlines()[-1:])
        raise SpeedrunError(f"{' '.join(command[:6])}: ended with status {done.returncode}: {last}")
    return done.stdout
