"""What a run starts from: its tokenizer, the shape of its model, the model, and all that its steps work with."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hornbook.checkpoint.load import Checkpoint, start_from
from hornbook.config.distributed import DistributedConfig
from hornbook.config.model import ModelConfig
from hornbook.config.objective import BlockDiffusionConfig, JointConfig, MaskedDiffusionConfig, NextTokenConfig
from hornbook.config.run import Config
from hornbook.data.batch import TokenBatch
from hornbook.data.mixture import Mixture
from hornbook.distributed.ddp import DataParallel
from hornbook.distributed.precision import DTYPES, Kind, Precision
from hornbook.distributed.process_group import ALONE, Processes
from hornbook.distributed.single import SingleProcess
from hornbook.distributed.strategy import Strategy
from hornbook.errors import ConfigError
from hornbook.models.transformer import Transformer, roles
from hornbook.objectives.block_diffusion import BlockDiffusion
from hornbook.objectives.joint import Joint
from hornbook.objectives.masked_diffusion import MaskedDiffusion
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.objective import Objective
from hornbook.optim.build import make_optimizer, update_costs
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.training.choices import Choices
from hornbook.training.norms import norm_watch
from hornbook.training.step import Learner


def tokenizer_of(config: Config, data: Mixture, start: Checkpoint | None) -> Tokenizer:
    """That of the starting point, of the configuration, or else of the data, which must have been made with it."""
    if start is not None and start.tokenizer is not None:
        tokenizer = start.tokenizer
    elif config.tokenizer.path.exists():
        tokenizer = Tokenizer.load(config.tokenizer.path)
    else:
        tokenizer = data.tokenizer()
    data.check_tokenizer(tokenizer)
    return tokenizer


def shape_of(config: Config, tokenizer: Tokenizer) -> ModelConfig:
    """The complete shape of the model, which must have a row for every token."""
    vocab_size = config.model.vocab_size or tokenizer.vocab_size
    if vocab_size < tokenizer.vocab_size:
        raise ConfigError(
            f"model.vocab_size = {vocab_size} is less than the tokenizer's {tokenizer.vocab_size}; "
            "leave it out or raise it"
        )
    return config.model.complete(vocab_size=vocab_size)


def build_model(config: Config, shape: ModelConfig, choices: Choices, start: Checkpoint | None) -> Transformer:
    """A new model, with the weights of the starting point if there is one."""
    model = Transformer(shape, seed=config.run.seed)
    model.activation_checkpointing = config.train.activation_checkpointing
    model.compiled = choices.compile
    model.use_plain_attention(choices.plain_max_keys)
    if start is not None:
        start_from(model, start)
    return model


def build_objective(
    config: Config, *, mask_id: int | None = None, byte_lengths: Tensor | None = None
) -> Objective[TokenBatch]:
    """What `[objective]` asks for, of a tokenizer with this mask token and these byte lengths.

    Raises:
        ConfigError: if the objective masks and there is no mask token.
    """
    chunk_tokens = config.train.nll_chunk_tokens
    match config.objective:
        case NextTokenConfig() as settings:
            return NextToken(settings, chunk_tokens=chunk_tokens, byte_lengths=byte_lengths)
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
            return BlockDiffusion(settings, mask_id=mask_id, chunk_tokens=chunk_tokens, byte_lengths=byte_lengths)
        case JointConfig() as settings:
            return Joint(settings, mask_id=mask_id, chunk_tokens=chunk_tokens, byte_lengths=byte_lengths)


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
) -> Learner[TokenBatch]:
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
    return Learner[TokenBatch](
        model=model,
        objective=build_objective(config, mask_id=mask_id, byte_lengths=byte_lengths),
        optimizer=strategy.optimizer(model, lambda named: make_optimizer(named, roles(model), config.optim)),
        strategy=strategy,
        precision=precision,
        clip_grad_norm=config.optim.clip_grad_norm,
        watch=norm_watch(config.tracking),
    )
