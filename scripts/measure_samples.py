"""Say what samples are made of, beside the text that their run was trained on.

    hornbook generate runs/NAME --prompt "Once upon a time" --num-samples 20 > samples.jsonl
    python scripts/measure_samples.py runs/NAME samples.jsonl

Prints the share of words that the training text has, distinct-2, and the share of eight-word passages that are copies.
The prompts themselves do not count.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hornbook.config.load import load_config
from hornbook.data.dataset import Dataset
from hornbook.errors import DataError, HornbookError
from hornbook.evaluation.text_statistics import TextStatistics, text_statistics


def main() -> int:
    """Measure and print; 2 if something is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("samples", type=Path, help="what `hornbook generate` prints where stdout is no terminal")
    args = parser.parse_args()
    try:
        dataset = Dataset.open(load_config(args.run / "config.toml").config.data.path)
        print(said(text_statistics(outputs(args.samples), documents(dataset))))
    except (HornbookError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def outputs(path: Path) -> list[str]:
    """The generated texts among the events.

    Raises:
        DataError: if there are none.
    """
    with suppress(ValueError, AttributeError, KeyError):  # neither UTF-8 nor JSON, no objects, other objects
        events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if texts := [event["output"] for event in events if event.get("event") == "generate"]:
            return texts
    raise DataError(
        f"{path}: expected the JSON lines of generated texts; make it with: hornbook generate RUN --json > {path}"
    )


def documents(dataset: Dataset) -> Iterator[str]:
    """The training split as text."""
    stream, tokenizer = dataset.split("train"), dataset.tokenizer()
    for number in range(stream.n_documents):
        yield tokenizer.decode(stream.document(number), skip_special=True)


def said(found: TextStatistics) -> str:
    """The statistics for people."""
    return "\n".join(
        [
            f"texts                             {found.texts}",
            f"words                             {found.words:,}",
            f"words of the training vocabulary  {share(found.known_share)}",
            f"distinct-2                        {share(found.distinct_2)}",
            f"eight-grams that are copies       {share(found.memorised_share)} of {found.eight_grams:,}",
        ]
    )


def share(value: float | None) -> str:
    """In per cent."""
    return "none" if value is None else f"{100 * value:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
