"""Trunks and their branches: which of the runs at hand, and beside them, belong together, and the figure of it."""

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path

from hornbook.errors import HornbookError
from hornbook.reporting.figure import figure
from hornbook.reporting.least_loss import loss_unit
from hornbook.reporting.plot import WIDE, Figure, Line, Mark
from hornbook.reporting.record import Curve, RunRecord, read_run
from hornbook.reporting.scale import short
from hornbook.storage.run_dir import RunDir


@dataclass(frozen=True, kw_only=True)
class Family:
    """A trunk and the runs that branch from it, by the step where they do; of the same step the shorter one first."""

    trunk: RunRecord
    branches: Sequence[RunRecord]


def families(records: Sequence[RunRecord]) -> list[Family]:
    """The families that the runs belong to, relatives that lie beside them included; at most one for each trunk."""
    known = {record.run.root.resolve(): record for record in records}
    trunks: dict[Path, None] = {}
    for record in records:
        trunk = trunk_of(record)
        if trunk is not None:
            trunks[trunk] = None
        elif any(_claims(folder, record.run.root) for folder in _runs_beside(record.run.root)):
            trunks[record.run.root.resolve()] = None
    found = []
    for root in trunks:
        trunk_record = known.get(root) or _read(root)
        if trunk_record is None:
            continue
        beside = {folder.resolve() for folder in _runs_beside(root) if _claims(folder, root)}
        roots = sorted(beside | {other for other, record in known.items() if trunk_of(record) == root})
        branches = [branch for each in roots if (branch := known.get(each) or _read(each)) is not None]
        branches.sort(key=lambda record: (branch_step(record), record.total_steps or 0, record.name))
        if branches:
            found.append(Family(trunk=trunk_record, branches=branches))
    return found


def trunk_of(record: RunRecord) -> Path | None:
    """The directory of the run that a branch came from, if it still exists; None for a run that is no branch."""
    return _trunk(record.settings.get("run.branch_from"), record.run.root, record.provenance.get("directory"))


def branch_step(record: RunRecord) -> int:
    """The step from which a branch went on."""
    return min((step for step, _, _ in record.of("start")), default=0)


def family_section(family: Family, *, key: str) -> Iterator[str]:
    """HTML: the figure, whose identifier is `key`, and a table of how each branch ended."""
    yield f"<section><h2>Branches of {escape(family.trunk.name)}</h2>\n"
    yield figure(family_figure(family, key=key))
    yield _table(family, _kind(family))
    yield "</section>\n"


def family_figure(family: Family, *, key: str) -> Figure:
    """The trunk's loss and those of its branches, each with its last value."""
    trunk, kind = family.trunk, _kind(family)
    lines = [Line(label=f"{trunk.name} (trunk)", curve=trunk.curve(kind), colour=0)]
    for number, branch in enumerate(family.branches):
        curve = _joined(trunk, branch, kind)
        lines.append(Line(label=branch.name, curve=curve, colour=1 + number % 7, weight="ended"))
    points = sorted({branch_step(branch) for branch in family.branches})
    marks = [Mark(step=step, label=f"branched at step {step:,}", kind="branch") for step in points]
    title = "Validation loss of the family" if kind == "val/loss" else "Training loss of the family"
    unit = loss_unit([trunk.settings])
    return Figure(key=key, title=title, unit=unit, lines=lines, marks=marks, width=WIDE, height=380)


def _kind(family: Family) -> str:
    """Validation loss, or the training loss if nobody validated."""
    validated = any(record.curve("val/loss") for record in [family.trunk, *family.branches])
    return "val/loss" if validated else "train/loss"


def _joined(trunk: RunRecord, branch: RunRecord, kind: str) -> Curve:
    """The branch's curve, begun where it left the trunk's."""
    curve, step = branch.curve(kind), branch_step(branch)
    before = trunk.curve(kind).at(step)
    if before is None:
        return curve
    return Curve(steps=(step, *curve.steps), minutes=(0.0, *curve.minutes), values=(before, *curve.values))


def _table(family: Family, kind: str) -> str:
    rows = []
    for branch in family.branches:
        step, curve = branch_step(branch), branch.curve(kind)
        before, last, lowest = family.trunk.curve(kind).at(step), curve.last, curve.lowest
        gain = None if before is None or last is None else last - before
        cells = [
            f"{step:,}",
            f"{(branch.total_steps or step) - step:,}",
            "" if before is None else f"{before:.4f}",
            "" if last is None else f"{last:.4f}",
            "" if gain is None else f"{gain:+.4f}",
            "" if lowest is None else f"{lowest[1]:.4f} at {lowest[0]:,}",
            escape(branch.state),
        ]
        rows.append(
            f'<tr><th scope="row">{escape(branch.name)}</th>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>\n"
        )
    heads = ("branch", "from step", "cooldown", "trunk's loss there", "final loss", "change", "lowest loss", "state")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    trunk_last = family.trunk.curve(kind).last
    note = (
        ""
        if trunk_last is None
        else f"; the trunk itself stands at {short(trunk_last)} at step {family.trunk.last_step:,}"
    )
    return (
        f'<div class="wide"><table><caption>How each branch ended{note}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def _runs_beside(root: Path) -> Iterable[Path]:
    """Directories of other runs in the same folder."""
    try:
        return sorted(path.parent for path in root.absolute().parent.glob("*/config.toml"))
    except OSError:
        return []


def _claims(folder: Path, trunk: Path) -> bool:
    """Whether the run in `folder` says that it branched from `trunk`."""
    try:
        run = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8", errors="replace")).get("run", {})
    except (OSError, tomllib.TOMLDecodeError):
        return False
    claimed = run.get("branch_from") if isinstance(run, dict) else None
    return (
        claimed is not None and _trunk(claimed, folder, RunDir(folder).provenance().get("directory")) == trunk.resolve()
    )


def _trunk(checkpoint: object, branch: Path, started_in: object) -> Path | None:
    """RUN of RUN/checkpoints/step-...: as written, from where training was started, or by name beside the branch."""
    if not isinstance(checkpoint, str) or len(Path(checkpoint).parts) < 3:
        return None
    root = Path(checkpoint).parents[1]
    tries = [
        root,
        *([Path(started_in) / root] if isinstance(started_in, str) else []),
        branch.absolute().parent / root.name,
    ]
    return next((path.resolve() for path in tries if (path / "config.toml").is_file()), None)


def _read(root: Path) -> RunRecord | None:
    with suppress(HornbookError):
        return read_run(root)
    return None
