"""How likely a checkpoint finds texts after other texts: what lm-eval asks of a model, and our own scorer, too."""

import math
import time
from collections.abc import Iterator, Sequence

from hornbook.config.bound import DEFAULT_DRAWS
from hornbook.config.generate import EvalConfig
from hornbook.errors import DataError
from hornbook.evaluation.bounded_likelihoods import bounded_likelihoods
from hornbook.evaluation.candidate import Candidate
from hornbook.evaluation.exact_likelihoods import Found, exact_likelihoods
from hornbook.evaluation.perplexity import ScoreProgress, refuse_broken
from hornbook.evaluation.requests import Likelihood, Request, RequestEncoder, window_requests
from hornbook.evaluation.score_store import ScoreStore

SECONDS_BETWEEN_KEEPS = 5.0


class TextLikelihood:
    """log p(continuation | context) of a checkpoint: by the chain rule, or of a diffusion model by its bound.

    What does not fit the model is left out on the left of the context. Equal requests are scored once, and with `store`
    once for good.
    """

    def __init__(self, candidate: Candidate, config: EvalConfig, *, store: ScoreStore | None = None) -> None:
        self.candidate = candidate
        self.encode = RequestEncoder(candidate.tokenizer)
        self._config = config
        self._store = store
        self.asked = 0
        """Requests so far."""
        self.remembered = 0
        """Of these, those that the store knew."""
        self.cut = 0
        """Of these, those whose context lost tokens."""

    @property
    def room(self) -> int:
        """Tokens that context and continuation may have together; the last one is never read by the chain rule."""
        return self.candidate.model.config.context_length + (not self.candidate.is_bound)

    @property
    def how(self) -> str:
        """How a likelihood is had, in words."""
        way = "autoregressive, exact by the chain rule"
        if self.candidate.is_bound:
            bound = self._config.bound
            draws = f"{bound.draws or DEFAULT_DRAWS} readings, seed {bound.seed or 0}"
            ways = "all ways to hide tokens" if bound.estimator == "exact" else f"{bound.estimator}, {draws}"
            way = (
                f"diffusion ({self.candidate.kind}), by its bound: a likelihood is at least that in expectation, the "
                f"context visible, tokens of the continuation hidden ({ways})"
            )
        elif self.candidate.kind == "joint":
            way += " (the joint model's autoregressive side)"
        return f"{way}; {self.encode.how}"

    def __call__(self, pairs: Sequence[tuple[str, str]], *, progress: ScoreProgress | None = None) -> list[Likelihood]:
        """The likelihood of each (context, continuation).

        Raises:
            DataError: for a continuation that the model has no room for, or that has no token of its own.
            GenerationError: for a model that gives NaN.
            TokenizerError: for a text that has no ids.
        """
        requests = [self.encode(context, continuation) for context, continuation in pairs]
        for (context, continuation), request in zip(pairs, requests, strict=True):
            is_read = not self.encode.start and not context.strip() and continuation  # for want of a token before it
            if not request.continuation and not is_read:
                raise DataError(
                    f"{continuation!r} after {context[-40:]!r} has no token of its own: it is empty, or the tokenizer "
                    "makes one token of it and of what stands before; begin it with a blank, or leave the question out"
                )
        return self._answers([self._fitted(request) for request in requests], progress)

    def whole(self, texts: Sequence[str], *, progress: ScoreProgress | None = None) -> list[float]:
        """The log-probability of each text, each of its tokens scored once, in windows that do not overlap."""
        tokenizer = self.candidate.tokenizer
        windows = [window_requests(self.encode.start, tokenizer.encode(text), self.room) for text in texts]
        found = iter(self._answers([request for own in windows for request in own], progress))
        return [math.fsum(next(found).log_probability for _ in own) for own in windows]

    def _fitted(self, request: Request) -> Request:
        fitted = request.fitted(self.room)
        self.cut += len(fitted.context) < len(request.context)
        return fitted

    def _answers(self, requests: Sequence[Request], progress: ScoreProgress | None) -> list[Likelihood]:
        digests = [request.digest for request in requests]
        known = {} if self._store is None else self._store.find(digests)
        self.asked += len(requests)
        self.remembered += sum(digest in known for digest in digests)
        asked = dict(zip(digests, requests, strict=True))
        known |= {digest: Likelihood(0.0, True) for digest, request in asked.items() if not request.continuation}
        missing = {digest: request for digest, request in asked.items() if digest not in known}
        if missing:
            self._score(missing, known, progress)
        return [known[digest] for digest in digests]

    def _score(
        self, missing: dict[bytes, Request], known: dict[bytes, Likelihood], progress: ScoreProgress | None
    ) -> None:
        """Score what is missing and keep it every few seconds, so that an interrupted evaluation goes on there."""
        digests, requests = list(missing), list(missing.values())
        new: dict[bytes, Likelihood] = {}
        kept, done = time.monotonic(), 0
        for batch in self._batches(requests):
            refuse_broken([answer.log_probability for _, answer in batch])
            new |= {digests[place]: answer for place, answer in batch}
            done += len(batch)
            if progress is not None:
                progress(done, len(requests))
            if self._store is not None and (done == len(requests) or time.monotonic() - kept > SECONDS_BETWEEN_KEEPS):
                self._store.keep(new)
                known |= new
                new, kept = {}, time.monotonic()
        known |= new

    def _batches(self, requests: Sequence[Request]) -> Iterator[list[Found]]:
        model, size = self.candidate.model.eval(), self._config.harness.batch_tokens
        if not self.candidate.is_bound:
            return exact_likelihoods(model, requests, batch_tokens=size)
        return bounded_likelihoods(
            model,
            self.candidate.tokenizer,
            self.candidate.objective,
            requests,
            self._config.bound,
            batch_tokens=size,
        )
