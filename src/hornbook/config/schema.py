"""The JSON Schema of a configuration file, for editors that complete, describe and check TOML.

pydantic writes it; three things are then made true of the *file* rather than of the table: null, which TOML lacks,
becomes the word that unsets; `extends` and the names of presets, which only loading knows, are added; nothing is
required, because a key may come from another layer.
"""

from hornbook.config.keys import UNSET, all_tables, slot
from hornbook.config.presets import preset_names
from hornbook.config.read import EXTENDS
from hornbook.config.run import Config

_EXTENDS_SCHEMA = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    "description": "Another TOML file, or a list of them, relative to this one, that this file is laid over.",
}


def json_schema() -> dict[str, object]:
    """The schema, JSON Schema 2020-12, with descriptions, ranges and choices."""
    schema = Config.model_json_schema()
    tables = schema["$defs"]
    for key, table in all_tables():
        here = schema if not key else tables[table.__name__]
        here.pop("required", None)
        here["properties"] = {
            name: _in_toml(field, can_unset=slot(table, name).can_unset) for name, field in here["properties"].items()
        }
    tables["ModelTable"]["properties"]["preset"]["enum"] = preset_names()
    schema["properties"][EXTENDS] = _EXTENDS_SCHEMA
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Hornbook configuration"}


def _in_toml(field: dict[str, object], *, can_unset: bool) -> dict[str, object]:
    """The schema of a field with null taken out, or put into TOML's words where that unsets something."""
    field = _without_null(field)
    alternatives = field.get("anyOf")
    if isinstance(alternatives, list):
        kept = [each for each in alternatives if each != {"type": "null"}]
        field["anyOf"] = [*kept, {"const": UNSET}] if can_unset else kept
    return field


def _without_null(values: dict[str, object]) -> dict[str, object]:
    kept = {name: value for name, value in values.items() if value is not None}
    return {name: _without_null(value) if isinstance(value, dict) else value for name, value in kept.items()}
