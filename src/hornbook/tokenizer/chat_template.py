"""Chat templates as data: from `[chat]`, from a TOML file, and beside the tokenizer that speaks them."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from hornbook.config.chat import TEMPLATES, ChatConfig, ChatTemplate
from hornbook.errors import TokenizerError
from hornbook.tokenizer.special_tokens import SpecialTokens
from hornbook.tokenizer.vocabulary import parse_object, read_text

CHAT_TEMPLATE = "chat_template.json"
"""In a tokenizer's directory, if it has a template."""


def load_template(config: ChatConfig) -> ChatTemplate:
    """The template that `[chat]` names, with its system message.

    Raises:
        TokenizerError: if no template has that name and it is no file, or the file is no template.
    """
    template = TEMPLATES.get(config.template)
    if template is None:
        template = _read_toml(Path(config.template))
    if config.system is None:
        return template
    return ChatTemplate(**{**template.model_dump(), "default_system": config.system})


def file_text(template: ChatTemplate) -> str:
    """What stands in CHAT_TEMPLATE."""
    return json.dumps(template.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n"


def read_beside(directory: Path) -> ChatTemplate | None:
    """The template of a tokenizer's directory; None if it has none.

    Raises:
        TokenizerError: if the file is damaged.
    """
    path = directory / CHAT_TEMPLATE
    return _template(parse_object(read_text(path), str(path)), path) if path.exists() else None


def grown(special: SpecialTokens, template: ChatTemplate, first: int) -> SpecialTokens:
    """The same special tokens and, from the id `first` on, the control tokens of the template that are not there yet.

    Raises:
        TokenizerError: if one of them is an added token, which any text would give.
    """
    if taken := [name for name in template.control_tokens if name in special.added]:
        raise TokenizerError(
            f"chat template: the control token {taken[0]!r} is an added token of this tokenizer, so that any text that "
            "holds these characters gives it; choose another name"
        )
    missing = [name for name in template.control_tokens if name not in special.ids]
    return SpecialTokens(
        {**special.ids, **{name: first + i for i, name in enumerate(missing)}},
        added=special.added,
        normalized=special.normalized,
        template=special.template,
        flags=special.flags,
    )


def check_control_tokens(special: SpecialTokens, template: ChatTemplate) -> None:
    """Refuse a template whose control tokens are not all special tokens.

    Raises:
        TokenizerError: naming the first that is none.
    """
    if missing := [name for name in template.control_tokens if name not in special.ids]:
        raise TokenizerError(
            f"chat template: the control token {missing[0]!r} is no special token of this tokenizer; "
            "use Tokenizer.with_chat_template, which adds it"
        )


def _read_toml(path: Path) -> ChatTemplate:
    if not path.is_file():
        raise TokenizerError(
            f'chat.template = "{path}": no template has this name and there is no such file; expected '
            f"{', '.join(TEMPLATES)}, or the path of a TOML file"
        )
    try:
        return _template(tomllib.loads(read_text(path).removeprefix("\ufeff").replace("\r\n", "\n")), path)
    except tomllib.TOMLDecodeError as error:
        raise TokenizerError(f"{path}: not valid TOML: {error}") from None


def _template(values: Mapping[str, object], path: Path) -> ChatTemplate:
    try:
        return ChatTemplate.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'template'}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        )
        raise TokenizerError(f"{path}: not a chat template: {problems}") from None
