"""What a run leaves besides its numbers: checkpoints, and texts by the model as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from hornbook.checkpoint.load import Checkpoint, load_weights_into
from hornbook.checkpoint.manifest import TOKENIZER_FOLDER
from hornbook.checkpoint.retention import prune
from hornbook.checkpoint.save import save_checkpoint, write_description
from hornbook.config.generate import GenerateConfig
from hornbook.config.run import Config
from hornbook.config.train import CheckpointConfig
from hornbook.data.batch import TokenBatch
from hornbook.distributed.full_state import FullState
from hornbook.distributed.process_group import Processes
from hornbook.distributed.strategy import Strategy
from hornbook.errors import ConfigError, GenerationError
from hornbook.generation.text import check_requests, generate_text
from hornbook.models.transformer import Transformer
from hornbook.optim.averaging import averaged
from hornbook.storage.run_dir import RunDir, pointed
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.tracker import Tracker
from hornbook.training.hooks import Moment
from hornbook.training.state import TrainState
from hornbook.training.step import Learner

if TYPE_CHECKING:  # a second of imports, which few runs need
    from hornbook.checkpoint.sharded import ShardedSaves
    from hornbook.distributed.fsdp import FullySharded


@dataclass(frozen=True, kw_only=True)
class Saver:
    """Writes a run's checkpoints and removes those that retention no longer keeps.

    Their weights are the averages of an optimizer that has any; its state then holds the trained ones.
    """

    directory: Path
    """The run's checkpoints/."""
    learner: Learner[TokenBatch]
    tokenizer: Tokenizer
    objective: Mapping[str, object]
    """Its settings, as JSON values."""
    keep: CheckpointConfig
    parts: "ShardedSaves | None" = None
    """Where every process writes its own parts, in the background."""

    def __call__(
        self, state: TrainState, *, kind: Literal["light", "full"], best: bool, is_last: bool = False
    ) -> Path | None:
        """Save, and return where; every rank calls this, and the first one writes. The last save is waited for."""
        learner = self.learner
        if self.parts is not None:
            path = self._save_parts(self.parts, state, kind=kind, best=best)
            if is_last:
                self.settle()
            return path
        with averaged(learner.optimizer, learner.strategy.share):
            full = self._full_state(with_optimizer=kind == "full")
        if full is None:
            return None
        path = save_checkpoint(
            self.directory,
            step=state.step,
            kind=kind,
            model_config=learner.model.config,
            objective=self.objective,
            weights=full.model,
            optimizer=full.optimizer if kind == "full" else None,
            state=state.to_json(),
            tokenizer=self.tokenizer,
            best=best,
        )
        self._prune()
        return path

    def _full_state(self, *, with_optimizer: bool) -> FullState | None:
        """What a light checkpoint does not hold need not be gathered."""
        learner = self.learner
        if with_optimizer or not learner.strategy.cuts_up_model:
            return learner.strategy.full_state(learner.model, learner.optimizer)
        weights = _fully_sharded(learner).weights(learner.model)
        return None if weights is None else FullState(model=weights, optimizer={})

    def settle(self) -> None:
        """Wait until the newest checkpoint is complete; every rank calls this.

        Raises:
            HornbookError: on every rank, if it could not be made.
        """
        if self.parts is not None:
            self.parts.finish()

    def _save_parts(
        self, parts: "ShardedSaves", state: TrainState, *, kind: Literal["light", "full"], best: bool
    ) -> Path:
        learner, strategy = self.learner, _fully_sharded(self.learner)
        numbers = state.to_json()

        def describe(directory: Path) -> None:
            write_description(directory, learner.model.config, self.objective, numbers, self.tokenizer)

        with averaged(learner.optimizer, strategy.share):
            model, optimizer = strategy.pieces(learner.model, learner.optimizer)
            return parts.save(
                model,
                optimizer if kind == "full" else None,
                step=state.step,
                kind=kind,
                best=best,
                describe=describe,
                then=self._prune,
            )

    def _prune(self) -> None:
        prune(self.directory, light_keep=self.keep.light_keep, full_keep=self.keep.full_keep)


def sharded_saves(config: Config, strategy: Strategy, directory: Path, processes: Processes) -> "ShardedSaves | None":
    """What writes every process's own parts into `directory`, where that is asked for and there are parts."""
    if not (config.checkpoint.sharded and strategy.cuts_up_model):
        return None
    from hornbook.checkpoint.sharded import ShardedSaves

    return ShardedSaves(directory, processes, timeout_minutes=config.distributed.timeout_minutes)


def restore(learner: Learner[TokenBatch], checkpoint: Checkpoint) -> TrainState:
    """Put weights, optimizer and counters back to where the checkpoint was made, bit for bit.

    Raises:
        CheckpointError: if it does not fit the learner; then nothing was changed.
    """
    assert checkpoint.optimizer is not None
    saved = FullState(model=checkpoint.weights, optimizer=checkpoint.optimizer)
    state = TrainState.from_json(checkpoint.state)
    with averaged(learner.optimizer, learner.strategy.share):
        learner.strategy.load_full_state(learner.model, learner.optimizer, saved)
    return state


def _fully_sharded(learner: Learner[TokenBatch]) -> "FullySharded":
    from hornbook.distributed.fsdp import FullySharded

    assert isinstance(learner.strategy, FullySharded)
    return learner.strategy


class Artifacts:
    """Hook: at a good end, names the tracker what is worth keeping of the run; the last, when all is written."""

    def __init__(self, run_dir: RunDir, tracker: Tracker) -> None:
        self.run_dir = run_dir
        self.tracker = tracker

    def __call__(self, at: Moment) -> None:
        """Tell, if this was the last step."""
        if not at.ends_well:
            return
        run, name = self.run_dir, self.run_dir.root.name
        best, final = pointed(run.checkpoints, "best"), pointed(run.checkpoints, "latest")
        if best is not None:
            self.tracker.artifact(best, f"{name}-best", "best")
        if final is not None:
            self.tracker.artifact(final, f"{name}-final", "final")
            self.tracker.artifact(final / TOKENIZER_FOLDER, f"{name}-tokenizer", "tokenizer")
        if any(run.samples.iterdir()):
            self.tracker.artifact(run.samples, f"{name}-samples", "samples")


class Sampler:
    """Continues the same prompts whenever it is asked."""

    def __init__(
        self,
        learner: Learner[TokenBatch],
        tokenizer: Tokenizer,
        prompts: tuple[str, ...],
        config: GenerateConfig,
        objective: Mapping[str, object],
    ) -> None:
        """Prompts and settings are checked here, so that none fails at the first sample of a long run.

        Raises:
            ConfigError: if a prompt does not fit the model's context, or the settings do not fit its objective.
        """
        self.learner = learner
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.config = config
        self.objective = objective
        for prompt in prompts:
            try:
                check_requests(learner.model, tokenizer, [prompt], config, objective=objective)
            except GenerationError as error:
                raise ConfigError(f"train.sample_prompts: {prompt[:40]!r}...: {error}") from None

    def __call__(self) -> list[str]:
        """Each prompt and its continuation; none but on the first rank, whom the others wait for."""
        with averaged(self.learner.optimizer, self.learner.strategy.share):
            model = whole_model(self.learner)
            if model is None:
                return []
            made = generate_text(model, self.tokenizer, self.prompts, self.config, objective=self.objective)
        return [generation.prompt + generation.text for generation in made]


def whole_model(learner: Learner[TokenBatch]) -> Transformer | None:
    """The model that the first rank can use alone, a copy where it is cut up; None on the others. All ranks call this.

    By itself since passes of a model that is cut up need all ranks at once, and texts end when they end.
    """
    model = learner.model
    if not learner.strategy.cuts_up_model:
        return None if learner.strategy.rank else model
    weights = _fully_sharded(learner).weights(model)
    if weights is None:
        return None
    with torch.device("meta"):
        copy = Transformer(model.config)
    copy.to_empty(device=learner.precision.device)
    load_weights_into(copy.to(next(iter(weights.values())).dtype), weights, "the model in training")
    return copy.train(model.training)
