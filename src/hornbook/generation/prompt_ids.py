"""From a prompt to the ids that a model reads, and the ids that end its answer."""

from collections.abc import Sequence

from hornbook.errors import GenerationError
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

Prompt = str | Sequence[int]
"""A text, or ids that are read as they are."""


def stop_ids(tokenizer: Tokenizer, *, of_template: bool) -> list[int]:
    """What ends a text: end-of-text, and where it may be an answer the stop token of the chat template."""
    template = tokenizer.chat_template if of_template else None
    found = [tokenizer.end_of_text_id, None if template is None else tokenizer.special_tokens[template.stop]]
    return [i for i in found if i is not None]


def check_vocabulary(model: Transformer, tokenizer: Tokenizer) -> None:
    """Raise GenerationError for a tokenizer that has tokens which the model does not know."""
    if tokenizer.vocab_size > model.config.vocab_size:
        raise GenerationError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model only {model.config.vocab_size}; "
            "generate with the tokenizer that the model was trained with"
        )


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Ids of a prompt's text; an empty one becomes the end-of-text token, after which documents begin.

    Raises:
        GenerationError: for an empty prompt, if the tokenizer has no end-of-text token.
    """
    if ids := begin(tokenizer, prompt):
        return ids
    if tokenizer.end_of_text_id is None:
        raise GenerationError(
            "the prompt is empty and the tokenizer has no end-of-text token to start from; give a prompt of at least "
            "one character"
        )
    return [tokenizer.end_of_text_id]


def begin(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a text that is to go on.

    A tokenizer that came with a template says what every text begins with; that stands first. What the template puts at
    the end would end the text, so it is left out.
    """
    ids = tokenizer.encode(text, template=True)
    return ids[: len(ids) - len(tokenizer.template.after)]
