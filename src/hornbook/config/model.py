"""What a model is: `[model]` as the user writes it (ModelTable) and the complete shape that is built (ModelConfig)."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from hornbook.config.rope import RopeScaling
from hornbook.config.table import Table

AUTO = "auto"
"""The preset whose settings follow from `depth`; see hornbook.config.auto."""
MAX_DEPTH = 128

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Architecture(Table):
    """The choices that ModelTable and ModelConfig share: all that needs no arithmetic and no tokenizer."""

    context_length: PositiveInt = 256
    """Longest window, in tokens."""
    d_model: PositiveInt = 256
    """Width of the residual stream."""
    n_layers: PositiveInt = 4
    n_heads: PositiveInt = 4
    feed_forward: Literal["swiglu", "gelu", "gelu_tanh", "relu", "relu2"] = "swiglu"
    """`gelu_tanh` is GPT-2's approximation; `relu2` is the square of ReLU."""
    norm: Literal["rms_norm", "layer_norm"] = "rms_norm"
    norm_position: Literal["pre", "post"] = "pre"
    """`pre` normalises each sublayer's input and adds a final norm; `post` normalises after each residual sum."""
    norm_eps: PositiveFloat = 1e-5
    position: Literal["rotary", "learned", "sinusoidal", "none"] = "rotary"
    rope_theta: PositiveFloat = 10_000.0
    rope_scaling: RopeScaling | None = None
    """Rotary frequencies for a longer context than the model was first trained with: linear, llama3 or yarn."""
    qk_norm: bool = False
    """Normalise queries and keys per head (RMSNorm with a gain) before the positions are applied."""
    bias: bool = False
    """Biases in linear layers and in LayerNorm."""
    tie_embeddings: bool = True
    """The output head is the embedding matrix."""
    scale_embeddings: bool = False
    """Multiply token embeddings by sqrt(d_model), as the original Transformer does."""
    ngram_length: Annotated[int, Field(ge=1, le=8)] = 1
    """Beside each token, the 2 to so many tokens that end with it have embeddings of their own; 1 is none."""
    ngram_rows: PositiveInt | None = None
    """Rows of the table of each n-gram length, such as 16_384; n-grams that do not fit share rows."""
    ngram_dropout: Fraction = 0.0
    """How often an n-gram's whole vector is left out in training, where a text is read more than once."""
    dropout: Fraction = 0.0
    """On embeddings, attention weights and each sublayer's output, in training only."""
    logit_soft_cap: PositiveFloat | None = None
    """c: logits become c * tanh(logits / c)."""
    init: Literal["ours", "zero", "torch_default", "gpt2", "xavier"] = "ours"
    """How weights start; see hornbook.models.init for each standard deviation."""

    @model_validator(mode="after")
    def _check_rope(self) -> Self:
        if self.rope_scaling is not None and self.position != "rotary":
            raise ValueError(f'rope_scaling has an effect only with position = "rotary", got "{self.position}"')
        if self.rope_scaling is not None and self.rope_theta <= 1:
            raise ValueError(
                f"rope_theta = {self.rope_theta} turns all dimensions alike; rope_scaling needs one above 1"
            )
        return self

    @model_validator(mode="after")
    def _check_ngrams(self) -> Self:
        if (self.ngram_length > 1) != (self.ngram_rows is not None):
            raise ValueError(
                f"ngram_length = {self.ngram_length} with ngram_rows = {self.ngram_rows}: n-gram embeddings need "
                "ngram_length above 1 and ngram_rows; give both or neither"
            )
        if self.ngram_dropout > 0 and self.ngram_length == 1:
            raise ValueError(f"ngram_dropout = {self.ngram_dropout} has an effect only with ngram_length above 1")
        return self


class ModelConfig(Architecture):
    """The complete shape of a model: with the weights, all that is needed to rebuild it. Stored as model.json."""

    vocab_size: PositiveInt
    n_kv_heads: PositiveInt
    head_dim: PositiveInt
    d_ff: PositiveInt

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads = {self.n_heads} is not a multiple of n_kv_heads = {self.n_kv_heads}; "
                f"choose a divisor of {self.n_heads}"
            )
        if self.position == "rotary" and self.head_dim % 2:
            raise ValueError(f"rotary positions need an even head_dim, got {self.head_dim}")
        return self


class ModelTable(Architecture):
    """`[model]`: unset sizes are derived, an unset vocab_size is the tokenizer's."""

    preset: str | None = None
    """A named shape to start from (`hornbook config presets`), or auto; keys beside it override it."""
    depth: Annotated[int, Field(ge=1, le=MAX_DEPTH)] | None = None
    """With preset = "auto": the layers, from which sizes, rates, batch and steps follow (docs/recipes.md)."""
    init_from: Path | None = None
    """A run or checkpoint directory whose weights and tokenizer to start from (not its optimizer or step)."""
    attention_backend: Literal["auto", "sdpa", "flash", "efficient", "cudnn", "math", "compiled"] = "auto"
    """How attention is computed in training; the result stays. auto: the faster of the formula and torch's kernel;
    sdpa: torch's kernel; the next four: that one alone; compiled: the formula, in compiled code."""
    vocab_size: PositiveInt | None = None
    n_kv_heads: PositiveInt | None = None
    """Key and value heads: n_heads is multi-head attention, 1 multi-query, between them grouped. Default: n_heads."""
    head_dim: PositiveInt | None = None
    """Default: d_model / n_heads."""
    d_ff: PositiveInt | None = None
    """Width inside the feed-forward. Default: 4 d_model, or 8/3 d_model rounded up to a multiple of 32 for swiglu."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.preset == AUTO and self.depth is None:
            raise ValueError('preset = "auto" needs depth, from which all else follows; set depth = 4, for example')
        if self.preset != AUTO and self.depth is not None:
            raise ValueError(
                f'depth = {self.depth} has an effect only with preset = "auto"; set that, or n_layers = {self.depth}'
            )
        if self.head_dim is None and self.d_model % self.n_heads:
            raise ValueError(
                f"d_model = {self.d_model} is not a multiple of n_heads = {self.n_heads}; "
                f"nearest: {max(1, self.d_model // self.n_heads) * self.n_heads} "
                f"or {(self.d_model // self.n_heads + 1) * self.n_heads}, or set head_dim"
            )
        self.complete(vocab_size=self.vocab_size or 1)
        return self

    @property
    def architecture(self) -> str:
        """The shape in a few words, for people."""
        shape = f"{self.n_layers} layers, d_model {self.d_model}, {self.position}, {self.feed_forward}"
        return f"{self.preset}: {shape}" if self.preset else shape

    def complete(self, *, vocab_size: int) -> ModelConfig:
        """The shape to build, with every derived size filled in and the tokenizer's `vocab_size`."""
        shared = {name: getattr(self, name) for name in Architecture.model_fields}
        wide = -(-8 * self.d_model // 3 // 32) * 32 if self.feed_forward == "swiglu" else 4 * self.d_model
        return ModelConfig(
            **shared,
            vocab_size=vocab_size,
            n_kv_heads=self.n_kv_heads or self.n_heads,
            head_dim=self.head_dim or self.d_model // self.n_heads,
            d_ff=self.d_ff or wide,
        )
