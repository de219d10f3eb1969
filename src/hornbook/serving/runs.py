"""The runs of a folder over HTTP, for the page: which there are, how far each is, and its curves.

    GET /ui/runs                 {"folder": "runs", "runs": [{"name", "state", "step", "total_steps", "changed",
                                  "train_loss", "val_loss"}, ...]}, those that changed last first
    GET /ui/runs/NAME/curves     {"name", "state", "step", "total_steps", "problems",
                                  "curves": {"train/loss": {"steps": [...], "values": [...]}, ...}}

Only what is in metrics.jsonl and state is shown, only of directories that lie in the folder, and nothing is written.
"""

import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hornbook.errors import HornbookError
from hornbook.storage.run_dir import RunDir
from hornbook.tracking.jsonl import read_metrics
from hornbook.tracking.thinning import thinned

if TYPE_CHECKING:
    from fastapi import APIRouter

METRICS = (
    *("train/loss", "val/loss", "train/bits_per_byte", "val/bits_per_byte"),
    *("train/learning_rate", "train/grad_norm", "train/tokens_per_second", "train/seconds_left"),
    *("val/rewards/accuracy", "val/rewards/margin"),
    *("val/nll_p0_25", "val/nll_p25_50", "val/nll_p50_75", "val/nll_p75_100"),
)
"""Of which curves are sent, where a run has them."""
_TAIL = 1 << 18
"""Bytes at the end of a metrics.jsonl that a list of runs looks at: about a thousand events."""


def runs_router(root: Path) -> "APIRouter":
    """Routes over the runs in the folder `root`, or over `root` alone where that is a run itself.

    A folder that does not exist has no runs; it may come to be later.
    """
    from fastapi import APIRouter, Query
    from fastapi.responses import JSONResponse

    router = APIRouter(prefix="/ui")

    @router.get("/runs")
    def list_runs() -> JSONResponse:
        """What runs there are, the newest first."""
        found = sorted((_outline(run) for run in _runs(root).values()), key=lambda each: -each.changed)
        return JSONResponse({"folder": root.absolute().name, "runs": [vars(each) for each in found]})

    @router.get("/runs/{name}/curves")
    def curves(name: str, points: Annotated[int, Query(ge=10, le=5000)] = 600) -> JSONResponse:
        """The curves of one run, of each at most about `points` points."""
        run = _runs(root).get(name)  # looked up among what is there, so that no path leads elsewhere
        if run is None:
            message = f"there is no run {name[:200]!r} in {root.absolute().name}"
            return JSONResponse({"error": _error(message)}, status_code=404)
        return JSONResponse(_curves(run, points))

    return router


@dataclass(frozen=True, kw_only=True)
class _Outline:
    """A run in a list."""

    name: str
    state: str
    step: int
    total_steps: int | None
    changed: float
    """Unix seconds."""
    train_loss: float | None
    val_loss: float | None


def _runs(root: Path) -> dict[str, RunDir]:
    """{name: run} of the directories in `root` that are runs."""
    root = root.absolute()
    if _is_run(root):
        return {root.name: RunDir(root)}
    try:
        return {path.name: RunDir(path) for path in root.iterdir() if _is_run(path)}
    except OSError:
        return {}


def _is_run(path: Path) -> bool:
    run = RunDir(path)
    try:
        return run.state_file.is_file() or run.metrics_file.is_file()
    except OSError:
        return False


def _outline(run: RunDir) -> _Outline:
    last: dict[str, object] = {}
    for event in _tail(run.metrics_file):
        last.update(event)
    step, total = last.get("step"), last.get("total_steps")
    return _Outline(
        name=run.root.name,
        state=_state(run),
        step=step if isinstance(step, int) else 0,
        total_steps=total if isinstance(total, int) else _planned(run),
        changed=_changed(run),
        train_loss=_finite(last.get("train/loss")),
        val_loss=_finite(last.get("val/loss")),
    )


def _tail(path: Path) -> Iterator[dict[str, object]]:
    """The events of training at the end of a file; what is torn or damaged is left out."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read(_TAIL).split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and event.get("event") in ("start", "train", "val"):
            yield event


def _curves(run: RunDir, points: int) -> dict[str, object]:
    events, problems = _events(run)
    steps = [step for event in events if isinstance(step := event.get("step"), int)]
    curves = {metric: drawn for metric in METRICS if (drawn := _curve(events, metric, points)) is not None}
    totals = [event["total_steps"] for event in events if isinstance(event.get("total_steps"), int)]
    return {
        "name": run.root.name,
        "state": _state(run),
        "step": max(steps, default=0),
        "total_steps": totals[-1] if totals else _planned(run),
        "problems": problems,
        "curves": curves,
    }


def _events(run: RunDir) -> tuple[list[dict[str, object]], list[str]]:
    problems: list[str] = []
    try:
        return read_metrics(run.metrics_file, damaged=problems), problems[:5]
    except (HornbookError, OSError, RecursionError) as error:
        return [], [*problems[:5], str(error).replace(str(run.root.parent), "...")]


def _curve(
    events: Sequence[dict[str, object]], metric: str, points: int
) -> dict[str, list[int] | list[float | None]] | None:
    kind = metric.partition("/")[0]
    found = [
        (step, math.nan if (value := _finite(event[metric])) is None else value)
        for event in events
        if event.get("event") == kind and metric in event and isinstance(step := event.get("step"), int)
    ]
    if not any(math.isfinite(value) for _, value in found):
        return None
    kept = thinned([value for _, value in found], points)
    values = [found[i][1] for i in kept]
    return {"steps": [found[i][0] for i in kept], "values": [v if math.isfinite(v) else None for v in values]}


def _state(run: RunDir) -> str:
    try:
        return run.state
    except (HornbookError, OSError, ValueError):
        return "unknown"


def _planned(run: RunDir) -> int | None:
    # Read as TOML, not as a Config: a run of another version has settings that this one does not know.
    try:
        train = tomllib.loads(run.config_file.read_text(encoding="utf-8")).get("train")
    except (OSError, ValueError):
        return None
    steps = train.get("steps") if isinstance(train, dict) else None
    return steps if isinstance(steps, int) else None


def _changed(run: RunDir) -> float:
    try:
        return max(path.stat().st_mtime for path in (run.metrics_file, run.state_file) if path.exists())
    except (OSError, ValueError):
        return 0.0


def _finite(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


def _error(message: str) -> dict[str, str]:
    """In the form of OpenAI's errors, as the rest of the server."""
    return {"message": message, "type": "invalid_request_error", "param": "name", "code": "not_found"}
