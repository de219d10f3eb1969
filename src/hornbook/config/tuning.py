"""What tuning asks of settings in several tables, and what it leaves without effect. See combinations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hornbook.config.chat import ChatConfig
from hornbook.config.data import TuningConfig
from hornbook.config.objective import BlockDiffusionConfig, MaskedDiffusionConfig, MaskingSettings, PreferenceConfig
from hornbook.config.train import TrainConfig

if TYPE_CHECKING:
    from hornbook.config.run import Config


def problems(config: Config) -> Iterator[str | None]:
    """What is wrong, in words, or None where nothing is."""
    yield _objective(config)
    yield _step(config)
    yield _normalize(config)
    if config.data.stage == "pretrain":
        yield _unused(config)
        return
    yield _windows(config)
    yield _preference(config)
    yield _answer_padding(config)
    yield _blocks(config)
    yield _truncation(config)


def _objective(config: Config) -> str | None:
    stage, kind = config.data.stage, config.objective.kind
    if (stage == "dpo") == (kind == "preference"):
        return None
    return (
        f'data.stage = "{stage}" with objective.kind = "{kind}": pairs of answers (stage dpo) are what kind preference '
        'is for, and nothing else is; set both (data.stage = "dpo", objective.kind = "preference"), or neither'
    )


def _step(config: Config) -> str | None:
    rows, tokens = config.train.sequences_per_step, config.train.tokens_per_step
    default = TrainConfig.model_fields["tokens_per_step"].default
    if rows is None:
        return None
    if config.data.stage == "pretrain":
        return (
            f'train.sequences_per_step = {rows} counts rows of tuning data, and data.stage = "pretrain" reads windows; '
            "give train.tokens_per_step, or another data.stage"
        )
    if tokens != default:
        return (
            f"train.sequences_per_step = {rows} takes the place of train.tokens_per_step = {tokens}; give one of them "
            f"(train.tokens_per_step = {default} takes back that of a file which this one extends)"
        )
    return None


def _normalize(config: Config) -> str | None:
    if config.objective.normalize == "token" or config.data.stage == "sft":
        return None
    if config.data.stage == "dpo":
        return (
            'objective.normalize = "sequence" has no effect with objective.kind = "preference", whose loss is a mean '
            "over pairs; leave it out (objective.average = true scores answers by token)"
        )
    return (
        'objective.normalize = "sequence" has no effect with data.stage = "pretrain": text has no answers; leave it '
        'out, or tune on conversations (data.stage = "sft")'
    )


def _unused(config: Config) -> str | None:
    tuning, default = config.data.tuning, TuningConfig()
    keys = [
        f"data.tuning.{name}" for name in TuningConfig.model_fields if getattr(tuning, name) != getattr(default, name)
    ]
    keys += [
        f"chat.{name}" for name in ChatConfig.model_fields if getattr(config.chat, name) != getattr(ChatConfig(), name)
    ]
    if not keys:
        return None
    verb = "has" if len(keys) == 1 else "have"
    return (
        f'{", ".join(keys)} {verb} no effect with data.stage = "pretrain"; set data.stage to "sft" or "dpo", or leave '
        "that out"
    )


def _windows(config: Config) -> str | None:
    """Settings of windows of running text, or of several data sets."""
    stage = config.data.stage
    if config.data.stride is not None:
        return (
            f'data.stride = {config.data.stride} has no effect with data.stage = "{stage}", whose rows begin where '
            "conversations do; leave it out"
        )
    if not config.data.mixture:
        return None
    return (
        f'data.mixture with data.stage = "{stage}": tuning reads one data set; prepare one of all sources and name it '
        "by data.path"
    )


def _preference(config: Config) -> str | None:
    objective = config.objective
    if not isinstance(objective, PreferenceConfig):
        return None
    if objective.reference == "adapter" and config.lora is None:
        return 'objective.reference = "adapter" is the model without its adapters, and there is no [lora]; add one'
    return None


def _answer_padding(config: Config) -> str | None:
    tuning, kind = config.data.tuning, config.objective.kind
    if not tuning.answer_padding:
        return None
    said = "row" if tuning.answer_padding == "row" else tuning.answer_padding
    if config.data.stage != "sft" or not isinstance(config.objective, MaskedDiffusionConfig | BlockDiffusionConfig):
        return (
            f'data.tuning.answer_padding = {said!r} with data.stage = "{config.data.stage}" and objective.kind = '
            f'"{kind}": only masked diffusion lays answers out in a given length; set it to 0'
        )
    if said == "row" and tuning.packing:
        return (
            'data.tuning.answer_padding = "row" fills a row after one conversation, and data.tuning.packing = true '
            "puts several into it; set packing = false, or a number of tokens"
        )
    return None


def _blocks(config: Config) -> str | None:
    packs = config.data.stage == "sft" and config.data.tuning.packing
    if not (packs and isinstance(config.objective, BlockDiffusionConfig)):
        return None
    return (
        'data.tuning.packing = true with objective.kind = "block_diffusion": blocks are counted from the start of a '
        "row, in decoding from that of a conversation, so each needs a row of its own; set packing = false"
    )


def _truncation(config: Config) -> str | None:
    objective = config.objective
    if not isinstance(objective, MaskingSettings):
        return None
    given, default = objective.truncation_probability, MaskingSettings.model_fields["truncation_probability"].default
    if given in (0.0, default):
        return None
    return (
        f'objective.truncation_probability = {given} has no effect with data.stage = "{config.data.stage}": '
        "conversations are whole; leave it out"
    )
