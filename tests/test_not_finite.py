"""A model that gives something else than numbers: the clip stops in a sentence, and the frames before it are kept."""

import os
import signal
from fractions import Fraction

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from tests.test_cli import frames_of, run
from warped_diffusion.errors import NotFiniteError, Stopped
from warped_diffusion.models import Model, embedded
from warped_diffusion.options import Options
from warped_diffusion.restore import restore_stream
from warped_diffusion.restore_video import restore_video
from warped_diffusion.video import VideoWriter

BAD = 4
"""The first frame that the model fails in: one much darker than the others."""


def frames():
    torch.manual_seed(0)
    return [torch.rand(3, 8, 12) * 0.3 + (0 if j >= BAD else 0.5) for j in range(6)]


def failing(value: float) -> Model:
    """Restores bright frames; of dark ones it makes `value`."""

    def denoiser(noisy, sigma, condition):
        picture = condition["picture"]
        dark = picture.mean((1, 2, 3), keepdim=True) < 0
        return torch.where(dark, value, picture)

    return Model(denoiser, ("white",), lambda _: (0.05, 2.0), lambda condition: condition["picture"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("lanes", [1, 4])
def test_the_frames_before_come_out_and_the_error_has_the_number(value, lanes):
    options = Options(model=failing(value), scale=2, steps=2, lanes=lanes)
    stream = restore_stream(frames(), options)
    assert len([next(stream) for _ in range(BAD)]) == BAD
    with pytest.raises(NotFiniteError, match=f"frame {BAD} ") as caught:
        next(stream)
    assert caught.value.frame == BAD


def test_the_file_keeps_the_frames_before_under_a_name_that_says_so(tmp_path):
    with VideoWriter(tmp_path / "clip.mkv", frame_rate=Fraction(25), size=(8, 12), quality="lossless") as writer:
        for frame in frames():
            writer.write(frame)
    options = Options(model=failing(float("nan")), scale=2, steps=2)
    with pytest.raises(NotFiniteError, match=f"frame {BAD} .*first-3-frames.mp4 has"):
        restore_video(tmp_path / "clip.mkv", tmp_path / "out.mp4", options, bounds=(1, None))
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mkv", "out.first-3-frames.mp4"}
    kept = frames_of(tmp_path / "out.first-3-frames.mp4")
    assert kept.shape == (3, 3, 16, 24)
    restore_video(tmp_path / "clip.mkv", tmp_path / "good.mp4", options, bounds=(1, BAD))
    assert torch.equal(kept, frames_of(tmp_path / "good.mp4"))


def test_on_the_command_line_it_is_one_sentence(monkeypatch, tmp_path, capsys):
    denoiser = tiny_denoiser()
    denoiser.network.leave.bias.data.fill_(float("nan"))
    embedded.save(denoiser, tmp_path / "weights.safetensors", {})
    with VideoWriter(tmp_path / "clip.mp4", frame_rate=Fraction(25), size=(8, 12)) as writer:
        writer.write(torch.rand(3, 8, 12))
    before = set(tmp_path.iterdir())
    options = ["--model", tmp_path / "weights.safetensors", "--steps", 1, "--scale", 2]
    assert run(monkeypatch, "restore", tmp_path / "clip.mp4", tmp_path / "out.mp4", *options) == 2
    told = capsys.readouterr().err
    assert "frame 0 holds values that are not finite" in told
    assert "Traceback" not in told
    assert set(tmp_path.iterdir()) == before  # there was nothing to keep


def test_after_a_break_the_number_counts_from_the_first_frame_as_well(tmp_path):
    """Broken off after two frames, with one lane, and gone on with: frame 4 it is, and all four before it are kept."""
    with VideoWriter(tmp_path / "clip.mkv", frame_rate=Fraction(25), size=(8, 12), quality="lossless") as writer:
        for frame in frames():
            writer.write(frame)
    options, seen = Options(model=failing(float("nan")), scale=2, steps=9, lanes=1), []

    def progress(count):
        seen.append(count)
        if len(seen) == 25:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="2 frames"):
        restore_video(tmp_path / "clip.mkv", tmp_path / "out.mp4", options, progress=progress)
    with pytest.raises(NotFiniteError, match=f"frame {BAD} .*first-4-frames.mp4 has"):
        restore_video(tmp_path / "clip.mkv", tmp_path / "out.mp4", options)
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mkv", "out.first-4-frames.mp4"}
    restore_video(tmp_path / "clip.mkv", tmp_path / "good.mp4", options, bounds=(0, BAD))
    assert torch.equal(frames_of(tmp_path / "out.first-4-frames.mp4"), frames_of(tmp_path / "good.mp4"))
