"""Between requests and the thread of a model: who may come in, what a request asks for, and events as they come."""

import asyncio
import contextlib
import functools
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hornbook.config.generate import GenerateConfig
from hornbook.config.serve import ServeConfig
from hornbook.errors import GenerationError, HornbookError, TokenizerError
from hornbook.generation.choice import choose_decoder
from hornbook.generation.prompt_ids import Prompt, begin, encode_prompt, stop_ids
from hornbook.generation.rows import admit
from hornbook.serving.bodies import ChatBody, ChatMessage, Completing, TextBody, TokenizeBody
from hornbook.serving.jobs import Event, Failure, Job, Order, RowRequest
from hornbook.serving.metrics import ModelMetrics
from hornbook.serving.refusals import Refusal
from hornbook.serving.served_model import ServedModel
from hornbook.serving.sources import source_of
from hornbook.serving.turns import Turns
from hornbook.serving.worker import Worker
from hornbook.tokenizer.chat import Message, render_prompt
from hornbook.tokenizer.tokenizer import Tokenizer

T = TypeVar("T")

NO_TEMPLATE = "has no chat template, so it knows no messages; use /v1/completions, or tune it on conversations"


class Desk:
    """Serves one model. Its methods are for the event loop, unless they say otherwise."""

    def __init__(
        self,
        served: ServedModel,
        config: ServeConfig,
        turns: Turns,
        metrics: ModelMetrics,
        *,
        note: Callable[[str], None],
    ) -> None:
        self.served = served
        self._config = config
        self._metrics = metrics
        self._rows = 0
        # Texts are tokenised beside the loop, which a long one would hold up.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"read {served.name}")
        self._worker = Worker(served.tokenizer, source_of(served, config, turns, note), turns, name=served.name)

    @property
    def rows(self) -> int:
        """Texts that are asked for and not at their end."""
        return self._rows

    @property
    def waiting(self) -> int:
        """Of these, those that no slot can have."""
        return max(0, self._rows - self._slots)

    @property
    def _slots(self) -> int:
        return self._config.slots if self.served.decoder == "autoregressive" else 1

    def close(self) -> None:
        """End the threads."""
        self._reader.shutdown(cancel_futures=True)
        self._worker.close()

    async def in_reader(self, call: Callable[[], T], *, param: str | None = None) -> T:
        """What `call`, which tokenises, gives.

        Raises:
            Refusal: for what the tokenizer refuses, naming `param`.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, call)
        except (TokenizerError, GenerationError) as error:
            raise Refusal(400, str(error), param=param, code="invalid_value") from None

    async def chat_order(self, body: ChatBody) -> Order:
        """What a conversation asks for.

        Raises:
            Refusal: if this model cannot do it.
        """
        ids = await self.in_reader(lambda: self.rendered(body.messages))
        limit = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
        top = body.top_logprobs or 0
        return self._order(body, [ids], limit, top_logprobs=top, of_template=[True], param="messages")

    async def text_order(self, body: TextBody) -> Order:
        """What prompts ask for.

        Raises:
            Refusal: as `chat_order`.
        """
        prompts = _prompts(body)
        self._check_count(len(prompts) * (body.n or 1))
        tokenizer = self.served.tokenizer
        ids = [await self.in_reader(functools.partial(_ids, tokenizer, prompt)) for prompt in prompts]
        of_template = [not isinstance(prompt, str) for prompt in prompts]
        return self._order(
            body, ids, body.max_tokens, top_logprobs=body.logprobs or 0, of_template=of_template, param="prompt"
        )

    def ids_of(self, body: TokenizeBody) -> Sequence[int]:
        """What /tokenize is asked for.

        Raises:
            Refusal: as `rendered`.
            TokenizerError: as `rendered`.
        """
        if body.prompt is None:
            return self.rendered(body.messages or [])
        tokenizer = self.served.tokenizer
        return begin(tokenizer, body.prompt) if body.add_special_tokens else tokenizer.encode(body.prompt)

    def rendered(self, messages: Sequence[ChatMessage]) -> list[int]:
        """A conversation as ids.

        Raises:
            Refusal: for a model without a chat template.
            TokenizerError: for messages that are no conversation.
        """
        template = self.served.tokenizer.chat_template
        if template is None:
            raise Refusal(400, f"the model {self.served.name!r} {NO_TEMPLATE}", param="model", code="no_chat_template")
        said = [Message("system" if each.role == "developer" else each.role, each.text) for each in messages]
        if template.instruction_role == "system" and not template.default_system and said[0].role == "user":
            said[0] = said[0]._replace(role="system")  # where the system gives instructions, the first line is one
        return render_prompt(self.served.tokenizer, said).ids

    def _order(
        self,
        body: Completing,
        prompts: Sequence[Sequence[int]],
        limit: int | None,
        *,
        top_logprobs: int,
        of_template: Sequence[bool],
        param: str,
    ) -> Order:
        tokenizer, n = self.served.tokenizer, body.n or 1
        self._check_count(n * len(prompts))
        denoising = body.hornbook is not None and body.hornbook.denoising
        if denoising and not (body.stream and self.served.decoder == "diffusion"):
            raise Refusal(400, "denoising needs a diffusion model and stream = true", param="hornbook.denoising")
        longest = max(map(len, prompts))
        self._check_prompt(longest, param)
        seed = secrets.randbits(48) if body.seed is None else body.seed % 2**64
        config = self._settings(body, limit, longest)
        order = Order(
            rows=tuple(
                RowRequest(prompt, seed + i, frozenset(stop_ids(tokenizer, of_template=template)))
                for prompt, template in zip(prompts, of_template, strict=True)
                for i in range(n)
            ),
            config=config,
            top_logprobs=top_logprobs,
            denoising=denoising,
            prompt_tokens=sum(map(len, prompts)),
        )
        try:
            self._check_rows(order)
        except HornbookError as error:
            raise Refusal(400, str(error), param=param, code="invalid_value") from None
        return order

    def _check_prompt(self, longest: int, param: str) -> None:
        room = self.served.context_length
        if self.served.decoder == "diffusion":
            room -= 1
        if self.served.config.context_overflow == "slide" and self._config.max_prompt_tokens is None:
            return
        most = room if self._config.max_prompt_tokens is None else self._config.max_prompt_tokens
        if self.served.config.context_overflow != "slide":
            most = min(most, room)
        if longest > most:
            raise Refusal(
                400,
                f"the prompt has {longest} tokens, and {self.served.name!r} takes at most {most}; shorten it",
                param=param,
                code="context_length_exceeded",
            )

    def _settings(self, body: Completing, limit: int | None, longest: int) -> GenerateConfig:
        """The model's own settings, with what the request says laid over them."""
        own = self.served.config
        values: dict[str, object] = {
            name: value
            for name in ("temperature", "top_p", "min_p", "repetition_penalty")
            if (value := getattr(body, name)) is not None
        }
        if body.top_k is not None:
            values["top_k"] = body.top_k if body.top_k > 0 else None
        if body.stops is not None:
            values["stop"] = body.stops
        room = self.served.context_length - longest + (self.served.decoder == "autoregressive")
        if limit is not None:
            values["max_new_tokens"] = limit
        elif self.served.decoder == "diffusion" and own.max_new_tokens > room:
            values["max_new_tokens"] = room
        return GenerateConfig.model_validate({**{name: getattr(own, name) for name in own.model_fields_set}, **values})

    def _check_rows(self, order: Order) -> None:
        """Refuse now what the decoder would refuse later.

        Raises:
            GenerationError: in its words.
        """
        served, config = self.served, order.config
        prompts, seeds = [list(row.tokens) for row in order.rows], [row.seed for row in order.rows]
        if served.decoder == "diffusion":
            decode = choose_decoder(config, served.tokenizer, served.objective)
            decode(served.model, prompts, max_new_tokens=config.max_new_tokens, stop_ids=(), seeds=seeds).close()
        else:
            admit(
                prompts,
                seeds,
                context_length=served.context_length,
                vocab_size=served.model.config.vocab_size,
                max_new_tokens=config.max_new_tokens,
                overflow=config.context_overflow,
            )

    def _check_count(self, count: int) -> None:
        # What the queue never has room for is not told to try again.
        most = min(self._config.max_choices, self._slots + self._config.queue)
        if count > most:
            message = f"{count} texts are asked for; this server gives at most {most} at once"
            raise Refusal(400, message, param="n", code="invalid_value")

    async def events(self, order: Order) -> AsyncGenerator[Event, None]:
        """What comes of an order. Closing it early frees its slots.

        Raises:
            Refusal: with 429, if too many wait already.
        """
        if self._rows + len(order.rows) > self._slots + self._config.queue:
            self._metrics.rejected += 1
            raise Refusal(
                429,
                f"{self._rows} texts are being made or wait for it, and no more may; try again in a while",
                code="queue_full",
                headers={"Retry-After": str(self._metrics.seconds_to_wait(self.waiting, self._slots))},
            )
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Event] = asyncio.Queue()

        def put(events: Sequence[Event]) -> None:
            for event in events:
                queue.put_nowait(event)

        def tell(events: Sequence[Event]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(put, events)

        job = Job(
            rows=order.rows,
            config=order.config,
            top_logprobs=order.top_logprobs,
            denoising=order.denoising,
            tell=tell,
        )
        open_rows = len(order.rows)
        self._rows += open_rows
        self._worker.submit(job)
        try:
            while open_rows:
                event = await queue.get()
                if isinstance(event, Failure):
                    raise Refusal(500, event.message)
                over = getattr(event, "reason", None) is not None
                open_rows -= over
                self._rows -= over
                yield event
        finally:
            if open_rows:
                self._rows -= open_rows
                self._worker.cancel(job)


def _ids(tokenizer: Tokenizer, prompt: Prompt) -> Sequence[int]:
    return encode_prompt(tokenizer, prompt) if isinstance(prompt, str) else prompt


def _prompts(body: TextBody) -> list[Prompt]:
    """One prompt or several: a text, ids, or a list of either."""
    given = body.prompt
    if isinstance(given, str):
        return [given]
    if not given:
        raise Refusal(400, "the prompt holds no tokens; give at least one", param="prompt", code="invalid_value")
    if isinstance(given[0], int):
        return [given]
    return list(given)
