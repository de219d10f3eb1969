"""Layers of configuration: flat mappings from key to value and origin, laid over one another.

A layer holds leaves only (anything that is not a table with keys in it), so laying one over another is a dictionary
update that minds three things: a table replaces a value and the reverse; an empty table keeps what lies below it; and
where the upper layer changes the `kind` of a tagged table, the lower layers' other keys of that table go, because they
described the old kind. `[schedule] kind = "wsd"` over a file with a cosine schedule starts from wsd's own defaults.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hornbook.config.keys import Key, tagged_tables


@dataclass(frozen=True)
class Origin:
    """Where a value came from: a file and line, `--set`, `override`, `preset NAME` or `default`."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"

    @property
    def is_written(self) -> bool:
        """Whether the user wrote the value itself, in a file or otherwise."""
        return self.line is not None or self in (SET, OVERRIDE)


DEFAULT = Origin("default")
SET = Origin("--set")
OVERRIDE = Origin("override")


@dataclass(frozen=True)
class Entry:
    """A value as TOML or Python gave it, not yet validated, and where it came from."""

    value: object
    origin: Origin
    tables: tuple[Origin, ...] = ()
    """Where each table around it was opened, outermost first."""


Layer = Mapping[Key, Entry]


def flatten(value: object, key: Key, origin_of: Callable[[Key], Origin]) -> dict[Key, Entry]:
    """The leaves of `value`, which stands at `key`."""
    if not isinstance(value, Mapping) or not value:
        tables = tuple(origin_of(key[:depth]) for depth in range(1, len(key)))
        return {key: Entry(value, origin_of(key), tables)} if key else {}
    leaves: dict[Key, Entry] = {}
    for name, inner in value.items():
        leaves |= flatten(inner, (*key, name), origin_of)
    return leaves


def nest(layer: Layer) -> dict[str, object]:
    """The tables that a layer describes, values only."""
    root: dict[str, object] = {}
    for key, entry in layer.items():
        table = root
        for name in key[:-1]:
            inner = table.setdefault(str(name), {})
            assert isinstance(inner, dict), "overlay leaves no value above a table's key"
            table = inner
        table[str(key[-1])] = entry.value
    return root


def overlay(lower: Layer, upper: Layer) -> dict[Key, Entry]:
    """`upper` over `lower`, key by key."""
    replacing = {key for key, entry in upper.items() if entry.value != {}}
    above = {key[:depth] for key in upper for depth in range(1, len(key))}
    kept = {
        key: entry
        for key, entry in lower.items()
        if key not in upper and key not in above and not any(key[:depth] in replacing for depth in range(1, len(key)))
    }
    return {**kept, **{key: entry for key, entry in upper.items() if key in replacing or not _any_below(key, kept)}}


def stack(lower: Layer, upper: Layer) -> dict[Key, Entry]:
    """`upper` over `lower`, where a table whose `kind` changes loses what `lower` said of it."""
    changed = [key for key, default in tagged_tables().items() if _changes_kind((*key, "kind"), default, lower, upper)]
    return overlay({key: entry for key, entry in lower.items() if not any(_is_below(key, t) for t in changed)}, upper)


def without(layer: Layer, tables: Iterable[Key]) -> dict[Key, Entry]:
    """The layer without what it says of these keys and of all that is below them."""
    left_out = list(tables)
    return {key: entry for key, entry in layer.items() if not any(key[: len(each)] == each for each in left_out)}


def kinds(layer: Layer) -> dict[Key, object]:
    """{table key: its `kind`} for the tables that say one."""
    return {key[:-1]: entry.value for key, entry in layer.items() if key[-1] == "kind"}


def _changes_kind(key: Key, default: str | None, lower: Layer, upper: Layer) -> bool:
    before = lower[key].value if key in lower else default
    return key in upper and upper[key].value != before


def _any_below(table: Key, layer: Layer) -> bool:
    return any(_is_below(key, table) for key in layer)


def _is_below(key: Key, table: Key) -> bool:
    return len(key) > len(table) and key[: len(table)] == table
