"""Configuration and origin of runs: readable TOML, where it and every value in it came from, what differs."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from hornbook.reporting.record import RunRecord
from hornbook.reporting.tables import known, pairs, rows, said
from hornbook.tracking.figures import count

_OF_THE_RUN = ("run.name", "run.out_dir", "run.notes")
_HARDWARE = ("host", "platform", "devices", "accelerator", "world_size")
_ELSEWHERE = ("data", "data_digest", "dataset", "architecture", "origins", "hardware", *_HARDWARE)
"""Entries of provenance.json that do not stand under "Where it came from"."""


def configuration(record: RunRecord) -> Iterator[str]:
    """What was written and where, config.toml as it stands, and how the run was made."""
    yield "<section><h2>Configuration</h2>\n"
    yield _written(record)
    if record.config_text:
        toml = _coloured(record.config_text)
        is_open = "" if _origins(record) else " open"
        yield f"<details{is_open}><summary>config.toml: resolved and complete, training from it repeats the run"
        yield f'</summary><pre class="toml">{toml}</pre></details>\n'
    else:
        yield "<p>There is no config.toml.</p>\n"
    others = {name: value for name, value in record.provenance.items() if name not in _ELSEWHERE}
    yield pairs("Where it came from", known(others))
    yield "</section>\n"


def hardware(record: RunRecord) -> Iterator[str]:
    """The machine, and what was chosen for it."""
    told = record.provenance.get("hardware")
    own = dict(told) if isinstance(told, dict) else {}
    memory = own.pop("memory_bytes", None)
    machine = known({**own, **{name: record.provenance.get(name) for name in _HARDWARE}})
    if isinstance(memory, int):
        machine["memory"] = f"{count(memory)}B"
    if machine or record.choices:
        yield "<section><h2>Hardware</h2>\n"
        yield pairs("The machine", machine)
        yield pairs("Chosen on this machine", known(record.choices))
        yield "</section>\n"


def differences(records: Sequence[RunRecord]) -> str:
    """A table of the settings that are not the same in all runs."""
    keys = list(dict.fromkeys(key for record in records for key in record.settings))
    found = []
    for key in keys:
        values = [said(record.settings[key]) if key in record.settings else "unset" for record in records]
        if len(set(values)) > 1 and key not in _OF_THE_RUN:
            found.append([key, *values])
    names = ["setting", *(record.name for record in records)]
    table = rows(names, found, words=True) if found else "<p>None.</p>"
    return f"<section><h2>Settings that differ</h2>\n{table}</section>\n"


def _written(record: RunRecord) -> str:
    """The settings that somebody wrote or a preset gave, each with its place; the others are defaults."""
    origins = _origins(record)
    lines = [
        (key, said(record.settings[key]) if key in record.settings else "unset", str(where))
        for key, where in sorted(origins.items())
    ]
    if not lines:
        return ""
    return rows(("setting", "value", "from"), lines, caption="Every other setting is a default", words=True)


def _origins(record: RunRecord) -> Mapping[str, object]:
    origins = record.provenance.get("origins")
    return origins if isinstance(origins, dict) else {}


def _coloured(text: str) -> str:
    """TOML with comments and tables told apart by classes; everything is escaped."""
    lines = []
    for line in text.splitlines():
        kind = "comment" if line.startswith("#") else "header" if line.startswith("[") else ""
        lines.append(f'<span class="{kind}">{escape(line)}</span>' if kind else escape(line))
    return "\n".join(lines)
