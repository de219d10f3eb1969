"""The keys that exist: Config walked as data, so that messages can name, describe and compare keys.

A key is a tuple of names: ("train", "steps") is `train.steps`. A *tagged* table is one of several table types told
apart by its `kind`; which keys it has therefore depends on the values, and callers pass `kinds`: {table key: its kind}.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin

from hornbook.config.run import Config
from hornbook.config.table import Table

Key = tuple[str | int, ...]
UNSET = "none"
"""How a TOML file, which has no null, unsets a number, a choice or a table that may be unset."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """What may stand at one key: a table, one of several tagged tables, or (no tables) a value."""

    tables: tuple[type[Table], ...]
    default_kind: str | None
    """Of a tagged table that has a default."""
    can_unset: bool
    """Whether `"none"` unsets it: it may be unset and `"none"` is not itself a value (as it is for text and paths)."""

    def table(self, kind: object) -> type[Table] | None:
        """The table type here, given the `kind` in force, or None when there is none of that kind."""
        if len(self.tables) < 2:
            return self.tables[0] if self.tables else None
        wanted = self.default_kind if kind is None else kind
        return next((table for table in self.tables if kind_of(table) == wanted), None)


def dotted(key: Key) -> str:
    """The key as the user writes it; list elements as `key[0]`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def kind_of(table: type[Table]) -> str:
    """The `kind` that selects this member of a tagged table."""
    return str(table.model_fields["kind"].default)


@cache
def slot(owner: type[Table], name: str) -> Slot:
    """What may stand at the field `name` of `owner`."""
    field = owner.model_fields[name]
    alternatives = tuple(_alternatives(field.annotation))
    tables = tuple(each for each in alternatives if isinstance(each, type) and issubclass(each, Table))
    default = field.get_default()
    return Slot(
        tables=tables,
        default_kind=str(default.kind) if len(tables) > 1 and default is not None else None,
        can_unset=NoneType in alternatives and not {str, Path}.intersection(alternatives),
    )


def table_at(key: Key, kinds: Mapping[Key, object]) -> type[Table] | None:
    """The table type at `key`, or None when no table can stand there."""
    table: type[Table] = Config
    for depth, name in enumerate(key):
        if name not in table.model_fields:
            return None
        inner = slot(table, str(name)).table(kinds.get(key[: depth + 1]))
        if inner is None:
            return None
        table = inner
    return table


def slot_at(key: Key, kinds: Mapping[Key, object]) -> Slot | None:
    """What may stand at `key`, or None when there is no such key."""
    owner = table_at(key[:-1], kinds)
    return slot(owner, str(key[-1])) if owner is not None and key[-1] in owner.model_fields else None


@cache
def all_tables() -> tuple[tuple[Key, type[Table]], ...]:
    """Every table that a file may hold, of every kind, in file order; the first is the file itself."""
    return tuple(_tables_below((), Config))


@cache
def tagged_tables() -> Mapping[Key, str | None]:
    """Keys of the tables that come in several kinds, each with the kind that it has by default."""
    found: dict[Key, str | None] = {}
    for key, table in all_tables():
        for name in table.model_fields:
            here = slot(table, name)
            if len(here.tables) > 1:
                found[(*key, name)] = here.default_kind
    return found


def _tables_below(key: Key, table: type[Table]) -> Iterator[tuple[Key, type[Table]]]:
    yield key, table
    for name in table.model_fields:
        for inner in slot(table, name).tables:
            yield from _tables_below((*key, name), inner)


def _alternatives(annotation: object) -> Iterator[object]:
    """The members of a type once unions and Annotated are taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _alternatives(member)
    else:
        yield annotation
