"""The public Python face: train, load, generate, evaluate, in a line each."""

import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from hornbook import assemble
from hornbook.checkpoint.load import load_model
from hornbook.config.dump import to_json
from hornbook.config.generate import GenerateConfig, refuse_perplexitys_own
from hornbook.config.load import load_config
from hornbook.config.objective import BOUND_ALONE, likelihood_kind
from hornbook.config.run import Config
from hornbook.distributed.device import resolve_device
from hornbook.errors import CheckpointError, GenerationError
from hornbook.evaluation.answer_bound import evaluate_answer
from hornbook.evaluation.card import EvaluationCard
from hornbook.evaluation.diffusion_bound import evaluate_bound
from hornbook.evaluation.perplexity import evaluate_perplexity
from hornbook.evaluation.streams import open_stream, open_truth
from hornbook.generation.choice import decoder_name
from hornbook.generation.engines import Engines
from hornbook.generation.infill import infill_text
from hornbook.generation.text import generate_text, stream_text
from hornbook.models.lora import merge_lora
from hornbook.models.transformer import Transformer
from hornbook.storage.run_dir import RunDir, resolve_checkpoint
from hornbook.tokenizer.superset import first_difference
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.training.trainer import TrainResult

__all__ = ["LanguageModel", "Run", "Tokenizer", "evaluate", "load", "train"]

_logger = logging.getLogger(__name__)

Setting = str | int | float | bool | Sequence[str] | None
"""A value of one configuration key."""


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A model that speaks: weights, tokenizer, and the checkpoint directory that they came from."""

    model: Transformer
    tokenizer: Tokenizer
    path: Path
    step: int
    objective: Mapping[str, object]
    """What it was trained with: `kind` and settings."""
    engines: Engines = field(
        default_factory=functools.partial(Engines, _logger.warning), init=False, repr=False, compare=False
    )
    """What decodes, kept from one call to the next; a warning is logged, once, where kernels might be expected and do
    not serve."""

    @overload
    def generate(self, prompt: str, **settings: Setting) -> str: ...
    @overload
    def generate(self, prompt: list[str] | tuple[str, ...], **settings: Setting) -> list[str]: ...
    def generate(self, prompt: str | list[str] | tuple[str, ...], **settings: Setting) -> str | list[str]:
        """The continuation of one prompt, or of each of several (the prompt itself is not repeated).

        `settings` are the keys of `[generate]`: max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty,
        stop, seed, context_overflow, decoder, backend, precision, strategy; `diffusion`, `beam` and `draft` are
        tables, given as their dotted keys: **{"diffusion.cache": "dual"}.

        Raises:
            ConfigError: for an unknown or impossible setting.
            GenerationError: for a prompt that cannot be continued.
        """
        config = _configure("generate", settings).generate
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        draft = load_draft(config.draft.checkpoint, self.tokenizer, device=self._device)
        made = generate_text(
            self.model,
            self.tokenizer,
            prompts,
            config,
            objective=self.objective,
            draft=draft,
            engines=self.engines,
        )
        texts = [generation.text for generation in made]
        return texts[0] if isinstance(prompt, str) else texts

    def stream(self, prompt: str, **settings: Setting) -> Iterator[str]:
        """The continuation of `prompt`, piece by piece as it is made; the pieces join to what `generate` returns."""
        config = _configure("generate", settings).generate
        draft = load_draft(config.draft.checkpoint, self.tokenizer, device=self._device)
        return stream_text(
            self.model,
            self.tokenizer,
            prompt,
            config,
            objective=self.objective,
            draft=draft,
            engines=self.engines,
        )

    @property
    def _device(self) -> str:
        return str(self.model.token_embedding.weight.device)

    def infill(self, template: str, **settings: Setting) -> str:
        """A text with its holes filled by a diffusion model: "Once <|mask:20|> end" has one of 20 tokens.

        `settings` are the keys of `[generate]`, without max_new_tokens and stop: holes say how long they are.

        Raises:
            ConfigError: for an unknown or impossible setting.
            GenerationError: for a text without holes or too long, a model that does not see both sides of a hole, and
                settings that have no effect.
        """
        if useless := [name for name in ("max_new_tokens", "stop") if name in settings]:
            raise GenerationError(f"{useless[0]} has no effect on holes, which say how long they are; leave it out")
        config = _configure("generate", settings).generate
        return infill_text(self.model, self.tokenizer, [template], config, objective=self.objective)[0].text


@dataclass(frozen=True, kw_only=True)
class Run(LanguageModel):
    """A finished training run: a language model with its run directory and how the training ended."""

    run_dir: RunDir
    result: TrainResult


def train(
    config: str | Path | Config,
    overrides: Mapping[str, Setting] | None = None,
    *,
    resume: bool | str | Path = False,
) -> Run:
    """Train as `hornbook train` does, from a TOML file or a configuration object.

    Args:
        config: a path, or a validated Config.
        overrides: dotted keys to values, such as {"train.steps": 100}.
        resume: True goes on with the newest run of the same configuration; a path names the run.

    Raises:
        HornbookError: for anything that the message tells how to mend.
    """
    if isinstance(config, Config):
        given = json.loads(to_json(config))
        loaded, origins = load_config(None, values={**given, **(overrides or {})}).config, None
    else:
        found = load_config(config, values=overrides)
        loaded, origins = found.config, found.origins
    trained = assemble.train(loaded, resume=Path(resume) if isinstance(resume, str) else resume, origins=origins)
    path, model = resolve_checkpoint(trained.run_dir.root), trained.model
    if any(hasattr(parameter, "to_local") for parameter in model.parameters()):  # cut up, by processes that part
        model, _, _ = load_model(path)
    if model.lora is not None:
        merge_lora(model)  # as `load` would
    return Run(
        model=model.eval(),
        tokenizer=trained.tokenizer,
        path=path,
        step=trained.result.state.step,
        objective=loaded.objective.model_dump(mode="json"),
        run_dir=trained.run_dir,
        result=trained.result,
    )


def load(path: str | Path, *, device: str = "auto", best: bool = False) -> LanguageModel:
    """The language model of a run or checkpoint directory; of a run, the latest checkpoint, or the best one.

    Raises:
        CheckpointError: if there is no complete, undamaged checkpoint with a tokenizer at `path`.
    """
    directory = resolve_checkpoint(Path(path), prefer="best" if best else "latest")
    model, tokenizer, checkpoint = load_model(directory, device=resolve_device(device))
    if tokenizer is None:
        raise CheckpointError(f"{directory}: holds no tokenizer/, which text needs; use one that was saved with it")
    return LanguageModel(
        model=model, tokenizer=tokenizer, path=directory, step=checkpoint.step, objective=checkpoint.objective
    )


def load_draft(checkpoint: Path | None, tokenizer: Tokenizer, *, device: str = "auto") -> Transformer | None:
    """The model that guesses in speculative decoding, or None if no checkpoint is named.

    Raises:
        GenerationError: if its tokenizer is not `tokenizer`, or it is not autoregressive.
        CheckpointError: if there is no complete, undamaged checkpoint there.
    """
    if checkpoint is None:
        return None
    draft = load(checkpoint, device=device)
    where = f"generate.draft.checkpoint = {checkpoint}"
    if difference := first_difference(tokenizer, draft.tokenizer, where=("the model", "it")):
        raise GenerationError(f"{where}: has another tokenizer: {difference}; guesses are ids of the model's own")
    if decoder_name(GenerateConfig(), draft.objective) != "autoregressive":
        raise GenerationError(f"{where}: fills masks, and guesses are made token by token; take one of next_token")
    return draft.model


def evaluate(model: LanguageModel | str | Path, **settings: Setting) -> EvaluationCard:
    """Perplexity of a model on text files or on a split of a prepared data set: a PerplexityCard.

    Of a diffusion model, and of one of kind joint if a setting of `bound` is given, it is the bound: a BoundCard, whose
    numbers are "at most".

    `settings` are the keys of `[eval]` (split, text, protocol, window, stride, reset_documents, batch_size, max_tokens;
    bound.draws, bootstrap.level and others as **{"bound.draws": 8}), and `data`, the directory of a prepared data set
    when no `text` is given.

    Raises:
        ConfigError: for an unknown or impossible setting, such as one of `bound` for a model that has none.
        DataError: if the text is missing or too short.
    """
    loaded = model if isinstance(model, LanguageModel) else load(model)
    is_bound = likelihood_kind(loaded.objective) in BOUND_ALONE or any(name.startswith("bound.") for name in settings)
    data = settings.pop("data", None)
    config = _configure("eval", settings, {} if data is None else {"data.path": str(data)})
    path, step = str(loaded.path), loaded.step
    if is_bound:
        refuse_perplexitys_own(config.eval)
    if config.eval.bound.answer is not None:
        return evaluate_answer(
            loaded.model, loaded.tokenizer, config.eval, objective=loaded.objective, checkpoint=path, step=step
        )
    stream, described = open_stream(config, loaded.tokenizer)
    measure = functools.partial(evaluate_bound, objective=loaded.objective) if is_bound else evaluate_perplexity
    return measure(
        loaded.model,
        loaded.tokenizer,
        stream,
        config.eval,
        data=described,
        checkpoint=path,
        step=step,
        truth=open_truth(config),
    )


def _configure(table: str, settings: Mapping[str, Setting], more: Mapping[str, Setting] | None = None) -> Config:
    overrides = {f"{table}.{key}": value for key, value in settings.items()}
    return load_config(None, values={**overrides, **(more or {})}).config
