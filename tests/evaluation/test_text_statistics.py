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
    assert (found.eight_grams, found.memorised_eight_grams) == (1, 1)
    assert (found.known_share, found.distinct_2, found.memorised_share) == (12 / 13, 10 / 11, 1.0)


def test_a_passage_must_stand_within_one_document():
    found = text_statistics(["a b c d e f g h"], ["a b c d", "e f g h"])
    assert (found.known_share, found.memorised_share) == (1.0, 0.0)


def test_of_nothing_there_is_no_share():
    found = text_statistics(["", "one"], ["one"])
    assert (found.known_share, found.distinct_2, found.memorised_share) == (1.0, None, None)
    assert text_statistics([], []).known_share is None
