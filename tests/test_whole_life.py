"""The numbers that examples/whole_life.sh tells of itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "whole_life.sh"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("name", "told"), [("val/loss", "2.5"), ("loss", "9"), ("val/none", "?")])
def test_a_number_is_the_last_of_its_name(tmp_path, name, told):
    log = tmp_path / "log.jsonl"
    log.write_text('{"event": "val", "val/loss": 3.25}\n{"val/loss": 2.5, "loss": 9.0}\n{"event": "end"}\n')
    text = SCRIPT.read_text(encoding="utf-8")
    function = text[text.index("value() {") :].split("\n}\n")[0] + "\n}\n"
    script = f'set -euo pipefail\n{function}value "$1" "$2"'
    done = subprocess.run(["bash", "-c", script, "-", name, log], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (told, "")
