"""Where the first value that is not finite comes from: every module's input and output, then every gradient.

Forward, a module is seen when it ends, so what a module is blamed for did not come from the modules inside it. A module
that is handed such a value by none of those before it names the module around it, whose own arithmetic made it.
Backward, gradients are seen as they are made: of a module's output, and of each parameter.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

What = Literal["output", "own arithmetic", "gradient of the output", "gradient of the parameter"]


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A value that is not finite, where it was seen first."""

    name: str
    """Of the module or parameter; "model" is the whole."""
    what: What
    micro_batch: int
    rows: tuple[int, ...]
    """Rows of the micro-batch that it stands in; none where the tensor is not laid out by rows."""
    n_bad: int
    n_values: int


class FiniteWatch:
    """Hooks on every module and parameter that note the first value of each pass that is not finite."""

    def __init__(self, model: nn.Module, *, draws: int = 1) -> None:
        """`draws`: how often an objective reads each row of a micro-batch in one pass, one after another."""
        self.model = model
        self.draws = draws
        self.forward: Sighting | None = None
        self.backward: Sighting | None = None
        self._names = {module: name or "model" for name, module in model.named_modules()}
        self._open: list[nn.Module] = []
        self._micro_batch = 0
        self._went_back = False
        self._n_rows = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, the model is watched; afterwards no hook is left."""
        handles = []
        for module in self._names:
            handles.append(module.register_forward_pre_hook(self._before))
            handles.append(module.register_forward_hook(self._after))
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad:  # frozen: it has no gradient to look at
                continue
            look = self._parameter_hook(name)
            handles.append(parameter.register_post_accumulate_grad_hook(look))  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, module: nn.Module, inputs: tuple[object, ...]) -> None:
        if module is self.model:
            self._micro_batch += self._went_back  # an objective may read a micro-batch more than once
            self._went_back = False
            self._n_rows = len(inputs[0]) if isinstance(inputs[0], Tensor) else 0
            self._open.clear()
        if self._open and self.forward is None:
            around = self._names[self._open[-1]]
            for tensor in _tensors(inputs[:1]):
                self.forward = self.forward or self._look(tensor, around, "own arithmetic")
        if module is self.model or self._open:
            self._open.append(module)

    def _after(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if not self._open:  # recomputed in backward by activation checkpointing: seen already
            return
        self._open.pop()
        name = self._names[module]
        for tensor in _tensors(output):
            self.forward = self.forward or self._look(tensor, name, "output")
            if tensor.requires_grad:
                tensor.register_hook(self._output_hook(name, self._micro_batch))  # type: ignore[no-untyped-call]

    def _output_hook(self, name: str, micro_batch: int) -> Callable[[Tensor], None]:
        def look(gradient: Tensor) -> None:
            found = self._look(gradient, name, "gradient of the output", micro_batch)
            self.backward = self.backward or found

        return look

    def _parameter_hook(self, name: str) -> Callable[[Tensor], None]:
        def look(parameter: Tensor) -> None:
            self._went_back = True
            if parameter.grad is not None:
                found = self._look(parameter.grad, name, "gradient of the parameter")
                self.backward = self.backward or found

        return look

    def _look(self, tensor: Tensor, name: str, what: What, micro_batch: int | None = None) -> Sighting | None:
        good = tensor.detach().isfinite()
        if bool(good.all()):
            return None
        by_row = what != "gradient of the parameter" and good.ndim > 1 and len(good) == self._n_rows
        bad_rows = (~good).flatten(1).any(1).nonzero().flatten().tolist() if by_row else []
        bad_rows = sorted({row // self.draws for row in bad_rows})
        return Sighting(
            name=name,
            what=what,
            micro_batch=self._micro_batch if micro_batch is None else micro_batch,
            rows=tuple(bad_rows),
            n_bad=int((~good).sum()),
            n_values=good.numel(),
        )


def _tensors(value: object) -> Iterator[Tensor]:
    """Every floating-point tensor in tuples, lists and dataclasses."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))


def not_finite(model: nn.Module) -> list[str]:
    """Parameters that hold a value that is not finite."""
    return [name for name, parameter in model.named_parameters() if not bool(parameter.detach().isfinite().all())]


def norms_by_layer(model: nn.Module) -> dict[str, float]:
    """Norm of the gradient of each layer ("layers.3"), and of each other module at the top of the model, in order."""
    squares: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            first, *rest = name.split(".")
            layer = f"{first}.{rest[0]}" if rest and rest[0].isdigit() else first
            squares.setdefault(layer, []).append(torch.linalg.vector_norm(parameter.grad.float()))
    return {layer: torch.linalg.vector_norm(torch.stack(norms)).item() for layer, norms in squares.items()}
