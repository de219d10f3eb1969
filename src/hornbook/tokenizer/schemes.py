"""The kinds of ordinary tokens that a tokenizer can have."""

from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.characters import CharacterScheme
from hornbook.tokenizer.foreign import ForeignScheme

Scheme = BytePairScheme | CharacterScheme | ForeignScheme
"""Each has `kind`, `tokens`, `cut`, `normalize` and `encode`."""
