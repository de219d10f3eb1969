"""The whole page: one HTML file with its style sheet, its little script and all data; it needs nothing else."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files

from hornbook.reporting.curves import curves, norms
from hornbook.reporting.data_cards import data_cards
from hornbook.reporting.evaluations import evaluations
from hornbook.reporting.facts import identity, key_numbers, standing
from hornbook.reporting.family import Family, families, family_section
from hornbook.reporting.leavings import checkpoints, samples
from hornbook.reporting.objectives import objectives
from hornbook.reporting.record import RunRecord
from hornbook.reporting.settings import configuration, differences, hardware
from hornbook.reporting.sweep_page import sweep_section
from hornbook.sweeps.sweep import Sweep
from hornbook.tracking.figures import printable


def page(records: Sequence[RunRecord], sweep: Sweep | None = None) -> str:
    """The report of one run, or of several side by side; `sweep` is the one that they all are of."""
    title = ", ".join(record.name for record in records) if sweep is None else sweep.root.name
    text = "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{escape(title)}: report</title>\n<style>\n{_asset('report.css')}</style>\n</head>\n<body>\n",
            *(_header(records[0]) if len(records) == 1 else _headers(records)),
            "<main>\n",
            *_problems(records),
            *(() if sweep is None else sweep_section(sweep)),
            *(part for number, family in enumerate(families(records)) for part in _family(family, number)),
            *curves(records),
            *objectives(records),
            *(_details(records[0]) if len(records) == 1 else _runs(records)),
            '</main>\n<div id="tip" role="status" hidden></div>\n',
            f'<footer><p class="facts">Written {datetime.now():%Y-%m-%d %H:%M:%S}.</p></footer>\n',
            f"<script>\n{_asset('report.js')}</script>\n</body>\n</html>\n",
        ]
    )
    return printable(text)  # a model can write half characters, which no file takes


def _asset(name: str) -> str:
    return files("hornbook.reporting").joinpath(name).read_text(encoding="utf-8")


def _header(record: RunRecord) -> Iterator[str]:
    yield f'<header><h1>{escape(record.name)} <span class="state {record.state}">{record.state}</span></h1>\n'
    yield f'<p class="facts">{escape(standing(record))} {escape(identity(record))}</p>\n<dl class="cards">\n'
    for name, said in key_numbers(record).items():
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(said)}</dd></div>\n"
    yield "</dl></header>\n"


def _headers(records: Sequence[RunRecord]) -> Iterator[str]:
    numbers = [key_numbers(record) for record in records]
    names = list(dict.fromkeys(name for each in numbers for name in each))
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in ["run", "state", *names])
    yield f"<header><h1>{len(records)} runs</h1>\n"
    yield f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>\n'
    for number, (record, known) in enumerate(zip(records, numbers, strict=True)):
        cells = "".join(f"<td>{escape(known.get(name, ''))}</td>" for name in names)
        sign = f'<i class="c{number % 8} plain"></i>'
        yield f'<tr><th scope="row">{sign}{escape(record.name)}</th><td>{escape(record.state)}</td>{cells}</tr>\n'
    yield "</tbody></table></div></header>\n"


def _problems(records: Sequence[RunRecord]) -> Iterator[str]:
    for record in records:
        for problem in record.problems:
            yield f'<p class="problem">{escape(problem)}</p>\n'


def _family(family: Family, number: int) -> Iterator[str]:
    return family_section(family, key=f"family-{number}")


def _details(record: RunRecord) -> Iterator[str]:
    yield from norms(record)
    yield from _leavings(record)


def _leavings(record: RunRecord) -> Iterator[str]:
    """What there is to say of one run besides its curves."""
    yield from samples(record)
    yield from evaluations(record)
    yield from checkpoints(record)
    yield from data_cards(record)
    yield from configuration(record)
    yield from hardware(record)


def _runs(records: Sequence[RunRecord]) -> Iterator[str]:
    yield differences(records)
    yield "<section><h2>The runs</h2>\n"
    for record in records:
        yield f'<details class="run"><summary>{escape(record.name)}</summary>\n'
        yield f'<p class="facts">{escape(standing(record))} {escape(identity(record))}</p>\n'
        yield from _leavings(record)
        yield "</details>\n"
    yield "</section>\n"
