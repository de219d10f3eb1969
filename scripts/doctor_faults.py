"""Does `hornbook doctor` see what is broken, and name it? python scripts/doctor_faults.py [STAGE ...]

Each of its stages has a fault here: a line or two that are made wrong in a copy of src. With it, that stage must fail
and no other. Prints a table, half a minute a line on two cores; the exit status is 1 if another stage fails, or none.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from seeded_bugs import Bug, copied

FAULTS: Mapping[str, Bug] = {
    "tokenizer": Bug(
        name="after a merge the pair before it is forgotten",
        file="tokenizer/reference.py",
        changes=(
            (
                "        if preceding[i] >= 0:\n            consider(preceding[i])\n        consider(i)",
                "        consider(i)",
            ),
        ),
    ),
    "data": Bug(
        name="the reading order is no permutation",
        file="data/order.py",
        changes=(
            (
                "        outside = values >= n\n",
                "        values %= np.uint64(n)\n        outside = values >= n\n",
            ),
        ),
    ),
    "autoregressive": Bug(
        name="perplexity asks for the token that was read",
        file="evaluation/perplexity.py",
        changes=(("both[:, :-1].contiguous(), both[:, 1:]", "both[:, :-1].contiguous(), both[:, :-1]"),),
    ),
    "diffusion": Bug(
        name="masked tokens are asked for their neighbours",
        file="objectives/masked_diffusion.py",
        changes=(("targets = batch.tokens[:, :length]", "targets = batch.tokens[:, :length].roll(1, dims=1)"),),
    ),
    "sft": Bug(
        name="prompts are trained like answers",
        file="tokenizer/chat.py",
        changes=(("[counts and i in turn.trained for i in range(len(turn.ids))]", "[counts] * len(turn.ids)"),),
    ),
    "dpo": Bug(
        name="the rejected answer is preferred",
        file="objectives/preference_losses.py",
        changes=(("return -(1.0 - epsilon) * F.logsigmoid(beta", "return -(1.0 - epsilon) * F.logsigmoid(-beta"),),
    ),
    "resume": Bug(
        name="the optimizer begins anew",
        file="distributed/full_state.py",
        changes=(("((model_live, state.model), (optimizer_live, state.optimizer))", "((model_live, state.model),)"),),
    ),
    "parallel": Bug(
        name="the last bucket is never summed",
        file="distributed/buckets.py",
        changes=(("    done += [together for together in waiting.values() if together]\n", ""),),
    ),
    "generate": Bug(
        name="draws lean towards the first tokens",
        file="generation/draw.py",
        changes=(("_weights(logits, highest, sampling), noise)", "_weights(logits, highest, sampling), noise**2)"),),
    ),
    "serve": Bug(
        name="whole answers keep their last piece alone",
        file="serving/answers.py",
        changes=(("        self.text += delta.text\n", "        self.text = delta.text\n"),),
    ),
    "export": Bug(
        name="queries and outputs change places",
        file="interop/names.py",
        changes=(
            ('attn.q_proj.weight", "layers.{n}.attention.q_proj', 'attn.q_proj.weight", "layers.{n}.attention.o_proj'),
            ('attn.o_proj.weight", "layers.{n}.attention.o_proj', 'attn.o_proj.weight", "layers.{n}.attention.q_proj'),
        ),
    ),
}
"""Stage -> what is broken there."""


def main(stages: list[str]) -> int:
    """Examine a sound copy, then one with each fault."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"  # always the same path, or every copy would compile its kernels anew
        failing = failing_stages(copied(source), Path(folder))
        if failing:
            print(f"without any fault these stages fail: {', '.join(failing)}; mend that first")
            return 1
        print(f"{'stage':<16}{'fault':<48}stages that fail", flush=True)
        seen = 0
        for stage in stages or FAULTS:
            shutil.rmtree(source)
            problem = FAULTS[stage].put_into(copied(source))
            failing = failing_stages(source, Path(folder)) if problem is None else []
            print(f"{stage:<16}{FAULTS[stage].name:<48}{problem or ', '.join(failing) or 'none'}", flush=True)
            seen += failing == [stage]
    print(f"{seen} of {len(stages or FAULTS)} faults turn their own stage red, and no other")
    return 0 if seen == len(stages or FAULTS) else 1


def failing_stages(source: Path, folder: Path) -> list[str]:
    """What `hornbook doctor` finds in the package that lies in `source`."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hornbook", "doctor", "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    found = {event["stage"]: event["status"] for event in events if event["event"] == "doctor"}
    if set(found) != set(FAULTS) or done.returncode not in (0, 1):
        raise SystemExit(f"hornbook doctor did not come to its end:\n{done.stdout}{done.stderr}")
    return [stage for stage, status in found.items() if status != "pass"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
