"""Errors that a user can cause. Each message says where, what was found, what was expected and what to do.

`hornbook` prints the message of a HornbookError and exits with status 2; it never shows a traceback for one. What we
guarantee ourselves is an `assert`, not an error of this family.
"""


class HornbookError(ValueError):
    """Something that the user can mend: the message alone must be enough to do it."""


class ConfigError(HornbookError):
    """A configuration file, an override or a combination of settings is wrong."""


class DataError(HornbookError):
    """Input text, a prepared data set or a shard is missing, broken or of another kind than expected."""


class TokenizerError(HornbookError):
    """A tokenizer file cannot be read, or a text or an id cannot be handled by the tokenizer."""


class CheckpointError(HornbookError):
    """A run or checkpoint directory is missing, incomplete, damaged or does not fit."""


class TrainingError(HornbookError):
    """Training cannot start or cannot go on."""


class PeerLostError(TrainingError):
    """Another process of the same run has ended or does not answer: this one cannot go on alone."""


class GenerationError(HornbookError):
    """A prompt or a sampling setting cannot be served."""


class MissingExtraError(HornbookError):
    """An optional package is not installed."""

    def __init__(self, feature: str, *, package: str, extra: str) -> None:
        super().__init__(f"{feature} needs the package {package}; install it with: pip install 'hornbook[{extra}]'")
