"""The noise verb as a user meets it: clips and sheets of noise, refusals in one sentence, nothing half-written."""

from fractions import Fraction
from pathlib import Path

import cv2
import pytest
import torch

from tests.test_cli import frames_of, run
from warped_diffusion.flow import identity_map, known_motion
from warped_diffusion.noise import GaussianField
from warped_diffusion.noise_video import DECIBELS, NOWHERE, REACH, Options, _Kept, draw_sheet, noise_video
from warped_diffusion.video import VideoReader, VideoWriter

CODING = 0.03  # mean error of H.264 and 8 bits on noise that is scaled to ±3 deviations


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Five frames of 40x32, a picture that moves 2 pixels a frame."""
    path = tmp_path_factory.mktemp("noise") / "clip.mp4"
    torch.manual_seed(0)
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 14), size=(32, 56), mode="bilinear")[0]
    with VideoWriter(path, frame_rate=Fraction(25), size=(32, 40)) as writer:
        for j in range(5):
            writer.write(picture[:, :, 2 * j : 2 * j + 40])
    return path


def test_a_known_motion_is_written_as_the_field_along_it(monkeypatch, tmp_path, capsys):
    target = tmp_path / "out.mp4"
    options = ["--motion", "shift", "--frames", 3, "--size", "48x32", "--seed", 5]
    assert run(monkeypatch, "noise", target, *options) == 0
    assert capsys.readouterr().out.strip() == str(target)
    field = GaussianField(1, (32, 48), seed=(5, 0))
    expected = torch.stack([field(known_motion("shift", 3, (32, 48)).positions(j)) for j in range(3)])
    expected = (expected / (2 * REACH) + 0.5).clamp(0, 1).expand(-1, 3, -1, -1)
    assert (frames_of(target) - expected).abs().mean() < CODING


def test_color_has_three_channels_and_every_scheme_is_taken(tmp_path):
    noise_video(tmp_path / "color.mp4", Options("bilinear", frames=2, size=(33, 47), color=True, fresh=0.3))
    frames = frames_of(tmp_path / "color.mp4")
    assert frames.shape == (2, 3, 33, 47)
    assert (frames[:, 0] - frames[:, 1]).abs().mean() > 0.05


def test_a_clip_is_followed(monkeypatch, clip, tmp_path):
    target, sheet = tmp_path / "out.mp4", tmp_path / "sheet.png"
    assert run(monkeypatch, "noise", clip, target, "--sheet", sheet, "--range", ":4", "--size", "80x64") == 0
    assert frames_of(target).shape == (4, 3, 64, 80)
    with VideoReader(target) as reader:
        assert reader.frame_rate == 25
    assert cv2.imread(str(sheet)).shape[2] == 3


def test_a_sheet_shows_what_came_along():
    size = (32, 48)
    motion, field = known_motion("integer-shift", 5, size), GaussianField(1, size)
    frames = [(j, field(motion.positions(j)), motion.positions(j)) for j in (0, 4)]
    sheet = draw_sheet([*frames, (9, GaussianField(1, size, seed=1).grid(), identity_map(*size))])
    heights = 3 * 32 + 2 * 4
    body = sheet[:, -heights:, -(48 + 4 + 32 + 4 + 48) :]
    noise, spectrum, difference = body[:, :, :48], body[:, :, 52:84], body[:, :, 88:]
    torch.testing.assert_close(noise[0, :32], (field.grid()[0] / 6 + 0.5).clamp(0, 1))
    torch.testing.assert_close(difference[:, :32], torch.full((3, 32, 48), 0.5), rtol=0, atol=1e-4)
    torch.testing.assert_close(difference[:, 36:68][:, 4:, 8:], torch.full((3, 28, 40), 0.5), rtol=0, atol=1e-4)
    torch.testing.assert_close(difference[:, 36:68][:, :4], torch.full((3, 4, 48), NOWHERE))
    assert difference[0, 72:].std() > 0.1  # other noise
    # One tile's periodogram: in decibels -2.5 on average, with a deviation of 5.6.
    assert abs(spectrum[0, :32].mean() - 0.5) < 2.5 / (2 * DECIBELS) + 0.05


def test_kept_frames_spread_over_a_clip_of_any_length():
    for length in (1, 2, 5, 6, 24, 100):
        kept = _Kept()
        for index in range(length):
            kept.add(index, torch.empty(0), torch.empty(0))
        shown = [index for index, *_ in kept.frames]
        assert shown[0] == 0
        assert shown[-1] == length - 1
        assert len(shown) <= 5
        assert shown == sorted(set(shown))
        assert len(shown) >= min(length, 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["out.mp4", "--scheme", "loud"], "resample"),
        (["out.mp4", "--spectrum", "pink"], "white"),
        (["out.mp4", "--motion", "dance"], "zoom-in"),
        (["out.mp4", "--frames", "0"], "frame"),
        (["out.mp4", "--fresh", "2"], "fresh"),
        (["out.mp4", "--size", "large"], "320x180"),
        (["out.mp4", "--size", "0x9"], "320x180"),
        (["out.gif"], ".mp4"),
        (["out.mp4", "--range", "2:4"], "range"),
        (["exists.mp4"], "--overwrite"),
        (["no/such/folder/out.mp4"], "folder"),
        (["missing.mp4", "out.mp4"], "missing.mp4"),
        (["clip.mp4", "clip.mp4", "--overwrite"], "input"),
        (["clip.mp4", "out.mp4", "--motion", "shift"], "input"),
        (["clip.mp4", "out.mp4", "--frames", "3"], "input"),
        (["clip.mp4", "out.mp4", "--flow", "river"], "dis"),
        (["clip.mp4", "out.mp4", "more.mp4"], "OUTPUT"),
        (["out.mp4", "--sheet", "sheet.jpg"], ".png"),
        (["out.mp4", "--sheet", "exists.png"], "--overwrite"),
        (["out.mp4", "--sheet", "no/folder/sheet.png"], "folder"),
    ],
)
def test_bad_input_gets_one_sentence_and_nothing_half_written(monkeypatch, clip, tmp_path, capsys, arguments, sentence):
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    for name in ("exists.mp4", "exists.png"):
        (tmp_path / name).write_bytes(b"mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "noise", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert "Traceback" not in captured.err
    assert len([line for line in captured.err.splitlines() if line.startswith("error:")]) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
