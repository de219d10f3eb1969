"""Which checkpoints stay: the newest light ones, the newest full ones, and always those that LATEST and BEST name.

A best checkpoint that was superseded has no special right any more, so bests do not pile up. No torch, no numpy.
"""

from pathlib import Path

from hornbook.storage.atomic import discard_directory
from hornbook.storage.faults import crash_point
from hornbook.storage.run_dir import Kind, list_checkpoints, pointed


def prune(root: Path, *, light_keep: int, full_keep: int, dry_run: bool = False) -> list[Path]:
    """Delete the checkpoints below `root` (a run's checkpoints/) that need not stay; returns them, oldest first.

    `light_keep` >= 0 light ones and `full_keep` >= 1 full ones stay, by step. Incomplete directories and other files
    are left alone. With `dry_run` nothing is deleted.

    Raises:
        StorageError: if the disk refuses.
    """
    assert light_keep >= 0
    assert full_keep >= 1, "the newest full one is what a run is resumed from"
    entries = list_checkpoints(root)
    keep = {pointed(root, "latest"), pointed(root, "best")}
    budgets: tuple[tuple[Kind, int], ...] = (("light", light_keep), ("full", full_keep))
    for kind, count in budgets:
        newest_first = [entry.path for entry in reversed(entries) if entry.kind == kind]
        keep.update(newest_first[:count])
    doomed = [entry.path for entry in entries if entry.path not in keep]
    if dry_run:
        return doomed
    for path in doomed:
        crash_point("checkpoint:retention")
        discard_directory(path)
        crash_point("checkpoint:retention")
    return doomed
