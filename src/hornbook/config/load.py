"""From TOML, `--set` and Python overrides to a validated Config, with the origin of every value.

Layers, lowest first; see `layers` for how one lies over another:

1. the defaults of the tables;
2. the shape that `model.preset` names, whichever layer names it, or all that follows from `model.depth`;
3. the files that the top-level `extends = "other.toml"` (or a list of files) names, relative to the file that says it;
4. the file;
5. `--set KEY=VALUE`, VALUE in TOML's grammar;
6. a dictionary from Python.

Relative paths in a file (`data.path`, `run.out_dir`, ...) are relative to the working directory, not to the file, so
that a file and a command line mean the same by a path.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from hornbook.config.keys import UNSET, Key, dotted, slot_at, tagged_tables
from hornbook.config.layers import DEFAULT, Entry, Layer, Origin, kinds, nest, stack, without
from hornbook.config.presets import preset_settings
from hornbook.config.problems import PRESET_KEY, as_error, preset_problem, unfit_values, validation_problems
from hornbook.config.read import read_assignments, read_file, read_mapping
from hornbook.config.run import Config
from hornbook.config.table import Table


@dataclass(frozen=True)
class LoadedConfig:
    """A configuration, and for every key in it, dotted, where its value came from."""

    config: Config
    origins: Mapping[str, Origin]


def load_config(
    path: Path | str | None,
    overrides: Sequence[str] = (),
    *,
    values: Mapping[str, object] | None = None,
    leaving_out: Iterable[str] = (),
) -> LoadedConfig:
    """The configuration that a file, `--set` arguments and a dictionary ({"train.steps": 100}) amount to.

    Without a file, the defaults. None in `values` unsets a key, as `"none"` does in a file. `leaving_out` are keys of
    the file, or its tables, that do not count.

    Raises:
        ConfigError: listing all that is wrong, each with file, line, key, what was found and what was expected.
    """
    file = without(written_layer(path), [tuple(key.split(".")) for key in leaving_out])
    written = stack(stack(file, read_assignments(overrides)), read_mapping(values or {}))
    return resolve(written, otherwise=Origin("configuration" if path is None else str(path)))


def written_layer(path: Path | str | None, overrides: Sequence[str] = ()) -> Layer:
    """What a file and `--set` arguments say, not yet validated.

    Raises:
        ConfigError: if the file cannot be read or is not TOML, or an argument is not KEY=VALUE.
    """
    return stack(read_file(Path(path)) if path is not None else {}, read_assignments(overrides))


def resolve(written: Layer, *, otherwise: Origin) -> LoadedConfig:
    """The configuration that a layer amounts to; `otherwise` is where a fault lies that no written key shares.

    Raises:
        ConfigError: listing all that is wrong.
    """
    layer = _settled(stack(_preset_layer(written), written))
    config = _validated(layer, otherwise=otherwise)
    return LoadedConfig(config, {dotted(key): _origin(key, layer) for key, _ in _leaves((), config)})


def leaf_values(config: Config) -> dict[str, object]:
    """{dotted key: value} of every setting, in the order of the tables; an unset table is one setting."""
    return {dotted(key): value for key, value in _leaves((), config)}


def _preset_layer(layer: Layer) -> Layer:
    written = {key: entry.value for key, entry in layer.items()}
    name = written.get(PRESET_KEY)
    settings = preset_settings(name, written.get(("model", "depth")), written)
    return {key: Entry(value, Origin(f"preset {name}")) for key, value in settings.items()}


def _settled(layer: Layer) -> Layer:
    """The layer with `"none"` read as unset, and with the default `kind` in tagged tables that leave it out."""
    settled: dict[Key, Entry] = {}
    for key, entry in layer.items():
        slot = slot_at(key, kinds(layer)) if entry.value == UNSET else None
        settled[key] = replace(entry, value=None) if slot is not None and slot.can_unset else entry
    for table, kind in tagged_tables().items():
        mentioned = any(len(key) > len(table) and key[: len(table)] == table for key in layer)
        if mentioned and kind is not None:
            settled.setdefault((*table, "kind"), Entry(kind, DEFAULT))
    return settled


def _validated(layer: Layer, *, otherwise: Origin) -> Config:
    problems = unfit_values(layer)
    if PRESET_KEY in layer and (problem := preset_problem(layer[PRESET_KEY])):
        problems.append(problem)
    unfit = {problem.key for problem in problems}
    fit = {key: entry for key, entry in layer.items() if key not in unfit}
    try:
        config = Config.model_validate_json(json.dumps(nest(fit)))
    except ValidationError as error:
        # A key taken out because its value is unfit may now be found missing: it has been reported.
        found = validation_problems(error, fit, otherwise=otherwise)
        problems += [problem for problem in found if problem.key not in unfit]
    if problems:
        raise as_error(problems)
    return config


def _origin(key: Key, layer: Layer) -> Origin:
    if key in layer:
        return layer[key].origin
    # A setting whose value is a table of keys, such as sweep.grid: where the first of them stands.
    below = (entry for other, entry in layer.items() if other[: len(key)] == key)
    return next((entry.tables[len(key) - 1] for entry in below), DEFAULT)


def _leaves(key: Key, table: Table) -> Iterator[tuple[Key, object]]:
    for name in type(table).model_fields:
        value = getattr(table, name)
        if isinstance(value, Table):
            yield from _leaves((*key, name), value)
        else:
            yield (*key, name), value
