"""Write docs/configuration.md from the typed tables: python scripts/make_configuration_page.py

The tables in src/hornbook/config are the only place where a setting, its type and its default stand; a test compares the
page with what this script would write.
"""

import inspect
import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hornbook.config.presets import PRESETS
from hornbook.config.run import Config

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"

HEAD = """\
# Configuration

One TOML file describes a project: its text, its model, its training and what is asked of the result. Every verb reads the
tables that it needs, so `hornbook tokenizer train x.toml`, `hornbook data prepare x.toml` and `hornbook train x.toml` share
one file. Whatever is left out has the default below.

* `extends = "other.toml"` at the top starts from another file, found beside this one; the nearer file wins, key by key.
* `--set train.steps=100` on the command line wins over every file. Values are TOML: `--set 'run.tags=["a", "b"]'`.
* `[model] preset = "cpu-small"` names a shape; any key beside it wins. `preset = "auto"` with `depth = 4` sets sizes, rates,
  batch and steps by rule.
* Paths of sources may name a variable of the environment: `${NAME}`, or `${NAME:-otherwise}` with a default.
* `hornbook config show x.toml` says where each value came from, `config check` finds mistakes, `--print-config` prints the
  resolved configuration of any verb and stops, and `config schema` writes the JSON schema for editors.
* An unknown key, a wrong type, a number out of range or settings that do not fit together are one message with file, line,
  key, and the nearest key that exists.

This page is written by `scripts/make_configuration_page.py` from the tables in `src/hornbook/config`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    described: dict[type[BaseModel], str] = {}
    for name, field in Config.model_fields.items():
        for table in tables(field.annotation):
            parts.append("\n".join(section(name, table, described)))
    parts.append("\n".join(presets()))
    return "\n".join(parts).rstrip() + "\n"


def tables(annotation: Any) -> Iterator[type[BaseModel]]:
    """The table classes that an annotation allows: one, or each kind of a tagged union."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType):
        for choice in get_args(annotation):
            yield from tables(choice)


def section(name: str, table: type[BaseModel], described: dict[type[BaseModel], str]) -> Iterator[str]:
    """One table: its heading, what it is, its settings, and the tables inside it; of one described before, its place."""
    if table in described:
        yield f"`[{name}]`: as {described[table]}.\n"
        return
    kind = table.model_fields.get("kind")
    tagged = kind is not None and len(get_args(kind.annotation)) == 1
    of_kind = f" with kind = `{kind.default}`" if kind is not None and tagged else ""
    described[table] = f"`[{name}]`{of_kind}"
    yield f"## `[{name}]`{of_kind}"
    yield f"\n{inspect.cleandoc(table.__doc__ or '')}\n"
    inner = {key: list(tables(field.annotation)) for key, field in table.model_fields.items()}
    rows = [
        row(key, field)
        for key, field in table.model_fields.items()
        if not inner[key] and not (tagged and key == "kind")
    ]
    if rows:
        yield "| setting | type | default | |"
        yield "| --- | --- | --- | --- |"
        yield from rows
        yield ""
    for key, choices in inner.items():
        if choices and (len(choices) == 1 or not all(choice in described for choice in choices)):
            for choice in choices:
                yield from section(f"{name}.{key}", choice, described)
        elif choices:
            about = " ".join([table.model_fields[key].description or "", f"The same kinds as `[{name}.source]`."])
            yield f"`[{name}.{key}]`: {about.strip()}\n"


def row(key: str, field: FieldInfo) -> str:
    """One setting as a line of the table."""
    default = "required" if field.is_required() else toml(field.get_default(call_default_factory=True))
    about = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{key}` | {kind_of(field.annotation)}{bounds(field.metadata)} | {default} | {about} |"


def kind_of(annotation: Any) -> str:
    """A type in the words of TOML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(arguments[0]) + bounds(arguments[1:])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(kind_of(choice) for choice in arguments if choice is not type(None))
    if origin is dict:
        return "keys and their values"
    if origin is tuple:
        return f"list of {kind_of(arguments[0])}" if arguments[-1] is ... else f"list of {len(arguments)} numbers"
    return {int: "integer", float: "number", bool: "boolean", str: "string", Path: "path"}[annotation]


def bounds(metadata: Any) -> str:
    """The range of a number, such as `> 0`."""
    said = []
    for rule in metadata:
        match rule:
            case Gt(gt=limit) | Interval(gt=limit, ge=None, lt=None, le=None):
                said.append(f"> {limit}")
            case Ge(ge=limit):
                said.append(f">= {limit}")
            case Lt(lt=limit):
                said.append(f"< {limit}")
            case Le(le=limit):
                said.append(f"<= {limit}")
            case FieldInfo():
                said.append(bounds(rule.metadata).strip())
    return (" " + ", ".join(part for part in said if part)).rstrip()


def toml(value: Any) -> str:
    """A default as it would be written."""
    match value:
        case None:
            return "unset"
        case Path():
            return f'`"{value.as_posix()}"`'
        case tuple():
            return f"`{json.dumps(list(value))}`"
        case float():
            return f"`{value!r}`"
        case _:
            return f"`{json.dumps(value)}`"


def presets() -> Iterator[str]:
    """The named shapes."""
    yield "## Presets\n"
    yield "| preset | |"
    yield "| --- | --- |"
    for name, (about, _) in PRESETS.items():
        yield f"| `{name}` | {about} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
