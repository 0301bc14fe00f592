"""Clips in buckets of S3 and Google, against emulators on this machine, which no extra has:

pip install s3fs "moto[server]", pip install gcsfs gcp-storage-emulator.
Restored with a journal in the bucket, broken off and gone on with, and by the workers of a cluster.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.models.tiny import tiny_denoiser
from tests.test_batch import options_of, states, write_clip
from warped_diffusion.batch import clips_of, in_turn, restore_many
from warped_diffusion.models import embedded
from warped_diffusion.restore_video import restore_video
from warped_diffusion.storage import place

pytestmark = pytest.mark.slow

BEGINNING = 60.0
"""Seconds until an emulator answers."""


def needs(*modules: str) -> None:
    """Skips what cannot be tried, and imports nothing: the environment counts when that is done."""
    for module in modules:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def s3(port: int) -> tuple[list[str], dict[str, str]]:
    """The emulator's command, and the environment in which it is found."""
    needs("s3fs", "moto")
    known = {"AWS_ACCESS_KEY_ID": "emulated", "AWS_SECRET_ACCESS_KEY": "emulated", "AWS_DEFAULT_REGION": "us-east-1"}
    command = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    return command, known | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


def gs(port: int) -> tuple[list[str], dict[str, str]]:
    """The same of Google's."""
    needs("gcsfs", "gcp_storage_emulator")
    command = ["-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]
    # What is switched off speaks another protocol, which the emulator does not know. It is read on import.
    known = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    return command, known


@pytest.fixture(params=[s3, gs], ids=["s3", "gs"])
def bucket(request, monkeypatch) -> Iterator[str]:
    """The URL of an empty bucket."""
    import fsspec

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, known = request.param(port)
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        protocol = request.param.__name__
        fsspec.get_filesystem_class(protocol).clear_instance_cache()
        fsspec.filesystem(protocol).mkdir("bucket")
        yield f"{protocol}://bucket"
    finally:
        server.terminate()
        server.wait()


def wait_for(port: int) -> None:
    until = time.monotonic() + BEGINNING
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)


@pytest.fixture
def filled(bucket, tmp_path) -> Path:
    """Two clips in the bucket's `in`; the same in a folder, with the weights of a tiny network."""
    (tmp_path / "in").mkdir()
    for seed, name in enumerate(["a.mp4", "b.mp4"]):
        write_clip(tmp_path / "in" / name, seed, count=24)
        place(f"{bucket}/in/{name}").write_bytes((tmp_path / "in" / name).read_bytes())
    embedded.save(tiny_denoiser(), tmp_path / "weights.safetensors", {})
    return tmp_path


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def same(filled: Path, out: Path, asked: dict[str, object]) -> None:
    """The bucket holds what this machine makes of the clips by itself, and nothing else."""
    assert names(out) == {"a.mp4", "b.mp4", ".restored/a.mp4.json", ".restored/b.mp4.json", "restore-many.jsonl"}
    for name in ("a.mp4", "b.mp4"):
        restore_video(filled / "in" / name, filled / name, **asked)
        assert (out / name).read_bytes() == (filled / name).read_bytes()


def test_a_clip_in_a_bucket_is_broken_off_and_gone_on_with(bucket, filled):
    asked, out, seen, again = options_of(filled, lanes=1), place(f"{bucket}/out"), [], []

    def stop(count: int) -> None:
        seen.append(count)
        if sum(seen) == 12:
            os.kill(os.getpid(), signal.SIGINT)

    clips = clips_of([place(f"{bucket}/in")], out)
    assert states(restore_many(clips, out, asked | {"progress": stop}, in_turn)) == {"a.mp4": "stopped"}
    assert {"a.mp4.journal/journal.json", "a.mp4.journal/restored/index.json"} <= names(out)
    assert set(states(restore_many(clips, out, asked | {"progress": again.append})).values()) == {"restored"}
    assert again[0] == 12
    same(filled, out, asked)


def test_workers_of_a_cluster_restore_from_a_bucket_into_it(bucket, filled):
    pytest.importorskip("ray")
    from warped_diffusion.cluster import Cluster

    asked, out = options_of(filled, lanes=1), place(f"{bucket}/out")
    clips = clips_of([place(f"{bucket}/in")], out)
    outcomes = list(restore_many(clips, out, asked, Cluster("local", 2)))
    assert set(states(outcomes).values()) == {"restored"}, outcomes
    same(filled, out, asked)
