"""A Ray cluster of this machine that is reached as one of others is, by its client's port, with a token of its own."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGINNING = 60.0
"""Seconds until a cluster answers."""


def environment() -> dict[str, str]:
    """For processes of a cluster and those that reach it."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    known = {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    return {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"} | known | {"PYTHONPATH": path}


@contextmanager
def running(environment: dict[str, str], folder: Path) -> Iterator[str]:
    """The address of a cluster with two cores, which ends with the context; its log is in `folder`."""
    port, client = _free_port(), _free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += [f"--ray-client-server-port={client}", "--include-dashboard=false", "--num-cpus=2"]
    with (folder / "ray.log").open("w") as log:
        own = environment | {"RAY_AUTH_MODE": "token"}
        head = subprocess.Popen([*command, f"--object-store-memory={100 * 2**20}"], stdout=log, stderr=log, env=own)
    try:
        _wait(client, head, folder / "ray.log")
        yield f"ray://127.0.0.1:{client}"
    finally:
        head.terminate()
        head.wait(BEGINNING)


def _free_port() -> int:
    """One that no other process has, nor Ray's workers, which take from 10 002 to 19 999."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if not 10_000 <= port < 20_000:
            return port


def _wait(port: int, head: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + BEGINNING
    while time.monotonic() < until and head.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the cluster did not begin:\n{log.read_text()}")
