"""Where each key of a TOML text stands: `tomllib` gives values without lines, and an error needs its line.

The scanner follows TOML's grammar only as far as keys need it, and trusts that `tomllib` has already accepted the text.
Elements of arrays, and of arrays of tables, are numbered: ("sources", 1, "path").
"""

import re
import tomllib
from bisect import bisect_right

from hornbook.config.keys import Key

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# A closing triple quote may follow one or two quotes that belong to the string, hence {3,5}.
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:[^"\\]|\\.)*"' r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]*")


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, on which each key, table and array element of a valid TOML text first stands."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Key, int] = {}
        self.last_index: dict[Key, int] = {}  # of each array of tables, the element that headers now refer to
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def scan(self) -> dict[Key, int]:
        table: Key = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self.lines

    def _header(self) -> Key:
        line = self._line()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        names = self._dotted_key()
        self.at = self.text.index("]", self.at) + (2 if is_array else 1)
        if not is_array:
            return self._enter((), names, line)
        array = (*self._enter((), names[:-1], line), names[-1])
        self.last_index[array] = self.last_index.get(array, -1) + 1
        element = (*array, self.last_index[array])
        self.lines.setdefault(array, line)
        self.lines[element] = line
        return element

    def _pair(self, table: Key) -> None:
        line = self._line()
        key = self._enter(table, self._dotted_key(), line)
        self.at = self.text.index("=", self.at) + 1
        self._skip(_SPACE)
        self._value(key)

    def _enter(self, table: Key, names: list[str], line: int) -> Key:
        """The key reached from `table` by `names`, each step noted; an array of tables means its last element."""
        for name in names:
            table = (*table, name)
            self.lines.setdefault(table, line)
            if table in self.last_index:
                table = (*table, self.last_index[table])
        return table

    def _dotted_key(self) -> list[str]:
        names: list[str] = []
        while True:
            self._skip(_SPACE)
            if self.text[self.at] in "\"'":
                names.append(str(tomllib.loads(f"name = {self._skip(_STRING)}")["name"]))
            else:
                names.append(self._skip(_BARE_KEY))
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return names
            self.at += 1

    def _value(self, key: Key) -> None:
        match self.text[self.at]:
            case '"' | "'":
                self._skip(_STRING)
            case "[":
                self._array(key)
            case "{":
                self._inline_table(key)
            case _:
                self._skip(_SCALAR)

    def _array(self, key: Key) -> None:
        self.at += 1
        index = 0
        while not self._ends("]"):
            self.lines[(*key, index)] = self._line()
            self._value((*key, index))
            index += 1

    def _inline_table(self, key: Key) -> None:
        self.at += 1
        while not self._ends("}"):
            self._pair(key)

    def _ends(self, closing: str) -> bool:
        """Step over the comma between elements; at the closing bracket, step over that and say so."""
        self._skip(_BLANK)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(_BLANK)
        if self.text[self.at] != closing:
            return False
        self.at += 1
        return True

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match is not None, f"not TOML at character {self.at}"
        self.at = match.end()
        return match.group()

    def _line(self) -> int:
        return bisect_right(self.newlines, self.at - 1) + 1
