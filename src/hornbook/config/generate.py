"""`[generate]` and `[eval]`: what to ask of a trained model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hornbook.config.bound import BoundConfig
from hornbook.config.harness import HarnessConfig
from hornbook.config.perplexity import STRIDED, BootstrapConfig, PerplexityProtocol
from hornbook.config.samples import SamplesConfig
from hornbook.config.table import Table
from hornbook.errors import ConfigError

Precision = Literal["float32", "bfloat16", "int8"]
"""Of the weights while decoding."""


class SamplingConfig(Table):
    """How the next token is chosen. Order: repetition penalty, temperature, top_k, top_p, min_p."""

    temperature: NonNegativeFloat = 0.8
    """0 is greedy."""
    top_k: PositiveInt | None = None
    """Keep exactly the k likeliest tokens."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Keep the smallest set of likeliest tokens whose mass reaches p."""
    min_p: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Keep tokens at least min_p times as likely as the likeliest."""
    repetition_penalty: PositiveFloat = 1.0
    """Logits of tokens already seen are divided (if positive) or multiplied (if negative) by it; 1 is off."""
    seed: NonNegativeInt = 0


class DenoisingConfig(Table):
    """How a diffusion decoder fills masks: blocks from left to right, and in each block some tokens a step."""

    denoise_steps: PositiveInt | None = None
    """Steps for all max_new_tokens, shared among the blocks by their tokens. Default: one token a step."""
    block_length: PositiveInt | None = None
    """Tokens that are filled together. Default: that of a block-diffusion model, else 32."""
    remasking: Literal["low_confidence", "random", "entropy", "margin"] = "low_confidence"
    """Which of the drawn tokens a step keeps: the most probable, any, those of least entropy, or those furthest ahead
    of the runner-up. The others are masked again."""
    confidence_threshold: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Instead of denoise_steps: a step keeps every token of at least this confidence, and one at least."""
    guidance_scale: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """Classifier-free guidance: logits move away from those without the prompt, by this factor; 0 is off."""
    cache: Literal["auto", "none", "prefix", "dual", "delayed"] = "auto"
    """Keys and values that are kept within a block: of what stands before it, or also of what follows (dual), or also
    of its own tokens a step after they were decided (delayed); with full attention these are approximations. Auto:
    prefix for a block-diffusion model, where it is exact, else none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.confidence_threshold is None:
            return self
        if self.denoise_steps is not None:
            raise ValueError(
                f"denoise_steps = {self.denoise_steps} has no effect with confidence_threshold = "
                f"{self.confidence_threshold}, which decides how many tokens a step keeps; set one of them"
            )
        if self.remasking not in ("low_confidence", "margin"):
            raise ValueError(
                f'confidence_threshold is a share of probability, which remasking = "{self.remasking}" does not '
                'measure; use "low_confidence" or "margin"'
            )
        return self


class BeamConfig(Table):
    """How beam search ranks texts: by their log-probability under the model, in nats."""

    width: PositiveInt = 10
    """Unfinished texts that are kept at every step."""
    length_penalty: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Divide a text's log-probability by ((5 + tokens) / 6) to this power, so that longer ones may win; 0 is off."""


class DraftConfig(Table):
    """Speculative decoding: guesses of several tokens, which the model checks in one reading. They change how fast a
    text comes, never which texts come how often."""

    checkpoint: Path | None = None
    """A run or checkpoint directory of a smaller model with the same tokenizer, which guesses."""
    lookup: PositiveInt | None = None
    """Instead of a model: guess that what followed when the last so many tokens stood there before follows again."""
    tokens: PositiveInt = 4
    """Guesses at a time."""

    @property
    def active(self) -> bool:
        """Whether anything guesses."""
        return self.checkpoint is not None or self.lookup is not None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.checkpoint is not None and self.lookup is not None:
            raise ValueError(f"lookup = {self.lookup} needs no checkpoint, and one is named; set one of them")
        if not self.active and self.tokens != DraftConfig.model_fields["tokens"].default:
            raise ValueError(f"tokens = {self.tokens} has no effect: nothing guesses; set checkpoint or lookup, too")
        return self


class GenerateConfig(SamplingConfig):
    """Text from a checkpoint."""

    checkpoint: Path | None = None
    """A run or checkpoint directory."""
    prompts: tuple[str, ...] = ()
    max_new_tokens: PositiveInt = 200
    stop: tuple[str, ...] = ()
    """Strings that end the text; they are not part of it. End-of-text always stops."""
    context_overflow: Literal["stop", "slide", "error"] = "stop"
    """When prompt and output outgrow the context: stop (reason `length`), slide the window, or refuse. A diffusion
    decoder always refuses."""
    cache: bool = True
    """Use the KV cache; off recomputes everything, for comparison."""
    backend: Literal["auto", "kernel", "torch"] = "auto"
    """What computes, for an autoregressive decoder: compiled kernels on the CPU, or torch. Auto: the kernels where they
    serve the model and it is large enough to wait for them."""
    precision: Precision = "float32"
    """Of the weights, for an autoregressive decoder. float32 is exact: a text never depends on others decoded with it.
    bfloat16 reads half as much for each token, int8 a quarter: that much faster, and about as good."""
    decoder: Literal["auto", "autoregressive", "diffusion"] = "auto"
    """One token after another, or masks filled in blocks. Auto goes by the objective that the model was trained with;
    one of kind joint serves both ways, and auto is autoregressive."""
    diffusion: DenoisingConfig = DenoisingConfig()
    strategy: Literal["sample", "beam"] = "sample"
    """Draw each token, or search the likeliest text with the settings of `beam`."""
    beam: BeamConfig = BeamConfig()
    draft: DraftConfig = DraftConfig()

    @model_validator(mode="after")
    def _check_strategy(self) -> Self:
        if self.strategy == "sample":
            if changed := _changed(self.beam, BeamConfig.model_fields):
                raise ValueError(
                    f'beam.{changed[0]} has no effect with strategy = "sample"; set strategy = "beam", too'
                )
            if self.draft.active and (not self.cache or self.decoder == "diffusion"):
                off = "cache = false" if not self.cache else 'decoder = "diffusion"'
                raise ValueError(f"guesses of [generate.draft] are checked in the KV cache; leave them or {off} out")
            return self
        useless = _changed(self, [*SamplingConfig.model_fields, "cache"])
        useless += [f"draft.{name}" for name in _changed(self.draft, DraftConfig.model_fields)]
        useless += ["decoder"] if self.decoder == "diffusion" else []
        if useless:
            raise ValueError(
                f'{useless[0]} has no effect with strategy = "beam", which draws nothing and ranks texts by the model '
                'alone; leave it out, or set strategy = "sample"'
            )
        if self.context_overflow == "slide":
            raise ValueError('context_overflow = "slide" and strategy = "beam": beams cannot slide; leave it at "stop"')
        return self

    @model_validator(mode="after")
    def _check_backend(self) -> Self:
        given = [
            name for name, usual in (("backend", "auto"), ("precision", "float32")) if getattr(self, name) != usual
        ]
        if given and not self.cache:
            raise ValueError(
                f"{given[0]} has no effect with cache = false, which reads with the model as it is; set one of them"
            )
        return self


def _changed(table: Table, names: Iterable[str]) -> list[str]:
    """Which settings differ from their defaults."""
    defaults = type(table).model_fields
    return [name for name in names if getattr(table, name) != defaults[name].default]


def changed_settings(table: Table, *, leaving_out: Iterable[str] = ()) -> list[str]:
    """Settings that differ from their defaults in words, such as "diffusion.steps 8", tables within tables too."""
    words: list[str] = []
    for name in _changed(table, [name for name in type(table).model_fields if name not in set(leaving_out)]):
        value = getattr(table, name)
        if isinstance(value, Table):
            words += [f"{name}.{each}" for each in changed_settings(value)]
        else:
            words.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    return words


class EvalConfig(Table):
    """Perplexity of a text or of a split of a prepared data set; for a diffusion model, a bound on it. Of tuning data
    answers and preferences."""

    checkpoint: Path | None = None
    base: Path | None = None
    """Of answers: a checkpoint to compare with, such as the one that tuning began from."""
    reference: Path | None = None
    """Of preferences: the checkpoint that margins are measured from. Default: what was trained against."""
    split: Literal["train", "valid", "test"] = "valid"
    text: tuple[Path, ...] = ()
    """Text files to score instead of a split of [data] path."""
    protocol: PerplexityProtocol = "strided"
    """Of the perplexity. strided: every token once, after as much context as `stride` leaves; chunked: the same with
    stride = window, so that each window starts cold; exact: with stride 1; last-token: windows side by side, of which
    the last token alone counts; overlap-all: all tokens of overlapping windows, most of them twice or more."""
    window: PositiveInt | None = None
    """Tokens that the model reads at a time. Default: context_length."""
    stride: PositiveInt | None = None
    """New tokens a window: each is scored once, with the most context that fits. Default: half the window; of the
    bound, the whole window. Other protocols than strided and overlap-all have their own."""
    reset_documents: bool = False
    """For the perplexity: no token sees what stands before its document, but for the end-of-text token there."""
    last_token_batch: PositiveInt = 64
    """With protocol last-token: windows are counted in batches of so many, and a last one that is not full is left
    out, as in the loop that it is taken from. 1 leaves out less than a window."""
    batch_size: PositiveInt = 8
    """Windows that are read together; changes speed only."""
    max_tokens: PositiveInt | None = None
    precision: Precision = "float32"
    """Of the weights, for the perplexity: what decoding with generate.precision costs in quality."""
    exact_match: NonNegativeInt = 0
    """Of answers: to so many prompts the model gives its own answer, greedily, which is compared with the right one."""
    max_new_tokens: PositiveInt | None = None
    """Of those. Default: as many as the longest right answer has."""
    bootstrap: BootstrapConfig = BootstrapConfig()
    bound: BoundConfig = BoundConfig()
    samples: SamplesConfig = SamplesConfig()

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        if self.stride is not None and self.protocol not in STRIDED:
            raise ValueError(
                f'stride = {self.stride} has no effect with protocol = "{self.protocol}", which has its own; leave it '
                'out, or set protocol = "strided"'
            )
        if self.protocol != "last-token" and _changed(self, ["last_token_batch"]):
            raise ValueError(
                f'last_token_batch = {self.last_token_batch} has no effect with protocol = "{self.protocol}"; leave '
                'it out, or set protocol = "last-token"'
            )
        return self

    harness: HarnessConfig = HarnessConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ValueError(
                f"stride = {self.stride} is more than window = {self.window}, so tokens would be left out; "
                f"choose at most {self.window}"
            )
        scored = {"text": self.text, "window": self.window, "stride": self.stride, "max_tokens": self.max_tokens}
        if self.bound.answer is not None and (given := [name for name, value in scored.items() if value]):
            raise ValueError(f"bound.answer is measured whole, so {' and '.join(given)} has no effect; leave it out")
        return self


PERPLEXITYS_OWN = ("precision", "protocol", "reset_documents", "last_token_batch", "bootstrap")
"""Settings of [eval] that no other measure than the perplexity reads."""


def refuse_perplexitys_own(config: EvalConfig) -> None:
    """Refuse settings that no other measure reads.

    Raises:
        ConfigError: naming one.
    """
    for name in _changed(config, PERPLEXITYS_OWN):
        value = "" if name == "bootstrap" else f" = {getattr(config, name)}"
        raise ConfigError(f"eval.{name}{value} has an effect only in `hornbook eval perplexity`; leave it out")
