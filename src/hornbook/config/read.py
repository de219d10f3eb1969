"""What the user wrote, as layers: TOML files with those they extend, `--set KEY=VALUE`, a dictionary from Python.

Nothing here knows which keys exist; `load` validates. Paths in `extends` are relative to the file that says them; every
other relative path in a file is left as it is, relative to the working directory.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from hornbook.config.keys import Key, dotted
from hornbook.config.layers import OVERRIDE, SET, Entry, Layer, Origin, flatten, overlay, stack
from hornbook.config.positions import key_lines
from hornbook.errors import ConfigError

EXTENDS = "extends"
_DOTTED_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_TOML_POSITION = re.compile(r"(?P<what>.*) \(at (line (?P<line>\d+), column (?P<column>\d+)|end of document)\)")


def error_of(problems: Sequence[str]) -> ConfigError:
    """One error that lists all problems."""
    if len(problems) == 1:
        return ConfigError(problems[0])
    return ConfigError("\n  ".join([f"{len(problems)} problems in the configuration:", *problems]))


def read_file(path: Path, *, extended_by: Sequence[Path] = ()) -> Layer:
    """The file over the files that its top-level `extends` names, in their order.

    Raises:
        ConfigError: if a file cannot be read or is not TOML, or if files extend each other in a circle.
    """
    if path.resolve() in {each.resolve() for each in extended_by}:
        chain = " -> ".join(map(str, (*extended_by, path)))
        raise ConfigError(f"{extended_by[-1]}: extends itself: {chain}; take one of these links out")
    own = dict(_parse_file(path))
    extends = own.pop((EXTENDS,), None)
    layer: Layer = {}
    for name in _extended_names(extends):
        lower = path.parent / name
        if extends is not None and not lower.is_file():
            raise ConfigError(f"{extends.origin}: {EXTENDS}: {lower} is no file; the path is relative to this file")
        layer = stack(layer, read_file(lower, extended_by=(*extended_by, path)))
    return stack(layer, own)


def read_assignments(assignments: Sequence[str]) -> Layer:
    """`--set` arguments, KEY=VALUE with VALUE in TOML's grammar, as one layer; the later of two for one key wins.

    Raises:
        ConfigError: listing every argument that is not of that form.
    """
    layer: Layer = {}
    problems: list[str] = []
    for assignment in assignments:
        try:
            layer = overlay(layer, _parse_assignment(assignment))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise error_of(problems)
    return layer


def read_mapping(values: Mapping[str, object]) -> Layer:
    """A dictionary from Python as a layer: dotted keys, nested dictionaries, or both.

    Raises:
        ConfigError: if a key is not a dotted name.
    """
    layer: Layer = {}
    for name, value in values.items():
        key = _parse_key(name, where="override")
        layer = overlay(layer, flatten(_plain(value), key, lambda _: OVERRIDE))
    return layer


def _parse_file(path: Path) -> Layer:
    text = _read_text(path)
    try:
        values = tomllib.loads(text)
        lines = key_lines(text.replace("\r\n", "\n"))
        return flatten(values, (), lambda key: Origin(str(path), lines[key]))
    except RecursionError:
        raise ConfigError(f"{path}: values are nested too deeply; a configuration needs three levels") from None
    except ValueError as error:  # TOMLDecodeError, or Python's refusal of an integer of thousands of digits
        raise ConfigError(_syntax_message(path, str(error), text)) from None


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a TOML configuration") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a directory; give the path of a TOML configuration file in it") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _syntax_message(path: Path, message: str, text: str) -> str:
    match = _TOML_POSITION.fullmatch(message)
    if match is None:
        return f"{path}: not valid TOML: {message}"
    line = match["line"] or str(text.rstrip().count("\n") + 1)
    position = f"{path}:{line}:{match['column']}" if match["column"] else f"{path}:{line}"
    return f"{position}: not valid TOML: {match['what']}"


def _extended_names(entry: Entry | None) -> list[str]:
    if entry is None:
        return []
    names = [entry.value] if isinstance(entry.value, str) else entry.value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{entry.origin}: {EXTENDS}: expected the path of a TOML file, or a list of such paths")
    return names


def _parse_assignment(assignment: str) -> Layer:
    name, equals, text = assignment.partition("=")
    assignment = assignment.replace("\n", "\\n")  # messages keep to one line
    if not equals:
        raise ConfigError(f"--set {assignment}: expected KEY=VALUE, as in --set train.steps=100")
    key = _parse_key(name.strip(), where=f"--set {assignment}")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        parsed = {}
    if parsed.keys() != {"value"}:  # nothing, or a value that smuggles in more keys behind a line break
        raise ConfigError(_not_a_value(dotted(key), text.strip()))
    return flatten(parsed["value"], key, lambda _: SET)


def _not_a_value(key: str, text: str) -> str:
    word = text.lower()
    if word in ("true", "false"):
        hint = f"TOML writes it --set {key}={word}"
    elif text and not set(text) & set("\"'[]{}\n"):
        hint = f"strings need quotes: --set '{key}=\"{text}\"'"
    else:
        hint = f"""it takes one value, with strings in quotes, as in --set '{key}="text"'"""
    shown = text.replace("\n", "\\n")
    return f"--set {key}={shown}: not a TOML value; {hint}"


def _parse_key(name: object, *, where: str) -> Key:
    if not isinstance(name, str) or not _DOTTED_KEY.fullmatch(name):
        raise ConfigError(f"{where}: {name!r} is not a key; expected a dotted name such as train.steps")
    if name == EXTENDS:
        raise ConfigError(f"{where}: {EXTENDS} can stand only in a file")
    return tuple(name.split("."))


def _plain(value: object) -> object:
    """Python's paths and tuples as the strings and lists that a TOML file would have."""
    match value:
        case Path():
            return str(value)
        case list() | tuple():
            return [_plain(each) for each in value]
        case Mapping():
            return {str(name): _plain(inner) for name, inner in value.items()}
    return value
