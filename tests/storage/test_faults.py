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
