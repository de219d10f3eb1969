"""What is wrong with a configuration, said so that the user can mend it: where, what was found, what was expected.

pydantic finds the faults; this file gives each its file and line, the user's own words for key and value, and the
nearest right key. pydantic's own wording is used only for faults of a type not seen here.
"""

import datetime as dt
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hornbook.config.dump import toml_value
from hornbook.config.expected import choices, expected
from hornbook.config.keys import Key, all_tables, dotted, kind_of, slot_at, table_at, tagged_tables
from hornbook.config.layers import Entry, Layer, Origin, kinds
from hornbook.config.other_names import OURS
from hornbook.config.presets import preset_names
from hornbook.config.read import EXTENDS, error_of
from hornbook.errors import ConfigError

PRESET_KEY: Key = ("model", "preset")
_MAX_DEPTH = 8
_MAX_SHOWN = 60
_WORD = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")


@dataclass(frozen=True)
class Problem:
    """One thing to mend."""

    key: Key
    origin: Origin
    message: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.message}"


def as_error(problems: Iterable[Problem]) -> ConfigError:
    """All problems in one error, in the order of the file."""
    ordered = sorted(problems, key=lambda problem: (problem.origin.source, problem.origin.line or 0))
    return error_of([str(problem) for problem in ordered])


def unfit_values(layer: Layer) -> list[Problem]:
    """Values that no setting takes and that pydantic must not see: dates, infinities, broken text, foreign objects."""
    found = ((key, entry, _why_unfit(entry.value)) for key, entry in layer.items())
    return [Problem(key, entry.origin, f"{_shown(key, entry.value)}: {why}") for key, entry, why in found if why]


def preset_problem(entry: Entry) -> Problem | None:
    """Set when `model.preset` names no preset."""
    names = preset_names()
    if not isinstance(entry.value, str) or entry.value in names:
        return None
    message = f"{_shown(PRESET_KEY, entry.value)}: expected one of {', '.join(names)}{_nearest(entry.value, names)}"
    return Problem(PRESET_KEY, entry.origin, message)


def validation_problems(error: ValidationError, layer: Layer, *, otherwise: Origin) -> list[Problem]:
    """pydantic's findings in our words, one a key; `otherwise` is where a problem lies that no written key shares."""
    problems: dict[Key | str, Problem] = {}
    for details in error.errors(include_url=False):
        for problem in _explain(details, layer, otherwise):
            # A wrong list element is reported once, not again as a list that is too short.
            problems.setdefault(_leaf(problem.key) if problem.key else problem.message, problem)
    return list(problems.values())


def _explain(details: ErrorDetails, layer: Layer, otherwise: Origin) -> Iterator[Problem]:
    key = _key(details["loc"])
    origin = _origin(key, layer, otherwise)
    match details["type"]:
        case "value_error" if _leaf(key) in layer and not isinstance(layer[_leaf(key)].value, dict):
            yield Problem(key, origin, f"{_shown(*_written(key, layer))}: {details['ctx']['error']}")
        case "value_error":
            yield from _combination(details, key, layer, otherwise)
        case "extra_forbidden":
            yield Problem(key, origin, _unknown(key, layer))
        case "missing" if isinstance(key[-1], str):
            yield Problem(key, origin, f"{dotted(key)}: missing; expected {_expected(key, layer)}")
        case "union_tag_not_found":
            yield _no_kind(key, origin, layer)
        case "union_tag_invalid":
            kind_key = (*key, "kind")
            yield Problem(kind_key, _origin(kind_key, layer, otherwise), _wrong_kind(key, layer))
        case _ if _leaf(key) in layer:
            yield Problem(key, origin, _wrong_value(key, layer))
        case _:
            yield Problem(key, origin, f"{dotted(key)}: {details['msg']}")


def _key(location: tuple[int | str, ...]) -> Key:
    """pydantic's location without the kind, which it puts after the name of a tagged table."""
    key: Key = ()
    parts = iter(location)
    for part in parts:
        key = (*key, part)
        if key in tagged_tables():
            next(parts, None)
    return key


def _leaf(key: Key) -> Key:
    """The key of the whole list when `key` is that of an element."""
    return next((key[:depth] for depth, part in enumerate(key) if isinstance(part, int)), key)


def _origin(key: Key, layer: Layer, otherwise: Origin) -> Origin:
    """Where the user wrote the key or opened the table, or else opened the table around it."""
    for depth in range(len(key), 0, -1):
        for other, entry in layer.items():
            if other[:depth] == key[:depth] and entry.origin.is_written:
                return (*entry.tables, entry.origin)[depth - 1]
    return otherwise


def _combination(details: ErrorDetails, table: Key, layer: Layer, otherwise: Origin) -> Iterator[Problem]:
    """A table's own check: its message names keys, and the first of them that the user wrote gives the line."""
    cause = details["ctx"]["error"]
    if isinstance(cause, ValidationError):  # a table that builds another to check itself
        messages = [str(inner.get("ctx", {}).get("error", inner["msg"])) for inner in cause.errors()]
    else:
        messages = [str(cause)]
    for message in messages:
        names = [tuple(word.split(".")) for word in _WORD.findall(message)]
        named = [layer[key].origin for name in names for key in ((*table, *name), name) if key in layer]
        from_preset = PRESET_KEY if any(not origin.is_written for origin in named) else table
        origin = next((origin for origin in named if origin.is_written), _origin(from_preset, layer, otherwise))
        yield Problem((), origin, f"[{dotted(table)}] {message}" if table else message)


def _unknown(key: Key, layer: Layer) -> str:
    """An unknown key or table: our name for it, where it does belong, the nearest right one, or all there are."""
    table = table_at(key[:-1], kinds(layer))
    assert table is not None, "pydantic looks only into tables that exist"
    name, is_table = str(key[-1]), key not in layer or layer[key].value == {}
    what = f"[{dotted(key)}]: unknown table" if is_table else f"{dotted(key)}: unknown key"
    ours = OURS.get(name)
    if ours is not None and ours.startswith(f"{dotted(key[:-1])}."):
        return f"{what}; did you mean {ours}?"
    here = [*table.model_fields] if len(key) > 1 else [*table.model_fields, EXTENDS]
    if slip := difflib.get_close_matches(name, here, n=1, cutoff=0.85):
        return f"{what}; did you mean {_named((*key[:-1], slip[0]), layer)}?"
    if homes := _homes(name, key[:-1]):
        return f"{what}; it belongs to {' or '.join(homes)}" + (f", or did you mean {ours}?" if ours else "")
    if ours is not None:
        return f"{what}; did you mean {ours}?"
    if close := difflib.get_close_matches(name, here, n=1):
        return f"{what}; did you mean {_named((*key[:-1], close[0]), layer)}?"
    inmost_first = sorted(all_tables(), key=lambda pair: -len(pair[0]))  # the outer of two equal names is meant
    everywhere = {field: (*where, field) for where, each in inmost_first for field in each.model_fields}
    if close := difflib.get_close_matches(name, everywhere, n=1, cutoff=0.8):
        return f"{what}; did you mean {_named(everywhere[close[0]], layer)}?"
    return f"{what}; known here: {', '.join(here)}"


def _named(key: Key, layer: Layer) -> str:
    slot = slot_at(key, kinds(layer))
    return f"[{dotted(key)}]" if slot is not None and slot.tables else dotted(key)


def _homes(name: str, table_key: Key) -> list[str]:
    """Tables that do have this key: this table under another kind, else plain tables, else tables of some kind."""
    for depth in range(len(table_key), 0, -1):
        tagged = table_key[:depth]
        if tagged in tagged_tables() and (of_kind := _kinds_with(name, table_key, tagged)):
            return [f"[{dotted(table_key)}] of kind {' or '.join(of_kind)}"]
    homes = [key for key, table in all_tables() if key and name in table.model_fields]
    outer = [
        key for key in dict.fromkeys(homes) if not any(key[:depth] in tagged_tables() for depth in range(1, len(key)))
    ]
    plain = [f"[{dotted(key)}]" for key in outer if key not in tagged_tables()]
    return plain or [f"[{dotted(key)}]{of_kind}" for key in outer for of_kind in _of_kinds(name, key)]


def _kinds_with(name: str, table_key: Key, tagged: Key) -> list[str]:
    """The kinds of the table at `tagged` under which the table at `table_key`, itself or inside it, has this key."""
    tables = ((kind, table_at(table_key, {tagged: kind})) for kind in _kinds(tagged))
    return [kind for kind, table in tables if table is not None and name in table.model_fields]


def _of_kinds(name: str, tagged: Key) -> list[str]:
    of_kind = _kinds_with(name, tagged, tagged)
    return [""] if of_kind == _kinds(tagged) else [f" of kind {kind}" for kind in of_kind]


def _no_kind(table: Key, origin: Origin, layer: Layer) -> Problem:
    """A table of several kinds that does not say which, or says it under a misspelt key."""
    written = {str(key[-1]): key for key in layer if key[:-1] == table}
    for near in difflib.get_close_matches("kind", written, n=1):
        key = written[near]
        return Problem(key, layer[key].origin, f"{dotted(key)}: unknown key; did you mean {dotted(table)}.kind?")
    return Problem(table, origin, f"{dotted(table)}.kind: missing; expected {_kinds_words(table)}")


def _wrong_kind(table: Key, layer: Layer) -> str:
    value = layer[(*table, "kind")].value
    hint = _nearest(value, _kinds(table)) if isinstance(value, str) else ""
    return f"{_shown((*table, 'kind'), value)}: expected {_kinds_words(table)}{hint}"


def _wrong_value(key: Key, layer: Layer) -> str:
    here, value = _written(key, layer)
    if here != _leaf(key):
        return f"{_shown(here, value)}: expected {_expected(here, layer)}"
    owner = table_at(here[:-1], kinds(layer))
    words = choices(owner, str(here[-1])) if owner is not None and isinstance(value, str) else ()
    return f"{_shown(here, value)}: expected {_expected(here, layer)}{_nearest(str(value), words)}"


def _written(key: Key, layer: Layer) -> tuple[Key, object]:
    """Key and value of what was written: of the element if `key` is that of one, else of the whole."""
    leaf = _leaf(key)
    value = layer[leaf].value
    index = key[len(leaf)] if len(key) > len(leaf) else None
    if isinstance(value, list) and isinstance(index, int) and index < len(value):
        return (*leaf, index), value[index]
    return leaf, value


def _expected(key: Key, layer: Layer) -> str:
    leaf = _leaf(key)
    slot, owner = slot_at(leaf, kinds(layer)), table_at(leaf[:-1], kinds(layer))
    if slot is None or owner is None or slot.tables:
        return f"a table: [{dotted(leaf)}]"
    index = key[len(leaf)] if len(key) > len(leaf) else None
    return expected(owner, str(leaf[-1]), index=index if isinstance(index, int) else None)


def _kinds(table: Key) -> list[str]:
    slot = slot_at(table, {})
    return [kind_of(each) for each in slot.tables] if slot is not None else []


def _kinds_words(table: Key) -> str:
    return "one of " + ", ".join(_kinds(table))


def _nearest(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(words), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _shown(key: Key, value: object) -> str:
    try:
        text = "unset" if value is None else toml_value(value)
    except TypeError:
        text = str(value)
    return f"{dotted(key)} = {text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + '...'}"


def _why_unfit(value: object, depth: int = 0) -> str:
    """Why JSON, and so pydantic, cannot be given this value; empty when it can."""
    match value:
        case dt.date() | dt.time():
            return "dates and times are not accepted; write text in quotes"
        case float() if not math.isfinite(value):
            return "expected a finite number"
        case str():
            return "" if _is_unicode(value) else "not valid Unicode"
        case None | bool() | int() | float():
            return ""
        case list() | Mapping() if depth >= _MAX_DEPTH:
            return "nested too deeply"
        case list():
            return next(filter(None, (_why_unfit(each, depth + 1) for each in value)), "")
        case Mapping():
            return next(filter(None, (_why_unfit(each, depth + 1) for each in value.values())), "")
    return f"expected a value that TOML can hold, got {type(value).__name__}"


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
