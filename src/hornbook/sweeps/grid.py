"""The points of a sweep: what `[sweep]` amounts to, in order and by name.

A point's *index* is its place, 0 to n - 1. Its *id* is a hash of its settings, so it stays when points are added, taken
out or put in another order, and names the run's directory.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hornbook.config.dump import toml_value
from hornbook.config.sweep import SweepConfig, flat
from hornbook.errors import ConfigError
from hornbook.storage.digest import bytes_sha256
from hornbook.sweeps.search import drawn_points


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of a sweep."""

    index: int
    id: str
    """Eight hexadecimal digits."""
    settings: Mapping[str, object]
    """{dotted key: value} of what this run does differently."""

    @property
    def label(self) -> str:
        """The settings in one line, as TOML."""
        return " ".join(f"{key}={toml_value(value)}" for key, value in self.settings.items())

    def __str__(self) -> str:
        return f"point {self.index} ({self.label})"


def points(sweep: SweepConfig) -> tuple[Point, ...]:
    """Every point: grid, zip, list and search with one another, the last one varying fastest.

    Raises:
        ConfigError: if two points are the same.
    """
    found = []
    for index, chosen in enumerate(itertools.product(*_axes(sweep))):
        settings = {key: value for part in chosen for key, value in part.items()}
        found.append(Point(index=index, id=point_id(settings), settings=settings))
    first: dict[str, Point] = {}
    for point in found:
        same = first.setdefault(point.id, point)
        if same is not point:
            raise ConfigError(
                f"[sweep] points {same.index} and {point.index} are the same: {point.label}; take one of them out "
                "(drawn integers and choices may meet: draw fewer, or put them into grid)"
            )
    return tuple(found)


def point_id(settings: Mapping[str, object]) -> str:
    """The hash of settings; neither their order nor the form of a number (1, 1.0) matters."""
    content = {key: _canonical(value) for key, value in settings.items()}
    return bytes_sha256(json.dumps(content, sort_keys=True).encode())[:8]


def chosen_point(all_points: Sequence[Point], index: int) -> Point:
    """The point of an index.

    Raises:
        ConfigError: if there is none; the message names how many there are.
    """
    if not 0 <= index < len(all_points):
        raise ConfigError(
            f"--index {index}: the sweep has {len(all_points)} points; expected 0 to {len(all_points) - 1}"
        )
    return all_points[index]


def _axes(sweep: SweepConfig) -> list[list[dict[str, object]]]:
    """What there is to choose from, one list for each thing that varies by itself."""
    axes = [[_assigned({key: value}) for value in _values(values)] for key, values in sweep.grid.items()]
    if sweep.zip:
        rows = zip(*(_values(values) for values in sweep.zip.values()), strict=True)
        axes.append([_assigned(dict(zip(sweep.zip, row, strict=True))) for row in rows])
    if sweep.list:
        axes.append([_assigned(point) for point in sweep.list])
    if sweep.search is not None:
        axes.append([_assigned(point) for point in drawn_points(sweep.search)])
    return axes


def _values(values: object) -> list[object]:
    assert isinstance(values, list), "checked with the configuration"
    return values


def _assigned(point: Mapping[str, object]) -> dict[str, object]:
    """The point with tables, such as optim = {kind = "muon"}, taken apart."""
    assigned: dict[str, object] = {}
    for key, value in point.items():
        assigned |= (
            {f"{key}.{name}": inner for name, inner in flat(value).items()} if _is_table(value) else {key: value}
        )
    return assigned


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _canonical(value: object) -> object:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list() | tuple():
            return [_canonical(each) for each in value]
        case Mapping():
            return {str(name): _canonical(inner) for name, inner in value.items()}
    return value
