"""What a run starts from: its tokenizer, the shape of its model, and the model."""

from hornbook.checkpoint.load import Checkpoint, start_from
from hornbook.config.model import ModelConfig
from hornbook.config.run import Config
from hornbook.data.dataset import Dataset
from hornbook.errors import ConfigError
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.training.choices import Choices


def tokenizer_of(config: Config, dataset: Dataset, start: Checkpoint | None) -> Tokenizer:
    """That of the starting point, of the configuration, or else of the data, which must have been made with it."""
    if start is not None and start.tokenizer is not None:
        tokenizer = start.tokenizer
    elif config.tokenizer.path.exists():
        tokenizer = Tokenizer.load(config.tokenizer.path)
    else:
        tokenizer = dataset.tokenizer()
    dataset.check_tokenizer(tokenizer)
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
