"""`hornbook bench`: ratios against ordinary libraries, measured side by side on this machine."""

import argparse
import json
import sys
from pathlib import Path

from hornbook.cli.configuration import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook bench` takes."""
    parser.add_argument("case", choices=("tokenizer", "train", "decode"), help="what to compare")
    parser.add_argument("--blocks", type=positive, default=7, help="turns of each side (default 7)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the rows to PATH")


def run(args: argparse.Namespace) -> int:
    """Run one case and print its table, or JSON lines where stdout is no terminal."""
    from dataclasses import asdict

    from hornbook.benchmarks.cases import CASES
    from hornbook.storage.atomic import replace_file
    from hornbook.tracking.console import emit, speaks_to_people

    print(f"hornbook bench {args.case}: {args.blocks} blocks a side", file=sys.stderr)
    rows = CASES[args.case](blocks=args.blocks)
    for row in rows:
        ratio = row.ratio
        if speaks_to_people():
            ours, theirs = row.amount / ratio.ours_seconds, row.amount / ratio.theirs_seconds
            print(
                f"{row.case:12} {ours:,.1f} {row.unit}/s, {row.peer} {theirs:,.1f}: "
                f"{ratio.median:.2f} x ({ratio.low:.2f} to {ratio.high:.2f})"
            )
        emit("bench", **asdict(row))
    if args.json:
        replace_file(args.json, json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0
