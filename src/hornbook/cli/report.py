"""`hornbook report`: one or several runs as one HTML page that needs nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook report` takes."""
    parser.add_argument(
        "runs",
        metavar="RUN",
        type=Path,
        nargs="+",
        help="a run's directory; several are laid over one another, and so are the runs of a sweep's directory; of a "
        "trunk or a branch the whole family is drawn",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="where to write the page (default: RUN/report.html; of several runs report.html beside the first)",
    )
    parser.add_argument("--png", action="store_true", help="write the main figure beside it too; needs the extra plot")
    parser.add_argument(
        "--plots",
        metavar="DIR",
        type=Path,
        help="write every figure into DIR too, as PNG, SVG and PDF for papers; needs the extra plot",
    )
    parser.add_argument(
        "--by",
        choices=("step", "minutes", "tokens", "flops"),
        help="horizontal axis of --plots (default: step, and where a run does not say what is asked for); on the page "
        "one chooses",
    )
    parser.add_argument("--open", action="store_true", help="show the page in a browser")


def run(args: argparse.Namespace) -> int:
    """Write the page and say where; the runs themselves are only read."""
    from hornbook.errors import ConfigError
    from hornbook.reporting.page import page
    from hornbook.reporting.picture import save_main_figure, save_pictures
    from hornbook.reporting.record import read_runs
    from hornbook.reporting.sweep import is_sweep, read_sweep
    from hornbook.storage.atomic import replace_file
    from hornbook.sweeps.sweep import Sweep
    from hornbook.tracking.console import emit, speaks_to_people

    sweep = Sweep.load(args.runs[0]) if len(args.runs) == 1 and is_sweep(args.runs[0]) else None
    if args.by and args.plots is None:
        raise ConfigError("--by has no effect without --plots DIR: on the page one chooses; leave it out")
    records = read_runs(args.runs) if sweep is None else read_sweep(sweep)
    first = records[0].run
    beside = sweep is not None or len(records) > 1
    out = _page_file(args.out) or (first.root.absolute().parent / "report.html" if beside else first.report_file)
    replace_file(out, page(records, sweep))
    written = [out]
    if args.png:
        written.append(out.with_suffix(".png"))
        save_main_figure(records, written[-1])
    plots = [] if args.plots is None else save_pictures(records, args.plots, axis=args.by or "step")
    if speaks_to_people():
        print("\n".join(f"{path}: {', '.join(record.name for record in records)}" for path in written))
        if plots:
            print(f"{args.plots}: {len(plots)} pictures")
    roots, png = [str(record.run.root) for record in records], written[1] if args.png else None
    emit("report", path=out, png=png, plots=plots, runs=roots)
    if args.open:
        _show(out)
    return 0


def _page_file(out: Path | None) -> Path | None:
    from hornbook.errors import ConfigError

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out {out}: expected a file whose name ends with .html, so that no other file is replaced")
    return out


def _show(page: Path) -> None:
    import webbrowser

    from hornbook.cli.from_checkpoint import note

    if not webbrowser.open(page.absolute().as_uri()):
        note(f"no browser could be opened; the page lies in {page}")
