"""Stop strings do not depend on how the text was cut."""

from hypothesis import given
from hypothesis import strategies as st

from hornbook.generation.stops import StopScanner


def run(stops, pieces):
    scanner = StopScanner(stops)
    shown = [scanner.push(piece) for piece in pieces]
    return shown, scanner.finish(), scanner.stopped


def by_characters(stops, text):
    """The definition: read on until some stop string is complete."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


def test_holds_back_a_possible_beginning():
    assert run(["END"], ["the E", "N", "ding"]) == (["the ", "", "ENding"], "", False)
    assert run(["END"], ["the E", "N", "D of"]) == (["the ", "", ""], "", True)


def test_a_beginning_at_the_very_end_is_shown_at_last():
    assert run(["END"], ["the EN"]) == (["the "], "EN", False)


def test_the_first_to_be_complete_wins_whatever_the_pieces():
    for pieces in (["abc"], ["a", "b", "c"], ["ab", "c"]):
        shown, rest, stopped = run(["abc", "b"], pieces)
        assert ("".join(shown) + rest, stopped) == ("a", True)


def test_nothing_after_the_stop():
    assert run(["."], ["a.b", "c"]) == (["a", ""], "", True)


def test_no_stops_no_delay():
    assert run([], ["a", "b"]) == (["a", "b"], "", False)


letters = st.text("ab", min_size=1, max_size=4)


@given(stops=st.lists(letters, max_size=3), pieces=st.lists(letters, max_size=8))
def test_equals_the_definition_and_never_shows_too_much(stops, pieces):
    shown, rest, stopped = run(stops, pieces)
    text, expected_stop = by_characters(stops, "".join(pieces))
    assert ("".join(shown) + rest, stopped) == (text, expected_stop)
