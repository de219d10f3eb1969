"""What a run starts from: its tokenizer, the shape of its model, the model, and all that its steps work with."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hornbook.checkpoint.load import Checkpoint, start_from
from hornbook.config.distributed import DistributedConfig
from hornbook.config.dump import toml_value
from hornbook.config.lora import LoraConfig, Whole
from hornbook.config.model import ModelConfig
from hornbook.config.objective import (
    BlockDiffusionConfig,
    JointConfig,
    MaskedDiffusionConfig,
    MaskingSettings,
    NextTokenConfig,
    ObjectiveConfig,
    PreferenceConfig,
)
from hornbook.config.run import Config
from hornbook.data.mixture import Mixture
from hornbook.distributed.ddp import DataParallel
from hornbook.distributed.precision import DTYPES, Kind, Precision
from hornbook.distributed.process_group import ALONE, Processes
from hornbook.distributed.single import SingleProcess
from hornbook.distributed.strategy import Strategy
from hornbook.errors import ConfigError
from hornbook.models.lora import add_lora
from hornbook.models.transformer import Transformer, roles
from hornbook.objectives.block_diffusion import BlockDiffusion
from hornbook.objectives.joint import Joint
from hornbook.objectives.masked_diffusion import MaskedDiffusion
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.objective import Objective
from hornbook.objectives.preference import Preference
from hornbook.objectives.reference import Reference
from hornbook.optim.build import make_optimizer, update_costs
from hornbook.tokenizer.superset import joined
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.training.choices import Choices
from hornbook.training.norms import norm_watch
from hornbook.training.reference import build_reference, check_likelihood
from hornbook.training.step import Learner


def tokenizer_of(config: Config, data: Mixture, start: Checkpoint | None) -> Tokenizer:
    """That of the starting point, of the configuration, or else of the data, which must have been made with it.

    Data may also have been made with more ids, the first of which are all of these, such as for a chat template; then
    it is theirs.
    """
    made_with = data.tokenizer()
    if start is not None and start.tokenizer is not None:
        tokenizer = joined(start.tokenizer, made_with)
    elif config.tokenizer.path.exists():
        tokenizer = joined(Tokenizer.load(config.tokenizer.path), made_with)
    else:
        tokenizer = made_with
    data.check_tokenizer(tokenizer)
    return tokenizer


def shape_of(config: Config, tokenizer: Tokenizer, start: Checkpoint | None = None) -> ModelConfig:
    """The complete shape of the model, which must have a row for every token, and for all that it starts from.

    For preferences it has no dropout: noise of the policy alone would be taken for a preference.
    """
    least = tokenizer.vocab_size if start is None else max(tokenizer.vocab_size, start.model_config.vocab_size)
    vocab_size = config.model.vocab_size or least
    if vocab_size < tokenizer.vocab_size:
        raise ConfigError(
            f"model.vocab_size = {vocab_size} is less than the tokenizer's {tokenizer.vocab_size}; "
            "leave it out or raise it"
        )
    shape = config.model.complete(vocab_size=vocab_size)
    if isinstance(config.objective, PreferenceConfig):
        shape = ModelConfig.model_validate({**shape.model_dump(), "dropout": 0.0, "ngram_dropout": 0.0})
    return shape


def build_model(
    config: Config, shape: ModelConfig, choices: Choices, start: Checkpoint | None, *, tokens: int | None = None
) -> Transformer:
    """A new model, with the weights of the starting point if there is one, and the adapters that `[lora]` asks for.

    tokens: the ids that its tokenizer has. Default: as many as it has rows.

    Raises:
        CheckpointError: if the starting point is another model.
        ConfigError: if adapters cannot be put into it, or would leave new tokens untrained.
    """
    model = Transformer(shape, seed=config.run.seed)
    model.activation_checkpointing = config.train.activation_checkpointing
    model.compiled = choices.compile
    model.use_plain_attention(choices.plain_max_keys)
    if start is not None:
        check_likelihood(config, start.objective, start.path)
        start_from(model, start, tokens=tokens)
    if config.lora is not None:
        if start is not None:
            _check_new_tokens(config.lora, shape, start, tokens or shape.vocab_size)
        add_lora(model, config.lora, seed=config.run.seed)
    return model


def _check_new_tokens(lora: LoraConfig, shape: ModelConfig, start: Checkpoint, tokens: int) -> None:
    """Frozen, the rows of new tokens would stay alike: nothing could tell a user's turn from an answer's end."""
    new = tokens - (start.model_config.vocab_size if start.tokenizer is None else start.tokenizer.vocab_size)
    needed: tuple[Whole, ...] = ("token_embedding",) if shape.tie_embeddings else ("token_embedding", "head")
    if new > 0 and not set(needed) <= set(lora.also_train):
        raise ConfigError(
            f"the data have {new} tokens more than model.init_from = {start.path}, as for a chat template, and "
            f"[lora] would leave their rows untrained and alike; set lora.also_train = {toml_value(list(needed))}"
        )


def as_read(objective: ObjectiveConfig) -> dict[str, object]:
    """An objective's settings as a checkpoint holds them, of the kind by which its model is read.

    Preferences change what a model says and not how it says it.
    """
    settings = objective.model_dump(mode="json")
    if isinstance(objective, PreferenceConfig):
        return {"kind": objective.likelihood, "preference": settings}
    return settings


def build_objective(
    config: Config,
    *,
    mask_id: int | None = None,
    byte_lengths: Tensor | None = None,
    reference: Reference | None = None,
) -> Objective[Any]:
    """What `[objective]` asks for, of a tokenizer with this mask token and these byte lengths.

    `reference`: what preferences are compared with, unless their batches hold its scores.

    Raises:
        ConfigError: if the objective masks and there is no mask token.
    """
    chunk_tokens, objective = config.train.nll_chunk_tokens, config.objective
    if isinstance(objective, MaskingSettings) and config.data.stage != "pretrain":  # conversations are whole
        objective = objective.model_copy(update={"truncation_probability": 0.0})
    match objective:
        case NextTokenConfig() as settings:
            return NextToken(settings, chunk_tokens=chunk_tokens, byte_lengths=byte_lengths)
        case PreferenceConfig(likelihood="next_token") as settings:
            return Preference(settings, mask_id=None, chunk_tokens=chunk_tokens, reference=reference)
        case settings if mask_id is None:
            whose = "" if config.model.init_from is None else f" of model.init_from = {config.model.init_from}"
            raise ConfigError(
                f'objective.kind = "{settings.kind}" needs a mask token, and the tokenizer{whose} has none; train one '
                'with tokenizer.special_tokens = "pretraining" (or "chat"), prepare the data with it'
                + (", and train a model on them from the start" if whose else "")
            )
        case MaskedDiffusionConfig() as settings:
            return MaskedDiffusion(settings, mask_id=mask_id, chunk_tokens=chunk_tokens, byte_lengths=byte_lengths)
        case BlockDiffusionConfig() as settings:
            return BlockDiffusion(
                settings,
                mask_id=mask_id,
                chunk_tokens=chunk_tokens,
                byte_lengths=byte_lengths,
                row_length=config.model.context_length,
            )
        case JointConfig() as settings:
            return Joint(settings, mask_id=mask_id, chunk_tokens=chunk_tokens, byte_lengths=byte_lengths)
        case PreferenceConfig() as settings:
            return Preference(settings, mask_id=mask_id, chunk_tokens=chunk_tokens, reference=reference)


def build_strategy(
    config: DistributedConfig,
    processes: Processes,
    *,
    device: torch.device = torch.device("cpu"),  # noqa: B008  # a value
    precision: Kind = "fp32",
    costs: Mapping[str, int] | None = None,
) -> Strategy:
    """How these processes train together.

    device, precision: for a strategy that moves and cuts up the model.
    costs: of each parameter's update, where they are not as its size.

    Raises:
        ConfigError: if the processes cannot be grouped as the settings say.
    """
    if processes.world_size == 1:
        return SingleProcess()
    if config.cuts_up_model(processes.world_size):
        from hornbook.distributed.fsdp import FullySharded  # a second of imports, which few runs need

        # On a CPU LayerNorm refuses 16-bit gains for float32 inputs; there autocast alone does it, in more memory.
        products = None if precision == "fp32" or device.type == "cpu" else DTYPES[precision]
        return FullySharded(processes, device=device, group_size=config.shard_group_size, products=products)
    return DataParallel(
        processes,
        bucket_bytes=round(config.bucket_size_mb * 2**20),
        shard_optimizer=config.shard_optimizer,
        costs=costs,
    )


def build_learner(
    config: Config,
    model: Transformer,
    processes: Processes = ALONE,
    *,
    device: torch.device | None = None,
    mask_id: int | None = None,
    byte_lengths: Tensor | None = None,
) -> Learner[Any]:
    """What the steps of a run work on and with: `model` on its device, and objective, optimizer, precision for it.

    processes: those that train together; all call this at the same time.
    device: where the model is to be, if it is not there yet; only a strategy that cuts it up moves it.
    mask_id: the tokenizer's mask token, if it has one.
    byte_lengths: (vocab_size,) bytes that each token stands for; they add the metric of bytes.

    Raises:
        ConfigError: if the device cannot multiply in train.precision, or the objective needs a mask token.
    """
    device = device or next(model.parameters()).device
    precision = Precision(config.train.precision, device)
    precision.check()
    costs = update_costs(model.named_parameters(), roles(model), config.optim)
    strategy = build_strategy(
        config.distributed, processes, device=device, precision=config.train.precision, costs=costs
    )
    strategy.prepare(model)
    reference = build_reference(config, model, tokens=None if byte_lengths is None else len(byte_lengths))
    return Learner(
        model=model,
        objective=build_objective(config, mask_id=mask_id, byte_lengths=byte_lengths, reference=reference),
        optimizer=strategy.optimizer(model, lambda named: make_optimizer(named, roles(model), config.optim)),
        strategy=strategy,
        precision=precision,
        clip_grad_norm=config.optim.clip_grad_norm,
        watch=norm_watch(config.tracking),
    )
