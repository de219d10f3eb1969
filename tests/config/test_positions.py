import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.config.positions import key_lines

SHAPES = {
    "table": ("[a]\nb = 1\n\n[a.c]\nd = 2\n", {("a",): 1, ("a", "b"): 2, ("a", "c"): 4, ("a", "c", "d"): 5}),
    "dotted key": ("# c\na.b.c = 1 # x\n", {("a",): 2, ("a", "b"): 2, ("a", "b", "c"): 2}),
    "spaces around dots": ("[ a . b ]\n c . d = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 2}),
    "inline table": ("a = { b = 1, c = { d = 2 } }\ne = {}", {("a", "c", "d"): 1, ("e",): 2}),
    "inline dotted": ("a = {b.c = 1}", {("a", "b", "c"): 1}),
    "array of tables": (
        "[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 1",
        {("a", 0, "b"): 2, ("a", 1, "b"): 4, ("a", 1, "c"): 5},
    ),
    "nested array of tables": (
        "[[a]]\n[[a.b]]\nc=1\n[[a.b]]\nc=2\n[[a]]\n[[a.b]]\nc=3",
        {("a", 0, "b", 1, "c"): 5, ("a", 1, "b", 0, "c"): 8},
    ),
    "multi-line string": ('a = """\n[x]\nb = 2\n"""\nc = 1', {("a",): 1, ("c",): 5}),
    "quotes that end a multi-line string": ("a = \"\"\"x\"\"\"\"\"\nb = '''y'''''\nc = 1", {("b",): 2, ("c",): 3}),
    "escaped quotes": ('a = """\\"""\n"""\nb = "\\"#"\nc = \'\\\'\nd = 1', {("b",): 3, ("c",): 4, ("d",): 5}),
    "multi-line array": ('a = [ # [\n 1, [2,\n 3], "]",\n]\nb = 1', {("a", 1, 1): 3, ("a", 2): 3, ("b",): 5}),
    "tables in an array": ("a = [\n{b = 1},\n{b = 2},\n]", {("a", 0, "b"): 2, ("a", 1, "b"): 3}),
    "quoted keys": ('"a.b" = 1\n[\'c]d\'."e\\"f"]\n"" = 1', {("a.b",): 1, ("c]d", 'e"f'): 2, ("c]d", 'e"f', ""): 3}),
    "dates": ("a = 1979-05-27 07:32:00\nb = 07:32:00", {("a",): 1, ("b",): 2}),
    "windows line ends": ("a = 1\r\n\r\n[b]\r\nc = 1\r\n", {("b",): 3, ("b", "c"): 4}),
    "empty": ("", {}),
    "comments only": ("# a = 1\n\t# [b]", {}),
    "no final line end": ("a = [1]", {("a", 0): 1}),
}


@pytest.mark.parametrize(("text", "expected"), SHAPES.values(), ids=SHAPES)
def test_lines_of_a_shape(text, expected):
    lines = key_lines(text)
    assert {key: lines[key] for key in expected} == expected
    assert lines.keys() == paths(tomllib.loads(text))


def paths(value, key=()):
    """Every key of a parsed document, tables and array elements included."""
    found = {key} if key else set()
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found.union(*(paths(each, (*key, name)) for name, each in inner))


names = st.one_of(st.text("ab-_1", min_size=1, max_size=3), st.text(max_size=3).filter(lambda s: s.isprintable()))
scalars = st.one_of(
    st.integers(),
    st.booleans(),
    st.floats(),
    st.text("ab\"'\\#[]{}=,.\n", max_size=8),
    st.dates(),
    st.times(),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)


def quoted(text, draw):
    literal = "'" not in text and "\n" not in text and text.isprintable()
    if literal and draw(st.booleans()):
        return f"'{text}'"
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text) + '"'


def written_key(name, draw):
    bare = name != "" and name.isascii() and all(c.isalnum() or c in "-_" for c in name)
    return name if bare and draw(st.booleans()) else quoted(name, draw)


def written(value, draw):
    """A value in one of the ways that TOML has for it."""
    match value:
        case dict():
            return "{" + ", ".join(f"{written_key(k, draw)} = {written(v, draw)}" for k, v in value.items()) + "}"
        case list():
            gap = draw(st.sampled_from(["", " ", "\n", " # ]\n"]))
            return "[" + gap + f",{gap}".join(written(each, draw) for each in value) + gap + "]"
        case bool():
            return str(value).lower()
        case str():
            plain = not set(value) & set("\"\\'")
            return f'"""\n{value}"""' if plain and draw(st.booleans()) else quoted(value, draw)
        case int() | float():
            return repr(value)
    return value.isoformat()


@st.composite
def documents(draw):
    """TOML text made of tables, dotted keys, inline tables and arrays of tables, with lines between them."""
    text = ""
    for table in [None, *draw(st.lists(names, max_size=3, unique=True))]:
        if table is not None:
            double = draw(st.booleans())
            text += f"[[{written_key(table, draw)}]]\n" if double else f"[{written_key(table, draw)}]\n"
        for name, value in draw(st.dictionaries(names, values, max_size=4)).items():
            dot = f".{written_key(draw(names), draw)}" if draw(st.booleans()) else ""
            text += draw(st.sampled_from(["", "\n", "# x = 1\n", "  "]))
            text += f"{written_key(name, draw)}{dot} = {written(value, draw)}\n"
    return text


@settings(max_examples=60, deadline=None)
@given(documents())
def test_each_key_is_found_on_the_line_that_holds_it(text):
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # a table and a root key of one name
    lines = key_lines(text)
    assert lines.keys() == paths(parsed)
    for key, line in lines.items():
        if isinstance(key[-1], str) and key[-1].isascii() and key[-1].isalnum():
            assert key[-1] in text.split("\n")[line - 1]


def test_every_shipped_configuration_is_located():
    for path in (Path(__file__).parents[2] / "configs").glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        assert key_lines(text).keys() == paths(tomllib.loads(text))
