"""Clips over the workers of a Ray cluster: what a lost one leaves another takes up, and the clips are one machine's."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests import clusters
from tests.models.tiny import tiny_denoiser
from tests.test_batch import options_of, write_clip
from tests.test_parts import write_shots
from warped_diffusion.batch import clips_of, exit_code, in_turn, restore_many
from warped_diffusion.cluster import Cluster, _outcome
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.restore_video import restore_video

ray = pytest.importorskip("ray")


@pytest.fixture
def six(tmp_path) -> Path:
    """A folder with six clips in `clips`, and the weights of a tiny network."""
    (tmp_path / "clips").mkdir()
    for seed in range(6):
        write_clip(tmp_path / "clips" / f"{seed}.mp4", seed, count=16)
    embedded.save(tiny_denoiser(), tmp_path / "weights.safetensors", {})
    return tmp_path


def restored(folder: Path, out: str, run, **changes: object) -> dict[str, bytes]:
    """The clips that a runner made, by name."""
    clips = clips_of([folder / "clips"], folder / out)
    asked = options_of(folder, **{"lanes": 1, "steps": 4, **changes})
    outcomes = list(restore_many(clips, folder / out, asked, run))
    assert [outcome.sentence for outcome in outcomes if outcome.state != "restored"] == []
    assert len(outcomes) == len(clips)
    assert exit_code(outcomes) == 0
    return {file.name: file.read_bytes() for file in (folder / out).glob("*.mp4")}


def a_worker_in_the_middle(out: Path) -> int | None:
    """The process that has a journal open in which frames are kept."""
    for index in out.rglob("restored/index.json"):
        lock = str(index.parent.parent / "lock")
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if any(os.readlink(file) == lock for file in (process / "fd").iterdir()):
                    return int(process.name)
            except OSError:  # it has ended, or the file was closed
                continue
    return None


@contextmanager
def a_killed_worker(out: Path) -> Iterator[list[int]]:
    """While it is entered the first worker that has finished frames is killed, and noted."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not killed and not over.wait(0.01):
            worker = a_worker_in_the_middle(out)
            if worker is not None:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    yield killed
    over.set()
    thread.join(5)


open_files = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="nothing tells which process has a file open"
)


@open_files
def test_a_killed_worker_costs_nothing_but_time(six):
    with a_killed_worker(six / "out") as killed:
        clips = restored(six, "out", Cluster("local", 2))
    assert killed
    assert clips == restored(six, "alone", in_turn)


@open_files
def test_the_shots_of_one_clip_are_the_work_of_many_and_a_killed_ones_goes_on(six):
    for clip in (six / "clips").iterdir():
        clip.unlink()
    write_shots(six / "clips" / "long.mp4", cuts=(12, 24), count=36)
    clips, asked = clips_of([six / "clips"], six / "out"), options_of(six, lanes=1, steps=2)
    with a_killed_worker(six / "out") as killed:
        outcomes = list(restore_many(clips, six / "out", asked, Cluster("local", 2)))
    assert killed
    assert [outcome.state for outcome in outcomes] == ["divided", *["restored"] * 4]
    assert sorted(outcome.frames for outcome in outcomes) == [0, 12, 12, 12, 36]
    restore_video(six / "clips" / "long.mp4", six / "alone.mp4", **asked)
    assert (six / "alone.mp4").read_bytes() == (six / "out" / "long.mp4").read_bytes()


@pytest.mark.slow
def test_two_workers_are_nearly_twice_as_fast_as_one(six):
    """From the first clip's begin to the last one's end: it takes seconds until there are workers at all."""
    for seed, clip in enumerate(sorted((six / "clips").iterdir())):
        write_clip(clip, seed, count=96)

    def seconds(jobs: int) -> float:
        times = []

        def timed(work, clips):
            for outcome in Cluster("local", jobs)(work, clips):
                times.append((time.perf_counter() - outcome.seconds, time.perf_counter()))
                yield outcome

        restored(six, f"by-{jobs}", timed)
        begins, ends = zip(*times, strict=True)
        return max(ends) - min(begins)

    one, two = seconds(1), seconds(2)
    print(f"one worker {one:.1f} s, two {two:.1f} s")
    assert one / two >= 1.7


def test_a_clip_that_costs_every_worker_is_told_of(six):
    class Lost:
        exceptions = ray.exceptions

        def get(self, reference):
            raise ray.exceptions.WorkerCrashedError

    (clip,) = clips_of([six / "clips" / "0.mp4"], six / "out")
    outcome = _outcome(Lost(), None, clip)
    assert outcome.state == "failed"
    assert "lost 4 times" in outcome.note


def test_clips_are_divided_where_there_are_fewer_than_can_be_restored_at_once():
    machine = {"CPU": 16.0, "GPU": 2.0}
    assert [
        Cluster(jobs=jobs)._divides(count, [machine] * 2) for jobs, count in [(None, 3), (None, 4), (1, 2), (1, 1)]
    ] == [
        True,
        False,
        False,
        True,
    ]
    assert not Cluster(divide=False)._divides(1, [machine])
    assert Cluster(divide=True)._divides(9, [machine])


def test_what_a_machine_gives_to_each_of_its_clips():
    plain, with_gpus = {"CPU": 16.0}, {"CPU": 32.0, "GPU": 4.0}
    assert Cluster()._share([plain, plain]) == ({"num_cpus": 16, "num_gpus": 0.0}, 16)
    assert Cluster(jobs=3)._share([plain]) == ({"num_cpus": 5, "num_gpus": 0.0}, 5)
    assert Cluster()._share([with_gpus]) == ({"num_cpus": 8, "num_gpus": 1.0}, 8)
    assert Cluster(jobs=8)._share([with_gpus]) == ({"num_cpus": 4, "num_gpus": 0.5}, 4)
    assert Cluster(jobs=32)._share([plain]) == ({"num_cpus": 0.5, "num_gpus": 0.0}, 1)


def test_what_cannot_be_used_is_told_in_a_sentence():
    with pytest.raises(UserError, match="whole number from 1 up"):
        Cluster(jobs=0)
    with pytest.raises(UserError, match="cluster nonsense cannot be used"):
        list(Cluster("nonsense")(partial(int), []))


def by_command(folder: Path, inputs: str, out: str, cluster: str, known: dict[str, str]) -> str:
    """What `restore-many` prints that is given in a process of its own."""
    options = ["--cluster", cluster, "--jobs", "2", "--scale", "2", "--steps", "2", "--lanes", "1"]
    options += ["--model", str(folder / "weights.safetensors")]
    command = [sys.executable, "-m", "warped_diffusion.cli", "restore-many", inputs, out, *options]
    done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.slow
def test_a_cluster_of_other_machines_is_reached_by_its_address(six, tmp_path):
    for name in ("2", "3", "4", "5"):
        (six / "clips" / f"{name}.mp4").unlink()
    known = clusters.environment()
    with clusters.running(known, tmp_path) as address:
        told = by_command(six, str(six / "clips"), str(six / "out"), address, known)
        again = by_command(six, str(six / "clips"), str(six / "out"), address, known)
    assert told.count("| restored |") == 2
    assert again.count("| finished before |") == 2
    made = {file.name: file.read_bytes() for file in (six / "out").glob("*.mp4")}
    assert made == restored(six, "alone", in_turn, steps=2)
