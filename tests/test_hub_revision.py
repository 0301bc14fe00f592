"""A model of the hub keeps its name when it is replaced: its commit is told, and a run keeps to the one it began with.

The hub is a folder as its library keeps it, models--owner--name with refs/main and snapshots/COMMIT, and no network.
"""

import shutil
from fractions import Fraction
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from tests.models.pretrained.checkpoints import save_checkpoint
from tests.models.tiny import scatter
from tests.test_cli import frames_of
from warped_diffusion.errors import UserError
from warped_diffusion.models import fingerprint
from warped_diffusion.models.pretrained import hub
from warped_diffusion.options import Options
from warped_diffusion.restore_video import restore_video
from warped_diffusion.video import VideoWriter

NAME, OLD, NEW = "some-body/tiny", "a" * 40, "b" * 40
STEPS, COUNT = 2, 24


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """The hub's cache, with two commits of one model, the second of other weights."""
    from diffusers import UNet2DConditionModel

    folder = tmp_path_factory.mktemp("hub")
    snapshots = folder / "models--some-body--tiny" / "snapshots"
    save_checkpoint("sd-concatenated", snapshots / OLD)
    shutil.copytree(snapshots / OLD, snapshots / NEW)
    network = UNet2DConditionModel.from_pretrained(snapshots / NEW, subfolder="unet")
    scatter(network, 0.2, seed=7).save_pretrained(snapshots / NEW / "unet")
    return folder


@pytest.fixture
def publish(kept, monkeypatch):
    """A function that makes a commit the newest one, for this process or as a new one sees it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(kept))

    def publish(commit: str, new_process: bool = True) -> None:
        (kept / "models--some-body--tiny" / "refs").mkdir(exist_ok=True)
        (kept / "models--some-body--tiny" / "refs" / "main").write_text(commit)
        if new_process:
            hub._newest.cache_clear()

    publish(OLD)
    yield publish
    hub._newest.cache_clear()


@pytest.fixture
def clip(tmp_path) -> Path:
    torch.manual_seed(0)
    with VideoWriter(tmp_path / "clip.mkv", frame_rate=Fraction(25), size=(8, 12), codec="ffv1") as writer:
        for _ in range(COUNT):
            writer.write(torch.rand(3, 8, 12))
    return tmp_path / "clip.mkv"


def restore(clip: Path, name: str, progress=lambda _: None) -> Path:
    options = Options(task="super-resolution", scale=2, model=NAME, steps=STEPS, lanes=1, flow="dis", device="cpu")
    restore_video(clip, clip.with_name(name), options, progress=progress, codec="ffv1")
    return clip.with_name(name)


class Broken(Exception):
    pass


def test_a_run_goes_on_with_the_commit_that_it_began_with_and_no_other(clip, publish):
    assert fingerprint(NAME, "super-resolution") == f"revision {OLD}"
    done = []

    def progress(count):
        done.append(count)
        if sum(done) > 12 * STEPS:
            raise Broken

    with pytest.raises(Broken):
        restore(clip, "out.mkv", progress)
    publish(NEW)
    with pytest.raises(UserError, match=f'model "{NAME}, revision {OLD}", not "{NAME}, revision {NEW}"'):
        restore(clip, "out.mkv")
    publish(OLD)
    again = []
    restore(clip, "out.mkv", again.append)
    assert again[0] >= 12 * STEPS - 8 * STEPS
    assert torch.equal(frames_of(clip.with_name("out.mkv")), frames_of(restore(clip, "whole.mkv")))


def test_what_is_loaded_is_the_commit_that_is_told(clip, publish):
    first = frames_of(restore(clip, "first.mkv"))
    publish(NEW, new_process=False)
    assert fingerprint(NAME, "super-resolution") == f"revision {OLD}"
    assert torch.equal(frames_of(restore(clip, "same.mkv")), first)
    publish(NEW)
    assert not torch.equal(frames_of(restore(clip, "other.mkv")), first)


def test_a_name_that_the_hub_does_not_know_is_no_revision(publish):
    assert fingerprint("some-body/else", "super-resolution") is None
