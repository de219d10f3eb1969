"""What a field expects, in words, from its JSON schema: "an integer of at least 1", "one of adamw, adam"."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from hornbook.config.keys import UNSET, slot
from hornbook.config.table import Table

Schema = Mapping[str, Any]


def expected(owner: type[Table], name: str, *, index: int | None = None) -> str:
    """What may stand in the field `name` of `owner`, or in element `index` of it."""
    schema = _schema(owner)["properties"][name]
    if index is not None:
        return _words(_element(schema, index))
    unset = f', or "{UNSET}" to unset it' if slot(owner, name).can_unset else ""
    return _words(schema) + unset


def choices(owner: type[Table], name: str) -> tuple[str, ...]:
    """The words that the field takes, or nothing when it is no choice among words."""
    schema = _schema(owner)["properties"][name]
    values = (value for part in schema.get("anyOf", [schema]) for value in part.get("enum", ()))
    return tuple(str(value) for value in values)


@cache
def _schema(owner: type[Table]) -> Schema:
    return owner.model_json_schema()


def _element(schema: Schema, index: int) -> Schema:
    fixed = schema.get("prefixItems", ())
    if index < len(fixed):
        return dict(fixed[index])
    return dict(schema.get("items", {}))


def _words(schema: Schema) -> str:
    match schema:
        case {"anyOf": alternatives}:
            return " or ".join(_words(each) for each in alternatives if each.get("type") != "null")
        case {"enum": values}:
            return "one of " + ", ".join(map(str, values))
        case {"const": value}:
            return str(value)
        case {"type": "integer"}:
            return "an integer" + _bounds(schema, step=1)
        case {"type": "number"}:
            return "a number" + _bounds(schema, step=0)
        case {"type": "boolean"}:
            return "true or false"
        case {"type": "array"}:
            return _list_words(schema)
        case {"type": "string", "pattern": pattern}:
            return str(schema.get("description", f"a string that matches {pattern}"))
        case {"type": "string"}:
            return "a path, as a string" if schema.get("format") == "path" else "a string"
    return "a table"


def _bounds(schema: Schema, *, step: int) -> str:
    """The range in words; integers (step 1) turn `more than 0` into `at least 1`."""
    lower, over = schema.get("minimum"), schema.get("exclusiveMinimum")
    upper, under = schema.get("maximum"), schema.get("exclusiveMaximum")
    if step and over is not None:
        lower, over = over + step, None
    bounds = [
        f"of at least {lower:g}" if lower is not None else "",
        f"greater than {over:g}" if over is not None else "",
        f"at most {upper:g}" if upper is not None else "",
        f"less than {under:g}" if under is not None else "",
    ]
    present = " and ".join(bound for bound in bounds if bound)
    return f" {present}" if present else ""


def _list_words(schema: Schema) -> str:
    if fixed := schema.get("prefixItems"):
        return f"a list of {len(fixed)} values, each {_words(fixed[0])}"
    size = " of at least one value" if schema.get("minItems") else ""
    return f"a list{size}, each {_words(schema.get('items', {}))}"
