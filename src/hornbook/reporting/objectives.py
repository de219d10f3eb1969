"""Runs of different objectives side by side: what their losses mean, and whether they were given as much."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from html import escape

from hornbook.config.model import ModelConfig
from hornbook.config.objective import BlockDiffusionConfig, JointConfig
from hornbook.models.accounting import training_flops_per_token
from hornbook.reporting.least_loss import NEXT_TOKEN, least_loss, objective_of
from hornbook.reporting.record import RunRecord
from hornbook.reporting.scale import short
from hornbook.tracking.figures import count

MEANINGS = {
    NEXT_TOKEN: "the loss itself",
    "joint": "the loss itself, of next tokens",
    "masked_diffusion": "an upper bound: at most",
    "block_diffusion": "an upper bound: at most",
}
"""What the validation loss of an objective says of -log p."""
TOKENS_READ = {"block_diffusion": BlockDiffusionConfig.tokens_read, "joint": JointConfig.tokens_read}
"""For each token of a window, where it is not one."""


def objectives(records: Sequence[RunRecord]) -> Iterator[str]:
    """A table of what must be equal for a comparison, and of what is compared; nothing for runs of one objective."""
    if len({objective_of(record.settings) for record in records}) < 2:
        return
    rows = [_row(record) for record in records]
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if any(row.get(name) for row in rows)]
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in ["run", *names])
    yield '<section><h2>Objectives compared</h2>\n<p class="facts">'
    yield "A bound lies above -log p, so bits per byte of a bound and of a loss compare in one direction alone: "
    yield "a bound that is lower proves the better model, one that is higher proves nothing.</p>\n"
    yield f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>\n'
    for record, row in zip(records, rows, strict=True):
        cells = "".join(f"<td>{escape(row.get(name, ''))}</td>" for name in names)
        yield f'<tr><th scope="row">{escape(record.name)}</th>{cells}</tr>\n'
    yield "</tbody></table></div></section>\n"


def _row(record: RunRecord) -> dict[str, str]:
    kind, best, least = objective_of(record.settings), record.curve("val/loss").lowest, least_loss(record.settings)
    tokens, parameters = record.curve("train/tokens").last, record.fact("n_parameters")
    flops = _flops_per_token(record)
    loss = record.curve("val/loss").last
    return {
        "objective": kind,
        "its validation loss is": MEANINGS.get(kind, ""),
        "parameters": count(parameters) if isinstance(parameters, int) else "",
        "tokens": count(tokens) if tokens is not None else "",
        "training FLOPs": "" if flops is None or tokens is None else f"{flops * tokens:.3g}",
        "best validation loss": "" if best is None else f"{best[1]:.4f}",
        "last validation loss": "" if loss is None else f"{loss:.4f}",
        "least possible": "" if least is None else f"{least:.4f}",
        "excess": "" if least is None or loss is None else f"{loss - least:+.4f}",
        "bits per byte": _last(record, "val/bits_per_byte"),
        **_evaluated(record),
    }


def _flops_per_token(record: RunRecord) -> float | None:
    """That training needs for each token of a window, by the shape in the newest checkpoint."""
    shape = _shape(record)
    if shape is None:
        return None
    read = TOKENS_READ.get(objective_of(record.settings), 1)
    return read * training_flops_per_token(shape, context=shape.context_length)


def _shape(record: RunRecord) -> ModelConfig | None:
    for entry in reversed(record.checkpoints):
        with suppress(OSError, ValueError, LookupError, TypeError):
            content = json.loads((entry.path / "model.json").read_bytes())
            return ModelConfig.model_validate_json(json.dumps(content["model"]))
    return None


def _last(record: RunRecord, metric: str) -> str:
    last = record.curve(metric).last
    return "" if last is None else short(last)


def _evaluated(record: RunRecord) -> dict[str, str]:
    """Bits per byte of the newest evaluation of each kind, such as perplexity and bound."""
    found = {}
    for _, _, event in record.of("eval"):
        for name, sign in (("bits_per_byte", ""), ("bits_per_byte_at_most", "≤ ")):
            value = event.get(name)
            if isinstance(value, int | float):
                found[f"bits per byte, eval {event.get('measure', 'perplexity')}"] = f"{sign}{short(float(value))}"
    return found
