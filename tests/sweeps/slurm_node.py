"""A real SLURM of one node in a folder: its own munged, slurmctld and slurmd, ports and state, gone with the test."""

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=2
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
NodeName=node0 NodeHostName={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cpus} RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=node0 Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """What is not installed."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@contextlib.contextmanager
def slurm_node(root: Path, *, cpus: int = 2) -> Iterator[None]:
    """Start it, point SLURM_CONF at it, wait until it takes jobs; `root` holds a socket, so its path must be short."""
    for folder in ("state", "spool"):
        (root / folder).mkdir(parents=True)
    key = root / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    conf = root / "slurm.conf"
    values = {"root": root, "host": socket.gethostname().partition(".")[0], "user": getpass.getuser(), "cpus": cpus}
    conf.write_text(_CONF.format(controller_port=_free_port(), node_port=_free_port(), **values))
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={root}/munge.socket"]
    files = [f"--{name}-file={root}/munged.{name}" for name in ("log", "pid", "seed")]
    before = {name: os.environ.get(name) for name in ("SLURM_CONF", "PATH")}
    os.environ.update(SLURM_CONF=str(conf), PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
    try:
        with (
            _running([*munged, *files], root),
            _running(["slurmctld", "-D", "-c"], root),
            _running(["slurmd", "-D", "-N", "node0"], root),
        ):
            _wait_until_idle(root)
            try:
                yield
            finally:
                _end_all_jobs()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _running(command: list[str], root: Path) -> Iterator[None]:
    with (root / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_idle(root: Path) -> None:
    said = ""
    for _ in range(300):
        asked = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False)
        said = asked.stdout.strip() + asked.stderr.strip()
        if said == "idle":
            return
        time.sleep(0.1)
    logs = {path.name: path.read_text()[-1500:] for path in root.glob("*.log")}
    raise RuntimeError(f"SLURM did not start: {said}; {logs}")


def _end_all_jobs() -> None:
    """What a job leaves behind would outlive the daemons."""
    for _ in range(100):
        subprocess.run(["scancel", "--me", "--full", "--signal=KILL"], capture_output=True, check=False)
        subprocess.run(["scancel", "--me"], capture_output=True, check=False)
        left = subprocess.run(["squeue", "--me", "--noheader"], capture_output=True, text=True, check=False)
        if left.returncode == 0 and not left.stdout.strip():
            return
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
