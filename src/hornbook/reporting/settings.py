"""Configuration and origin of runs: readable TOML, where it came from, and what differs between runs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from hornbook.reporting.record import RunRecord

_OF_THE_RUN = ("run.name", "run.out_dir", "run.notes")


def configuration(record: RunRecord) -> Iterator[str]:
    """config.toml as it stands, and what else is known of how the run was made."""
    yield "<section><h2>Configuration</h2>\n"
    if record.config_text:
        yield '<p class="facts">Resolved and complete: training from this file repeats the run.</p>\n'
        toml = _coloured(record.config_text)
        yield f'<details open><summary>config.toml</summary><pre class="toml">{toml}</pre></details>\n'
    else:
        yield "<p>There is no config.toml.</p>\n"
    yield _table("Where it came from", _flat(record.provenance))
    yield _table("Chosen on this machine", _flat(record.choices))
    yield "</section>\n"


def differences(records: Sequence[RunRecord]) -> str:
    """A table of the settings that are not the same in all runs."""
    keys = list(dict.fromkeys(key for record in records for key in record.settings))
    rows = []
    for key in keys:
        values = [_said(record.settings[key]) if key in record.settings else "unset" for record in records]
        if len(set(values)) > 1 and key not in _OF_THE_RUN:
            cells = "".join(f"<td>{escape(value)}</td>" for value in values)
            rows.append(f'<tr><th scope="row">{escape(key)}</th>{cells}</tr>\n')
    if not rows:
        return "<section><h2>Settings that differ</h2>\n<p>None.</p></section>\n"
    heads = "".join(f'<th scope="col">{escape(record.name)}</th>' for record in records)
    return (
        '<section><h2>Settings that differ</h2>\n<div class="wide"><table class="words"><thead><tr>'
        f'<th scope="col">setting</th>{heads}</tr></thead><tbody>\n{"".join(rows)}</tbody></table></div></section>\n'
    )


def _coloured(text: str) -> str:
    """TOML with comments and tables told apart by classes; everything is escaped."""
    lines = []
    for line in text.splitlines():
        kind = "comment" if line.startswith("#") else "header" if line.startswith("[") else ""
        lines.append(f'<span class="{kind}">{escape(line)}</span>' if kind else escape(line))
    return "\n".join(lines)


def _flat(values: Mapping[str, object]) -> dict[str, str]:
    return {name: _said(value) for name, value in values.items() if value not in (None, "", [], {})}


def _said(value: object) -> str:
    match value:
        case str():
            return value
        case dict():
            return ", ".join(f"{name} {_said(inner)}" for name, inner in value.items())
        case list():
            return ", ".join(_said(each) for each in value)
    return json.dumps(value, default=str)


def _table(caption: str, values: Mapping[str, str]) -> str:
    if not values:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n' for name, value in values.items()
    )
    return f'<table class="words"><caption>{escape(caption)}</caption><tbody>\n{rows}</tbody></table>\n'
