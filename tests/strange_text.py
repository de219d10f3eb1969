"""Text that finds bugs in tokenizers, as a hypothesis strategy."""

from hypothesis import strategies as st

FRAGMENTS = (
    *(" ", "  ", "\n", "\r\n", "\r", "\t", "\n\n", " \n ", "\v", "\f", "\x00", "\x1c", "\x1f", "\x85"),
    *("\u00a0", "\u1680", "\u2003", "\u200b", "\u2028", "\u202f", "\u205f", "\u3000", "\ufeff"),
    *("'s", "'S", "'ll", "'LL", "'ve", "'Re", "'t", "'d", "'m", "'\u017f", "'", "''", "\u2019s"),
    *(
        "the",
        " the",
        "Hello",
        "HELLOworld",
        "camelCase",
        "a" * 70,
        "\u00e9",
        "e\u0301",
        "stra\u00dfe",
        "\u01c5",
        "\u02b0",
    ),
    *("0", "12", "123", "1234", "12345678", "\u00b2", "\u0661\u0662", "\u2163", "\u4e94"),
    *("!", "...", "?!\n", "//", "!\n/x", "-" * 20, "=" * 70, "{}", "<|endoftext|>", "<|user|>", "<|", "|>"),
    *(
        "\u4f60\u597d",
        "\u3053\u3093",
        "\u0928\u092e\u0938\u094d\u0924\u0947",
        "\u0e2a\u0e27",
        "\U0001f468\u200d\U0001f469",
    ),
    *("\U0001f600", "\U0001d400", "\U00010400", "\U000e0001", "\U00031350", "\U0010fffd", "\u0378", "\ua7d0", "\u1c8a"),
)

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
strange_text = st.lists(st.one_of(st.sampled_from(FRAGMENTS), any_text), max_size=25).map("".join)
