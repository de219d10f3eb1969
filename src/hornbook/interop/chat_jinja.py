"""Chat templates in Jinja, as Hugging Face's tokenizers and GGUF files carry them.

Ours are data, so that one of ours becomes Jinja by rule. Of theirs, which are programs, those are known again that say
the same as one of ours: both render two short conversations, in Jinja's sandbox.
"""

from typing import TYPE_CHECKING, Any, NoReturn

from hornbook.config.chat import TEMPLATES, ChatTemplate
from hornbook.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

_USER, _ANSWER, _SYSTEM = "what is it?", "a test", "be brief"
_PROBE: tuple[dict[str, str], ...] = (
    {"role": "user", "content": _USER},
    {"role": "assistant", "content": _ANSWER},
    {"role": "user", "content": _USER},
)


def to_jinja(template: ChatTemplate, *, before: tuple[str, ...] = ()) -> str:
    """The program that renders messages as `hornbook.tokenizer.chat` does; `before` are names that every text begins
    with (`Tokenizer.template`)."""
    names = "".join(before)
    begin = template.begin if template.begin.startswith(names) else names + template.begin
    turns = "".join(
        f"{{% {word} message['role'] == '{role}' %}}{{{{ {start!a} + message['content'] + {end!a} }}}}"
        for word, role, (start, end) in (("if", "user", template.user), ("elif", "assistant", template.assistant))
    )
    start, end = template.system
    return (
        "{% if messages and messages[0]['role'] == 'system' %}"
        "{% set system = messages[0]['content'] %}{% set turns = messages[1:] %}"
        f"{{% else %}}{{% set system = {template.default_system!a} %}}{{% set turns = messages %}}{{% endif %}}"
        f"{{{{ {begin!a} }}}}{{% if system %}}{{{{ {start!a} + system + {end!a} }}}}{{% endif %}}"
        f"{{% for message in turns %}}{turns}"
        "{% else %}{{ raise_exception('roles are user and assistant, and system first') }}{% endif %}{% endfor %}"
        f"{{% if add_generation_prompt %}}{{{{ {template.assistant[0]!a} }}}}{{% endif %}}"
    )


def jinja_of(tokenizer: Tokenizer) -> str | None:
    """The program of a tokenizer's own template; None if it has none."""
    template = tokenizer.chat_template
    return None if template is None else to_jinja(template, before=tokenizer.template.before)


def recognised(program: str, tokenizer: Tokenizer, **tokens: str) -> ChatTemplate | None:
    """The template with a name that says the same as a Jinja program, its system message included; None for others.

    tokens: what the program knows besides, such as bos_token = "<s>".
    Jinja comes with transformers; where it is not installed, none is known again.
    """
    said = {system: _rendered(program, system, tokens) for system in (None, _SYSTEM)}
    if said[_SYSTEM] is None or said[None] is None:
        return None
    for template in TEMPLATES.values():
        ours = to_jinja(template, before=tokenizer.template.before)
        if _rendered(ours, _SYSTEM, tokens) != said[_SYSTEM]:
            continue
        default = _default_system(str(said[None]), ours, tokens)
        if default is not None:
            return ChatTemplate(**{**template.model_dump(), "default_system": default})
    return None


def _default_system(said: str, ours: str, tokens: dict[str, str]) -> str | None:
    """The system message that is told though nobody gave one; None if the rest differs."""
    plain, given = _rendered(ours, None, tokens), _rendered(ours, _SYSTEM, tokens)
    if said == plain:
        return ""
    before, _, after = str(given).partition(_SYSTEM)
    fits = len(said) > len(before) + len(after) and said.startswith(before) and said.endswith(after)
    return said[len(before) : len(said) - len(after)] if fits else None


def _rendered(program: str, system: str | None, tokens: dict[str, str]) -> str | None:
    """What a program makes of the probe; None if it cannot."""
    messages: list[dict[str, str]] = [*_PROBE]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    environment = _sandbox()
    if environment is None:
        return None
    try:
        return environment.from_string(program).render(messages=messages, add_generation_prompt=True, **tokens)
    except Exception:  # noqa: BLE001  # a stranger's program may fail in any way
        return None


def _sandbox() -> "ImmutableSandboxedEnvironment | None":
    """Jinja without access to anything, with the settings and functions that such programs expect."""
    try:
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        return None
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: ""
    return environment


def _refuse(message: Any) -> NoReturn:
    raise ValueError(str(message))
