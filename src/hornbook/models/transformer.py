"""The Transformer: tokens in; logits, or how surprised it is by each target, out.

    embed -> [block] x n_layers -> norm (pre-norm only) -> head

One class for every shape that ModelConfig can describe. It answers one question, given tokens and an attention mask,
and knows no optimizer, loss weighting, device or rank. There is one forward, so compilation and hooks see everything.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import overload

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hornbook.config.lora import LoraConfig
from hornbook.config.model import ModelConfig
from hornbook.config.optim import Role
from hornbook.errors import GenerationError
from hornbook.models.block import Block
from hornbook.models.cache import KVCache, LayerStore, Slots
from hornbook.models.init import initialise
from hornbook.models.masks import CAUSAL, AttentionMask, Visibility, resolve, resolve_cached
from hornbook.models.ngrams import NgramEmbedding, earlier
from hornbook.models.norms import make_norm
from hornbook.models.positions import Rotation, rotation, sinusoid
from hornbook.models.roles import role_of
from hornbook.models.token_scores import TokenScores, scores_where, token_scores


class Transformer(nn.Module):
    """A decoder-style Transformer language model of the shape `config`.

    Weights start as `config.init` says, drawn from `seed` alone. Built under `torch.device("meta")` it has shapes but
    no numbers (to count, or to load a checkpoint with `load_state_dict(..., assign=True)`).
    Set `activation_checkpointing` to recompute each block in backward: less memory, one more forward.
    Set `compiled` to train by compiled code: one graph for a layer, which all of them share, and one for head and loss.
    """

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        self.compiled = False
        self.lora: LoraConfig | None = None
        """Of the adapters that hornbook.models.lora has put into it."""
        device = torch.get_default_device()
        with torch.device("meta"):  # so that torch's own initialisation costs nothing and draws nothing
            self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
            is_learned = config.position == "learned"
            self.position_embedding = nn.Embedding(config.context_length, config.d_model) if is_learned else None
            self.ngram_embedding = _ngrams(config)
            self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
            self.norm = make_norm(config) if config.norm_position == "pre" else None
            is_tied = config.tie_embeddings
            self.head: nn.Module | None = None if is_tied else nn.Linear(config.d_model, config.vocab_size, bias=False)
        if device.type != "meta":
            self.to_empty(device=device)
            initialise(self, config.init, seed=seed)

    @property
    def n_parameters(self) -> int:
        """Numbers in all parameters, a tied embedding counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def n_trained(self) -> int:
        """Of these, those that training moves: all but frozen ones."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def use_plain_attention(self, max_keys: int) -> None:
        """Train attention by its formula up to `max_keys` keys, and by torch's kernel beyond."""
        for layer in self.layers:
            assert isinstance(layer, Block)
            layer.attention.plain_max_keys = max_keys

    @contextmanager
    def computing_as(self, *, training: bool) -> Iterator[None]:
        """Inside, passes without gradients take the ways of those with, so that both give the same bits."""
        attentions = [layer.attention for layer in self.layers if isinstance(layer, Block)]
        for attention in attentions:
            attention.as_with_gradient = training
        try:
            yield
        finally:
            for attention in attentions:
                attention.as_with_gradient = False

    @overload
    def forward(
        self,
        tokens: Int[Tensor, "b t"],
        *,
        positions: Int[Tensor, "b t"] | None = None,
        mask: AttentionMask = CAUSAL,
        cache: KVCache | None = None,
        targets: None = None,
        asked: None = None,
        chunk_tokens: int = 2048,
        nll_only: bool = False,
        only: slice | Int[Tensor, "b out"] | None = None,
    ) -> Float[Tensor, "b t v"]: ...
    @overload
    def forward(
        self,
        tokens: Int[Tensor, "b t"],
        *,
        positions: Int[Tensor, "b t"] | None = None,
        mask: AttentionMask = CAUSAL,
        cache: KVCache | None = None,
        targets: Int[Tensor, "b scored"],
        asked: Bool[Tensor, "b scored"] | None = None,
        chunk_tokens: int = 2048,
        nll_only: bool = False,
        only: slice | Int[Tensor, "b out"] | None = None,
    ) -> TokenScores: ...
    def forward(
        self,
        tokens: Int[Tensor, "b t"],
        *,
        positions: Int[Tensor, "b t"] | None = None,
        mask: AttentionMask = CAUSAL,
        cache: KVCache | None = None,
        targets: Int[Tensor, "b scored"] | None = None,
        asked: Bool[Tensor, "b scored"] | None = None,
        chunk_tokens: int = 2048,
        nll_only: bool = False,
        only: slice | Int[Tensor, "b out"] | None = None,
    ) -> Float[Tensor, "b out v"] | TokenScores:
        """Logits (b, t, v), float32 at least; with `targets` (b, s) their TokenScores instead.

        positions: default 0 .. t-1, or with a cache each row's next ones. Without a cache they say where a token
            stands (packed documents restart at 0) and not what it sees: `mask` goes by order in the row.
        cache: keys and values are written at slot = position; the caller advances it.
        targets: of the first s <= t positions.
        asked: those of `targets` that are wanted; the scores of the others are 0 and take no time.
        chunk_tokens: with `targets`, rows of logits that exist at once.
        nll_only: with `targets`, of the scores only nll carries a gradient.
        only: columns of `tokens` whose logits are wanted, a slice or (b, out) of each row's own; not with `targets`.

        Raises:
            GenerationError: for positions that the cache does not have, more default or cached positions than the
                learned position table has, and a cache of another number of rows.
        """
        slots = None
        if cache is None:
            visibility = resolve(mask, length=tokens.shape[1], device=tokens.device)
            if positions is None:
                positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
                self._check_span(tokens.shape[1])
        else:
            if len(tokens) != cache.batch_size:
                raise GenerationError(f"the KV cache has {cache.batch_size} rows, the tokens have {len(tokens)}")
            positions = cache.next_positions(tokens.shape[1]) if positions is None else positions
            slots = cache.place(positions, whole=mask.kind == "full")
            visibility = resolve_cached(mask, slots)
            self._check_span(slots.n_positions)
        hidden = self._hidden(tokens, positions, visibility, cache, slots)
        if targets is not None:
            hidden = hidden[:, : targets.shape[1]]
            if asked is not None:  # never the same number, and a compiled form has one shape
                return scores_where(asked, hidden, targets, self._logits, chunk_tokens=chunk_tokens, nll_only=nll_only)
            score = _compiled()[1] if self._runs_compiled(cache) else token_scores
            return score(hidden, targets, self._logits, chunk_tokens=chunk_tokens, nll_only=nll_only)
        return self._logits(_columns(hidden, only))

    def _check_span(self, n_positions: int) -> None:
        if self.position_embedding is not None and n_positions > self.config.context_length:
            raise GenerationError(
                f"got {n_positions} positions, the learned position table has context_length = "
                f"{self.config.context_length}; shorten the text or slide the window"
            )

    def _hidden(
        self,
        tokens: Int[Tensor, "b t"],
        positions: Int[Tensor, "#b t"],
        visibility: Visibility,
        cache: KVCache | None,
        slots: Slots | None,
    ) -> Float[Tensor, "b t d"]:
        x = self._embed(tokens, positions, cache)
        turn = None
        if self.config.position == "rotary":
            shape = self.config
            turn = rotation(positions, head_dim=shape.head_dim, theta=shape.rope_theta, scaling=shape.rope_scaling)
        run = _compiled()[0] if self._runs_compiled(cache) else _layer
        for index, layer in enumerate(self.layers):
            store = None if cache is None or slots is None else cache.layer(index, slots)
            x = self._run(functools.partial(run, layer), x, turn, visibility, store)
        return x if self.norm is None else self.norm(x)

    def _embed(
        self, tokens: Int[Tensor, "b t"], positions: Int[Tensor, "#b t"], cache: KVCache | None
    ) -> Float[Tensor, "b t d"]:
        x: Tensor = self.token_embedding(tokens)
        if self.ngram_embedding is not None:
            length = self.config.ngram_length
            before = earlier(tokens, positions, length=length) if cache is None else cache.earlier(tokens, positions)
            x = x + self.ngram_embedding(tokens, before)
        if self.config.scale_embeddings:
            x = x * self.config.d_model**0.5
        if self.position_embedding is not None:
            x = x + self.position_embedding(positions)
        elif self.config.position == "sinusoidal":
            x = x + sinusoid(positions, d_model=self.config.d_model).to(x.dtype)
        return F.dropout(x, self.config.dropout, training=self.training)

    def _runs_compiled(self, cache: KVCache | None) -> bool:
        """Training has one shape; generation has many, each of which would be compiled anew."""
        return self.compiled and self.training and torch.is_grad_enabled() and cache is None

    def _run(
        self,
        layer: Callable[..., Tensor],
        x: Tensor,
        turn: Rotation | None,
        visibility: Visibility,
        store: LayerStore | None,
    ) -> Float[Tensor, "b t d"]:
        if self.activation_checkpointing and torch.is_grad_enabled():
            # Only dropout is random inside a block; saving the generator's state for nothing costs time.
            has_noise = self.training and self.config.dropout > 0
            x = checkpoint(layer, x, turn, visibility, store, use_reentrant=False, preserve_rng_state=has_noise)
        else:
            x = layer(x, turn, visibility, store)
        return x

    def _logits(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... v"]:
        """Head and soft cap; float32 at least, since bfloat16 logits are too coarse for a log-probability."""
        logits = F.linear(hidden, self.token_embedding.weight) if self.head is None else self.head(hidden)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        cap = self.config.logit_soft_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)


def _columns(hidden: Float[Tensor, "b t d"], only: slice | Int[Tensor, "b out"] | None) -> Float[Tensor, "b out d"]:
    if isinstance(only, Tensor):
        return hidden.gather(1, only[..., None].expand(-1, -1, hidden.shape[-1]))
    return hidden if only is None else hidden[:, only]


def _ngrams(config: ModelConfig) -> NgramEmbedding | None:
    if config.ngram_rows is None:
        return None
    return NgramEmbedding(
        vocab_size=config.vocab_size,
        length=config.ngram_length,
        rows=config.ngram_rows,
        d_model=config.d_model,
        dropout=config.ngram_dropout,
    )


def _layer(
    layer: nn.Module, x: Tensor, turn: Rotation | None, visibility: Visibility, store: LayerStore | None
) -> Tensor:
    out: Tensor = layer(x, turn, visibility, store)
    return out


@functools.cache
def _compiled() -> tuple[Callable[..., Tensor], Callable[..., TokenScores]]:
    """`_layer` and `token_scores` in compiled form; no compiler is imported before the first call.

    A function of the layer rather than compiled layers: one graph then serves all of them, whatever the depth.
    """
    return torch.compile(_layer, dynamic=False), torch.compile(token_scores, dynamic=False)


def roles(model: nn.Module) -> dict[str, Role]:
    """{parameter name: role} for every parameter of a Transformer."""
    return {name: role_of(name) for name, _ in model.named_parameters()}
