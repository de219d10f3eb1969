import subprocess
import sys

import pytest

CODE = """
from hornbook.storage.faults import crash_point
for i in range(3):
    crash_point("other")
    crash_point("here")
    print(i, flush=True)
"""


@pytest.mark.parametrize(
    ("wanted", "printed"),
    [("", "012"), ("here", ""), ("here@2", "0"), ("here@3", "01"), ("here@4", "012"), ("her", "012")],
)
def test_dies_where_and_when_asked(wanted: str, printed: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", CODE], env={"HORNBOOK_CRASH": wanted}, capture_output=True, text=True, check=False
    )
    assert result.stdout.split() == list(printed)
    assert (result.returncode != 0) == (printed != "012")
    assert result.stderr == ""


@pytest.mark.parametrize(("rank", "dies"), [("0", False), ("1", True), (None, False)])
def test_of_several_processes_only_the_one_that_is_named_dies(rank: str | None, dies: bool) -> None:
    variables = {"HORNBOOK_CRASH": "here#1"} | ({} if rank is None else {"RANK": rank})
    result = subprocess.run([sys.executable, "-c", CODE], env=variables, capture_output=True, text=True, check=False)
    assert (result.returncode != 0) == dies
