"""What a run leaves besides its numbers: checkpoints, and texts by the model as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from hornbook.checkpoint.load import Checkpoint, load_weights_into
from hornbook.checkpoint.manifest import TOKENIZER_FOLDER
from hornbook.checkpoint.retention import prune
from hornbook.checkpoint.save import save_checkpoint, write_description
from hornbook.config.generate import GenerateConfig
from hornbook.config.run import Config
from hornbook.config.train import CheckpointConfig
from hornbook.distributed.full_state import FullState
from hornbook.distributed.process_group import Processes
from hornbook.distributed.strategy import Strategy
from hornbook.errors import ConfigError, GenerationError, TokenizerError
from hornbook.generation.engines import torch_engine
from hornbook.generation.prompt_ids import Prompt
from hornbook.generation.text import Generation, check_requests, generate_text
from hornbook.models.lora import add_lora
from hornbook.models.transformer import Transformer
from hornbook.optim.averaging import averaged
from hornbook.storage.run_dir import RunDir, pointed
from hornbook.tokenizer.chat import Message, render_prompt
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.tracker import Tracker
from hornbook.training.hooks import Moment
from hornbook.training.state import TrainState
from hornbook.training.step import Learner

if TYPE_CHECKING:  # a second of imports, which few runs need
    from hornbook.checkpoint.sharded import ShardedSaves


@dataclass(frozen=True, kw_only=True)
class Saver:
    """Writes a run's checkpoints and removes those that retention no longer keeps.

    Their weights are the averages of an optimizer that has any; its state then holds the trained ones.
    """

    directory: Path
    """The run's checkpoints/."""
    learner: Learner[Any]
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
            full = learner.strategy.full_state(learner.model, learner.optimizer if kind == "full" else None)
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
            lora=learner.model.lora,
        )
        self._prune()
        return path

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
        from hornbook.distributed.fsdp import FullySharded  # a second of imports, which few runs need

        learner, strategy, numbers = self.learner, self.learner.strategy, state.to_json()
        assert isinstance(strategy, FullySharded)

        def describe(directory: Path) -> None:
            model = learner.model
            write_description(directory, model.config, self.objective, numbers, self.tokenizer, model.lora)

        with averaged(learner.optimizer, strategy.share):
            model, optimizer = strategy.pieces(learner.model, learner.optimizer if kind == "full" else None)
            return parts.save(
                model,
                optimizer,
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


def restore(learner: Learner[Any], checkpoint: Checkpoint) -> TrainState:
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
        learner: Learner[Any],
        tokenizer: Tokenizer,
        prompts: tuple[str, ...],
        config: GenerateConfig,
        objective: Mapping[str, object],
        *,
        as_messages: bool = False,
    ) -> None:
        """Prompts and settings are checked here, so that none fails at the first sample of a long run.

        `as_messages`: prompts are what a user says, in the form of the tokenizer's chat template.

        Raises:
            ConfigError: if a prompt does not fit the model's context, or the settings do not fit its objective.
        """
        self.learner = learner
        self.tokenizer = tokenizer
        self.prompts: list[Prompt] = []
        self.config = config
        self.objective = objective
        self.made: list[Generation] = []
        """The last texts, always in this list."""
        for prompt in prompts:
            try:
                read: Prompt = render_prompt(tokenizer, [Message("user", prompt)]).ids if as_messages else prompt
                check_requests(learner.model, tokenizer, [read], config, objective=objective)
                self.prompts.append(read)
            except (GenerationError, TokenizerError) as error:
                raise ConfigError(f"train.sample_prompts: {prompt[:40]!r}...: {error}") from None

    def __call__(self) -> list[str]:
        """Each prompt and its continuation; none but on the first rank, whom the others wait for."""
        with averaged(self.learner.optimizer, self.learner.strategy.share):
            model = whole_model(self.learner)
            if model is None:
                return []
            self.made[:] = generate_text(
                model, self.tokenizer, self.prompts, self.config, objective=self.objective, engines=torch_engine
            )
        return [generation.prompt + generation.text for generation in self.made]


def whole_model(learner: Learner[Any]) -> Transformer | None:
    """The model that the first rank can use alone, a copy where it is cut up; None on the others. All ranks call this.

    By itself since passes of a model that is cut up need all ranks at once, and texts end when they end.
    """
    model = learner.model
    if not learner.strategy.cuts_up_model:
        return None if learner.strategy.rank else model
    full = learner.strategy.full_state(model, None)
    if full is None:
        return None
    with torch.device("meta"):
        copy = Transformer(model.config)
        if model.lora is not None:
            add_lora(copy, model.lora)
    copy.to_empty(device=learner.precision.device)
    load_weights_into(copy.to(next(iter(full.model.values())).dtype), full.model, "the model in training")
    return copy.train(model.training)
