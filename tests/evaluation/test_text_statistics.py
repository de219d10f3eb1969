import json
import runpy
import sys
from pathlib import Path

import pytest

from hornbook.evaluation.text_statistics import text_statistics, words_of
from tiny_project import load, make_project

SCRIPT = Path(__file__).parents[2] / "scripts" / "measure_samples.py"


def test_words_are_letters_with_apostrophes_in_lower_case():
    assert words_of("Tim didn't say “It\u2019s 3 o'clock”, élan_vital!") == [
        *("tim", "didn't", "say", "it's", "o'clock", "élan", "vital"),
    ]


def test_counts_by_hand():
    training = ["One two three four five six seven eight nine.", "Ten eleven."]
    texts = ["two three four five six seven eight nine", "one two zwei one two"]
    found = text_statistics(texts, iter(training))
    assert (found.texts, found.words, found.known_words) == (2, 13, 12)
    assert (found.bigrams, found.distinct_bigrams) == (11, 10)  # "one two" stands twice
    assert (found.eight_grams, found.memorised_eight_grams) == (1, 1)
    assert (found.known_share, found.distinct_2, found.memorised_share) == (12 / 13, 10 / 11, 1.0)


def test_a_passage_must_stand_within_one_document():
    found = text_statistics(["a b c d e f g h"], ["a b c d", "e f g h"])
    assert (found.known_share, found.memorised_share) == (1.0, 0.0)


def test_of_nothing_there_is_no_share():
    found = text_statistics(["", "one"], ["one"])
    assert (found.known_share, found.distinct_2, found.memorised_share) == (1.0, None, None)
    assert text_statistics([], []).known_share is None


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Runs the script on a run of a tiny project and samples of this content; gives its exit status."""
    config = load(make_project(tmp_path))
    run, samples = tmp_path / "run", tmp_path / "samples.jsonl"
    run.mkdir()
    (run / "config.toml").write_text(f'[data]\npath = "{config.data.path.as_posix()}"\n')
    monkeypatch.setattr(sys, "argv", ["measure_samples.py", str(run), str(samples)])

    def measured(content):
        samples.write_text(content)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return ended.value.code

    return measured


def test_the_script_reads_what_generate_prints(measure, capsys):
    events = [{"event": "generate", "output": "the small cat quark"}, {"event": "notice"}]
    assert measure("".join(json.dumps(event) + "\n" for event in events)) == 0
    said = capsys.readouterr().out
    assert "words                             4\n" in said
    assert "vocabulary  75.0 %" in said
    assert "none of 0" in said


@pytest.mark.parametrize("content", ["", "Once upon a time", "[1]", '{"event": "generate"}', '{"event": "notice"}'])
def test_what_holds_no_samples_is_one_line(measure, capsys, content):
    assert measure(content) == 2
    said = capsys.readouterr().err
    assert "expected the JSON lines of generated texts" in said
    assert said.count("\n") == 1
