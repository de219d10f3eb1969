"""What the pieces of a training step take on this machine: timed once, in about 20 seconds, and kept for a month.

Each piece is the package's own code, forward and backward, at a size that no cache holds, and its time is told per unit
of what it grows with: operations of a product, numbers of an activation, scores of attention. A step is the sum of its
pieces (`hornbook.planning.step_time`). Kept in the user's cache, as PROBE/plan-KEY.json, by processor, torch, threads
and kind of products; what is older than `KEEP_DAYS` is measured again.
"""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from hornbook.config.model import ModelTable
from hornbook.config.optim import AdamWConfig
from hornbook.distributed.precision import Kind, Precision, Products, fp32_products
from hornbook.models.attention import attend
from hornbook.models.feed_forward import ACTIVATIONS
from hornbook.models.masks import Visibility
from hornbook.models.norms import make_norm
from hornbook.models.positions import rotate, rotation
from hornbook.models.token_scores import token_scores
from hornbook.optim.build import make_optimizer
from hornbook.storage.atomic import replace_file
from hornbook.storage.disk import StorageError
from hornbook.storage.user_cache import user_cache

KEEP_DAYS = 30
WIDTHS = (128, 256, 512, 1024, 2048)
LENGTHS = (64, 256, 512, 1024)
_ROWS, _HEAD_DIM, _VOCABULARY = 2048, 64, 8192
_NUMBERS = 1 << 22
"""Of an activation: 16 MB in float32."""
_SECONDS, _LEAST_RUNS = 0.25, 3
_CPU = torch.device("cpu")

Rates = Mapping[str, float]
"""{piece: seconds a unit}."""
Say = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What was measured, of one precision."""

    rates: Rates
    measured: float
    """When, seconds since 1970."""
    was_kept: bool
    """Whether it was read rather than measured just now."""


def machine(precision: Kind, products: Products, *, folder: Path | None = None, say: Say | None = None) -> Machine:
    """The rates of this machine, from the cache if they are fresh.

    folder: of the cache; default the user's. say: is told what is measured, how many pieces are done, and of how many.
    """
    path = (folder or user_cache()) / "probe" / f"plan-{_key(precision, products)}.json"
    kept = _read(path)
    if kept is not None:
        return kept
    rates = measure(precision, products, say=say)
    found = Machine(rates=rates, measured=time.time(), was_kept=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps({"measured": found.measured, "rates": dict(rates)}, indent=1) + "\n")
    except (OSError, StorageError):
        pass  # a cache that cannot be written only costs time
    return found


def _key(precision: Kind, products: Products) -> str:
    about = (platform.machine(), platform.processor(), _model_name(), torch.__version__, torch.get_num_threads())
    return hashlib.sha256(repr((*about, precision, products, WIDTHS, LENGTHS, 1)).encode()).hexdigest()[:16]


def _model_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("model name")), "")


def _read(path: Path) -> Machine | None:
    try:
        values = json.loads(path.read_bytes())
        rates = {str(name): float(rate) for name, rate in values["rates"].items()}
        measured = float(values["measured"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    age = time.time() - measured
    if not 0 <= age < KEEP_DAYS * 86_400 or not all(rate > 0 for rate in rates.values()):
        return None
    return Machine(rates=rates, measured=measured, was_kept=True)


def measure(precision: Kind, products: Products, *, say: Say | None = None) -> dict[str, float]:
    """Time every piece now."""
    made = list(_pieces(Precision(precision, _CPU)))
    rates = {}
    with fp32_products(products, _CPU):
        for number, (name, units, run) in enumerate(made):
            if say is not None:
                say(name, number, len(made))
            rates[name] = _fastest(run()) / units
    return rates


def _fastest(piece: Callable[[], None]) -> float:
    """Seconds of the best of several runs: other load only ever makes one slower."""
    piece()
    best, runs, until = float("inf"), 0, time.perf_counter() + _SECONDS
    while runs < _LEAST_RUNS or time.perf_counter() < until:
        start = time.perf_counter()
        piece()
        best = min(best, time.perf_counter() - start)
        runs += 1
    return best


Piece = tuple[str, float, Callable[[], Callable[[], None]]]
"""Name, units, and what makes the piece ready to run."""


def _pieces(precision: Precision) -> Iterator[Piece]:
    narrow = torch.float32 if precision.kind == "fp32" else torch.bfloat16
    for width in WIDTHS:
        yield f"linear/{width}", 6.0 * _ROWS * width * width, partial(_linear, width, precision)
    for norm in ("rms_norm", "layer_norm"):
        yield f"norm/{norm}", float(_NUMBERS), partial(_norm, norm, precision)
    yield "rotate", float(_NUMBERS), lambda: _rotation(narrow)
    for kind in ACTIVATIONS:
        yield f"activation/{kind}", float(_NUMBERS), partial(_activation, kind, narrow)
    yield "residual", float(_NUMBERS), lambda: _residual(narrow)
    for length in LENGTHS:
        rows = max(1, _NUMBERS // (8 * length * length))
        for way, keys in (("plain", 10**9), ("kernel", 0)):
            name, scores = f"attention/{way}/{length}", 8.0 * rows * length * length
            yield name, scores, partial(_attention, rows, length, keys, narrow)
    yield "loss", float(_ROWS * 2 * _VOCABULARY), _loss
    yield "update", float(_NUMBERS), _update


def _backward(make: Callable[[], Tensor], *leaves: Tensor) -> Callable[[], None]:
    def run() -> None:
        out = make()
        out.backward(torch.ones_like(out))  # type: ignore[no-untyped-call]
        for leaf in leaves:
            leaf.grad = None

    return run


def _leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape).to(dtype).requires_grad_()


def _linear(width: int, precision: Precision) -> Callable[[], None]:
    layer, x = nn.Linear(width, width, bias=False), _leaf(_ROWS, width)

    def product() -> Tensor:
        with precision.autocast():
            out: Tensor = layer(x)
        return out

    return _backward(product, x, layer.weight)


def _norm(kind: str, precision: Precision) -> Callable[[], None]:
    width = 512
    config = ModelTable.model_validate({"d_model": width, "n_heads": 8, "norm": kind}).complete(vocab_size=1)
    layer, x = make_norm(config), _leaf(_NUMBERS // width, width)

    def normed() -> Tensor:
        with precision.autocast():
            out: Tensor = layer(x)
        return out

    return _backward(normed, x, *layer.parameters())


def _rotation(dtype: torch.dtype) -> Callable[[], None]:
    length = 256
    q = _leaf(_NUMBERS // (8 * length * _HEAD_DIM), 8, length, _HEAD_DIM, dtype=dtype)
    turn = rotation(torch.arange(length)[None], head_dim=_HEAD_DIM, theta=1e4)
    return _backward(lambda: rotate(q, turn), q)


def _activation(kind: str, dtype: torch.dtype) -> Callable[[], None]:
    gate, up = _leaf(_NUMBERS // 1024, 1024, dtype=dtype), _leaf(_NUMBERS // 1024, 1024, dtype=dtype)
    act = ACTIVATIONS[kind]
    return _backward(lambda: act(gate) * up if kind == "swiglu" else act(gate), gate, up)


def _residual(dtype: torch.dtype) -> Callable[[], None]:
    x, y = _leaf(_NUMBERS // 512, 512), _leaf(_NUMBERS // 512, 512, dtype=dtype)
    return _backward(lambda: x + y, x, y)


def _attention(rows: int, length: int, plain_max_keys: int, dtype: torch.dtype) -> Callable[[], None]:
    q, k, v = (_leaf(rows, 8, length, _HEAD_DIM, dtype=dtype) for _ in range(3))
    causal = Visibility(None, is_causal=True)
    return _backward(lambda: attend(q, k, v, causal, plain_max_keys=plain_max_keys), q, k, v)


def _loss() -> Callable[[], None]:
    """Two chunks, so that each is computed again in backward; the head's product is counted elsewhere."""
    logits = _leaf(1, 2 * _ROWS, _VOCABULARY)
    targets = torch.zeros(1, 2 * _ROWS, dtype=torch.int64)
    return _backward(
        lambda: token_scores(logits, targets, lambda rows: rows * 1.0, chunk_tokens=_ROWS, nll_only=True).nll, logits
    )


def _update() -> Callable[[], None]:
    weight = nn.Parameter(torch.randn(_NUMBERS // 1024, 1024))
    weight.grad = torch.randn_like(weight)
    optimizer = make_optimizer([("weight", weight)], {"weight": "matrix"}, AdamWConfig())

    def move() -> None:
        nn.utils.clip_grad_norm_([weight], 1.0)
        optimizer.step()

    return move
