from hornbook.tokenizer.alphabet import BYTE_ORDER, from_printable, printable


def test_each_byte_has_a_printable_character_of_its_own():
    characters = [printable(bytes([byte])) for byte in BYTE_ORDER]
    assert sorted(BYTE_ORDER) == list(range(256))
    assert all(len(c) == 1 and c.isprintable() and c != " " for c in characters)
    assert characters == sorted(characters)  # the order that Hugging Face numbers them in
    assert len(set(characters)) == 256


def test_known_characters():
    assert printable(b" the\n\t") == "ĠtheĊĉ"
    assert from_printable("ĠtheĊĉ") == b" the\n\t"
    assert from_printable("two words") is None
