"""`[chat]`: how messages become one text that a model reads and continues, and the templates that have a name.

A template is data. Each role has what stands before and after its text; control tokens may stand there, and only there:
what users and data sets write never becomes one.
"""

from typing import Literal, Self

from pydantic import model_validator

from hornbook.config.table import Table

Role = Literal["system", "user", "assistant"]


class ChatTemplate(Table):
    """What stands around the texts of a conversation."""

    control_tokens: tuple[str, ...]
    """Names that stand for one id each in the strings below; a tokenizer that lacks one gets it when data are
    prepared."""
    begin: str = ""
    """Before the whole conversation."""
    begin_with_input: str | None = None
    """Instead of `begin` where the first user message has an input beside its instruction (Alpaca's second form)."""
    system: tuple[str, str]
    """Before and after the text of the system message."""
    user: tuple[str, str]
    assistant: tuple[str, str]
    """What follows an answer begins with `stop`."""
    stop: str
    """The control token that ends an answer: it is trained, and ends generation."""
    default_system: str = ""
    """The system message of conversations without one; empty is none."""
    instruction_role: Literal["user", "system"] = "user"
    """Who says the instruction of a record that has instruction and input: the user says both, or the system the
    first."""
    input_joiner: str = "\n\n"
    """Between instruction and input where the user says both."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if wrong := [name for name in self.control_tokens if not name or self.control_tokens.count(name) > 1]:
            raise ValueError(
                f"control_tokens = {list(self.control_tokens)}: {wrong[0]!r} is {'repeated' if wrong[0] else 'empty'}; "
                "expected distinct names"
            )
        if self.stop not in self.control_tokens:
            raise ValueError(f"stop = {self.stop!r} is not in control_tokens = {list(self.control_tokens)}; add it")
        if not self.assistant[1].startswith(self.stop):
            raise ValueError(
                f"assistant = {list(self.assistant)}: what follows an answer must begin with stop = {self.stop!r}, or "
                "the model would never learn to end one"
            )
        return self


TEMPLATES: dict[str, ChatTemplate] = {
    "hornbook": ChatTemplate(
        control_tokens=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        system=("<|system|>", "<|end|>"),
        user=("<|user|>", "<|end|>"),
        assistant=("<|assistant|>", "<|end|>"),
        stop="<|end|>",
    ),
    "chatml": ChatTemplate(
        control_tokens=("<|im_start|>", "<|im_end|>"),
        system=("<|im_start|>system\n", "<|im_end|>\n"),
        user=("<|im_start|>user\n", "<|im_end|>\n"),
        assistant=("<|im_start|>assistant\n", "<|im_end|>\n"),
        stop="<|im_end|>",
    ),
    "alpaca": ChatTemplate(
        control_tokens=("<|endoftext|>",),
        begin="Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n",
        begin_with_input="Below is an instruction that describes a task, paired with an input that provides further "
        "context. Write a response that appropriately completes the request.\n\n",
        system=("", "\n\n"),
        user=("### Instruction:\n", "\n\n"),
        assistant=("### Response:\n", "<|endoftext|>"),
        stop="<|endoftext|>",
        input_joiner="\n\n### Input:\n",
    ),
    "simple_transformer": ChatTemplate(
        control_tokens=("<SYSTEM>", "</SYSTEM>", "<USER>", "</USER>", "<MODEL>", "</MODEL>"),
        system=("<SYSTEM>", "</SYSTEM>"),
        user=("<USER>", "</USER>"),
        assistant=("<MODEL>", "</MODEL>"),
        stop="</MODEL>",
        instruction_role="system",
    ),
}
"""Templates by name; `hornbook` is the default."""


class ChatConfig(Table):
    """Which template tuning data are prepared with; a checkpoint that was tuned carries its own."""

    template: str = "hornbook"
    """hornbook, chatml, alpaca, simple_transformer, or the path of a TOML file with the keys of a template."""
    system: str | None = None
    """The system message of conversations without one. Default: the template's."""
