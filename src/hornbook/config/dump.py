"""Tables to TOML and JSON, complete: `load_config` of what `to_toml` wrote gives an equal configuration.

Unset keys are comment lines, except where leaving the key out would mean something else (`optim.clip_grad_norm`, or a
size that `model.preset` sets): there the file says `"none"`. A file that names a preset therefore reloads equal even
though loading applies the preset again: every key stands beside it and wins.
"""

import hashlib
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from hornbook.config.expected import expected
from hornbook.config.keys import UNSET, Key, dotted, slot
from hornbook.config.presets import preset_settings
from hornbook.config.run import Config
from hornbook.config.table import Table

_COMMENT_WIDTH = 118


def to_toml(table: Table, *, descriptions: bool = False) -> str:
    """The table as TOML, every key written; with `descriptions`, each under a comment that says what it is."""
    given = preset_settings(table.model.preset, table.model.depth, {}) if isinstance(table, Config) else {}
    return "\n".join(_table_lines(table, (), given, descriptions=descriptions)).strip("\n") + "\n"


def to_json(table: Table, *, indent: int | None = None) -> str:
    """The table as JSON, unset keys as null."""
    return table.model_dump_json(indent=indent)


def config_hash(config: Config) -> str:
    """Eight hexadecimal digits of all that decides a run: neither its name, tags and notes nor who is told of it."""
    content = config.model_dump(mode="json", exclude={"run": {"name", "tags", "notes"}, "tracking": True})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def toml_value(value: object) -> str:
    """One value as TOML writes it.

    Raises:
        TypeError: for a value that TOML has no form for.
    """
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str() | Path():
            # JSON's escapes are a subset of TOML's; only DEL, which TOML wants escaped, is none of JSON's concern.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")
        case list() | tuple():
            return "[" + ", ".join(toml_value(each) for each in value) + "]"
        case dict():
            return "{" + ", ".join(f"{toml_value(name)} = {toml_value(inner)}" for name, inner in value.items()) + "}"
    raise TypeError(f"TOML cannot hold {value!r}")


def _table_lines(table: Table, key: Key, given: Mapping[Key, object], *, descriptions: bool) -> Iterator[str]:
    """Values first, then the tables inside: a value after a [header] would belong to that header.

    `given` is what a preset gives to keys that are left out.
    """
    if key:
        yield from ("", f"[{dotted(key)}]")
    inner: list[tuple[Key, Table]] = []
    for name in _in_reading_order(table):
        value = getattr(table, name)
        if isinstance(value, Table):
            inner.append(((*key, name), value))
            continue
        if descriptions:
            yield from _comment(type(table).model_fields[name].description)
        left_out = given.get((*key, name), type(table).model_fields[name].get_default())
        yield _value_line(table, name, value, left_out=left_out)
    for inner_key, inner_table in inner:
        yield from _table_lines(inner_table, inner_key, given, descriptions=descriptions)


def _in_reading_order(table: Table) -> list[str]:
    """Field names as declared, but first those that say what the others mean."""
    return sorted(type(table).model_fields, key=lambda name: name not in ("kind", "preset"))


def _value_line(table: Table, name: str, value: object, *, left_out: object) -> str:
    """`left_out` is what loading would make of a key that is not there."""
    if value is not None:
        return f"{name} = {toml_value(value)}"
    if left_out is None:
        words = expected(type(table), name).removesuffix(f', or "{UNSET}" to unset it')
        return f"# {name} = (unset: {words})"
    assert slot(type(table), name).can_unset, f"{name} may be unset and has a default that nothing can undo"
    return f'{name} = "{UNSET}"'


def _comment(description: str | None) -> list[str]:
    if description is None:
        return []
    return textwrap.wrap(
        " ".join(description.split()),
        _COMMENT_WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
    )
