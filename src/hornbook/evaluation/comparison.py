"""Models on one text: by how much one says it in fewer bits than another, and how sure that is.

Both are drawn anew on the same blocks of the text, so what is hard in the text for both cancels. Blocks are of bytes,
which the text has whatever the tokenizers make of it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hornbook.config.generate import EvalConfig
from hornbook.errors import ConfigError
from hornbook.evaluation.bootstrap import Interval, interval, resampled_sums
from hornbook.evaluation.card import LN_2
from hornbook.evaluation.perplexity_card import PerplexityCard
from hornbook.evaluation.text_units import TextUnits


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Bits per byte of one model less those of another: below 0 the one is better."""

    bits_per_byte: float
    interval: Interval | None
    """At the level of the other's card; None for a text of a single block."""
    blocks: int


def refuse_other_text(name: str, text: TextUnits, other_name: str, other: TextUnits) -> None:
    """Refuse to compare models on different texts.

    Raises:
        ConfigError: if digests or bytes differ.
    """
    if (text.sha256, text.n_bytes) == (other.sha256, other.n_bytes):
        return
    raise ConfigError(
        f"{other_name} would be scored on another text than {name}: {other.n_bytes:,} bytes, sha256 "
        f"{other.sha256[:12]}…, and not {text.n_bytes:,} bytes, {text.sha256[:12]}…; numbers compare only on equal "
        "text: name it with --text FILE, and leave out --max-tokens, which cuts by each model's own tokens"
    )


def refuse_other_protocol(name: str, config: EvalConfig, other_name: str, other: EvalConfig) -> None:
    """Refuse to compare numbers of different protocols, which configurations of runs may ask for.

    Raises:
        ConfigError: naming the setting.
    """
    for setting in ("protocol", "reset_documents"):
        ours, theirs = getattr(config, setting), getattr(other, setting)
        if ours != theirs:
            raise ConfigError(
                f"protocols differ: eval.{setting} is {ours} for {name} and {theirs} for {other_name}; numbers do not "
                f"compare: say which, --set eval.{setting}=..."
            )


def difference(card: PerplexityCard, other: PerplexityCard) -> Difference | None:
    """Of `card` less `other`, on one text under one protocol; None where bytes are not known.

    Raises:
        ConfigError: if text or protocol differ.
    """
    text, other_text = card.scored.units, other.scored.units
    if text is None or other_text is None:
        return None
    refuse_other_text(other.checkpoint, other_text, card.checkpoint, text)
    protocols = [(each.protocol_name, each.reset_documents) for each in (other, card)]
    if len(set(protocols)) > 1:
        raise ConfigError(f"protocols differ: {other.protocol_name} and {card.protocol_name}; numbers do not compare")
    size = max(1, round(other.block_tokens * text.n_bytes / other.text_tokens))
    sums = np.concatenate([_by_bytes(each, size) for each in (card, other)], axis=1)
    sums = sums[sums.any(axis=1)]
    redrawn = resampled_sums(sums, resamples=other.resamples, seed=other.seed)
    known = bool((redrawn[:, (1, 3)] > 0).all())
    found = interval(_less(redrawn), level=other.level, n_blocks=len(sums)) if known else None
    return Difference(bits_per_byte=float(_less(sums.sum(axis=0)[None])[0]), interval=found, blocks=len(sums))


def _by_bytes(card: PerplexityCard, size: int) -> Float[np.ndarray, "blocks 2"]:
    """Nats and bytes of the scored tokens that begin in each block of `size` bytes."""
    units = card.scored.units
    assert units is not None, "who asks has seen them"
    starts = (np.cumsum(units.bytes) - units.bytes)[card.scored.places]
    blocks = np.minimum(starts, units.n_bytes - 1) // size  # an end-of-text token may stand behind the last byte
    n = -(-units.n_bytes // size)
    counts = (card.scored.nats, units.bytes[card.scored.places])
    return np.stack([np.bincount(blocks, weights=count, minlength=n) for count in counts], axis=1)


def _less(sums: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    per_byte: Float[np.ndarray, "n 2"] = sums[:, (0, 2)] / sums[:, (1, 3)]
    less: Float[np.ndarray, " n"] = (per_byte[:, 0] - per_byte[:, 1]) / LN_2
    return less
