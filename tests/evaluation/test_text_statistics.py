from hornbook.evaluation.text_statistics import text_statistics, words_of


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
    assert (found.known_share, found.distinct_2) == (12 / 13, 10 / 11)


def test_no_more_is_read_than_it_takes_to_know_all_words():
    documents = iter(["a b", "c", "first", "second"])
    assert text_statistics(["a c"], documents).known_share == 1.0
    assert "second" in documents


def test_of_nothing_there_is_no_share():
    found = text_statistics(["", "one"], ["one"])
    assert (found.known_share, found.distinct_2) == (1.0, None)
    assert text_statistics([], []).known_share is None
