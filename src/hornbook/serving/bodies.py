"""What clients may send: the bodies of requests, in OpenAI's names, and which of their fields mean nothing here.

A field that no API of the kind knows is refused, as OpenAI does; one that is known and has no effect on the text is
ignored; one that would have an effect which this server does not give is refused unless it says "off".
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Text = Annotated[str, Field(max_length=10_000_000)]
TokenId = Annotated[int, Field(ge=0, le=2**31)]
Stop = Annotated[str, Field(min_length=1, max_length=500)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Ids = Annotated[list[TokenId], Field(fail_fast=True)]

_OFF: dict[str, tuple[object, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "logit_bias": ({},),
    "best_of": (1,),
    "suffix": ("",),
    "echo": (False,),
    "web_search_options": (),
}
"""Fields with an effect that is not given here, and values that mean none."""


class Body(BaseModel):
    """A JSON object whose fields have exactly the types that are said here."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="after")
    def _refuse_what_is_not_given(self) -> Self:
        for name in self.model_fields_set & _OFF.keys():
            value = getattr(self, name)
            if value is not None and value not in _OFF[name]:
                raise ValueError(f"{name} is not supported by this server; leave it out")
        return self


class StreamOptions(Body):
    """How an answer is streamed."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Ignored."""


class Extension(Body):
    """What only this server knows."""

    denoising: bool = False
    """Of a diffusion model: stream every denoising step as well."""


class Completing(Body):
    """What requests for text have in common."""

    model: Annotated[str, Field(max_length=500)] | None = None
    """The name of a model; may be left out where there is only one."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: PositiveInt | None = None
    n: PositiveInt | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16, fail_fast=True)] | None = None
    seed: Seed | None = None
    temperature: NonNegativeFloat | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    """0 and -1 are off."""
    min_p: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    repetition_penalty: PositiveFloat | None = None
    hornbook: Extension | None = None
    # with an effect that this server does not give
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None
    # without one
    user: Text | None = None
    service_tier: Text | None = None
    store: bool | None = None
    metadata: dict[str, Any] | None = None

    @property
    def stops(self) -> tuple[str, ...] | None:
        """As a tuple; None where the request says nothing."""
        return (self.stop,) if isinstance(self.stop, str) else None if self.stop is None else tuple(self.stop)


class TextPart(Body):
    """One part of a message's content."""

    type: Literal["text"]
    text: Text


class ChatMessage(Body):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(fail_fast=True)]
    name: Text | None = None
    """Ignored, as what an answer of this server has besides its text, so that it may be sent back as it came."""
    refusal: Text | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None

    @property
    def text(self) -> str:
        """All parts."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=10_000, fail_fast=True)]


class ChatBody(Completing):
    """POST /v1/chat/completions."""

    messages: Messages
    max_completion_tokens: PositiveInt | None = None
    """In place of max_tokens."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    response_format: dict[str, Any] | None = None
    modalities: list[Any] | None = None
    audio: Any = None
    web_search_options: Any = None
    parallel_tool_calls: bool | None = None
    prediction: Any = None
    reasoning_effort: Text | None = None
    verbosity: Text | None = None
    safety_identifier: Text | None = None
    prompt_cache_key: Text | None = None
    prompt_cache_retention: Text | None = None

    @model_validator(mode="after")
    def _check_logprobs(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is given, but logprobs is not true; set it, or leave top_logprobs out")
        if self.max_tokens is not None and self.max_completion_tokens not in (None, self.max_tokens):
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        return self


class TextBody(Completing):
    """POST /v1/completions."""

    prompt: Text | Ids | Annotated[list[Text], Field(fail_fast=True)] | Annotated[list[Ids], Field(fail_fast=True)]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: int | None = None
    suffix: Text | None = None
    echo: bool | None = None


class TokenizeBody(Body):
    """POST /tokenize."""

    model: Annotated[str, Field(max_length=500)] | None = None
    prompt: Text | None = None
    messages: Messages | None = None
    add_special_tokens: bool = True
    """Put before a prompt what the tokenizer's own template says that texts begin with."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self


class DetokenizeBody(Body):
    """POST /detokenize."""

    model: Annotated[str, Field(max_length=500)] | None = None
    tokens: Ids
