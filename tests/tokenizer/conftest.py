"""Tokenizers that several files test, and tiktoken's of the same vocabulary."""

import base64

import pytest
import tiktoken

from data_paths import needs
from hornbook.tokenizer.tokenizer import Tokenizer

END = "<|endoftext|>"
# As tiktoken_ext.openai_public has them; its equivalents of ours.
TIKTOKEN_PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
}


@pytest.fixture(scope="session")
def gpt2():
    """GPT-2's vocabulary."""
    folder = needs("tokenizer/gpt2")
    return Tokenizer.from_files(folder / "gpt2_vocab.json", folder / "gpt2_merges.txt", special_tokens=[END])


@pytest.fixture(scope="session")
def tiktoken_gpt2(gpt2):
    """tiktoken with the same bytes for the same ids."""
    return tiktoken.Encoding(
        "gpt2-from-files",
        pat_str=TIKTOKEN_PATTERNS["gpt2"],
        mergeable_ranks={token: i for i, token in enumerate(gpt2.scheme.tokens)},
        special_tokens=gpt2.special_tokens,
    )


@pytest.fixture(scope="session")
def cl100k():
    """OpenAI's cl100k_base."""
    return Tokenizer.from_tiktoken(needs("tokenizer/cl100k_base.tiktoken"), pattern="cl100k")


@pytest.fixture(scope="session")
def tiktoken_cl100k():
    """tiktoken, which reads the same file by its own means."""
    lines = needs("tokenizer/cl100k_base.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
    return tiktoken.Encoding(
        "cl100k-from-file", pat_str=TIKTOKEN_PATTERNS["cl100k"], mergeable_ranks=ranks, special_tokens={}
    )
