"""The command line as a user meets it: results, refusals in one sentence, nothing half-written."""

import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.training.packed import pack
from warped_diffusion import cli, footage
from warped_diffusion.models import embedded
from warped_diffusion.models.embedded import EmbeddedDenoiser
from warped_diffusion.tasks import area_average
from warped_diffusion.video import VideoReader, VideoWriter

SMALL = {"channels": (8, 16), "depths": (1, 1), "depths_up": (1, 0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """clip.mp4: six frames of 20x14 with a moving edge; weights.safetensors: a tiny untrained network."""
    folder = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 7, 16), size=(14, 40), mode="bilinear")[0]
    with VideoWriter(folder / "clip.mp4", frame_rate=Fraction(25), size=(14, 20)) as writer:
        for j in range(6):
            writer.write(picture[:, :, j : j + 20])
    denoiser = EmbeddedDenoiser(SMALL)
    torch.nn.init.normal_(denoiser.network.leave.weight, std=0.02)
    embedded.save(denoiser, folder / "weights.safetensors", {})
    return folder


def run(monkeypatch, *arguments: object) -> int:
    """The exit code of `warped-diffusion ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["warped-diffusion", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def frames_of(path: Path) -> torch.Tensor:
    with VideoReader(path) as reader:
        return torch.stack(list(reader))


def test_restore_writes_every_frame_larger_and_prints_where(monkeypatch, folder, tmp_path, capsys):
    target, compare = tmp_path / "out.mp4", tmp_path / "compare.mp4"
    options = ["--scale", 2, "--steps", 2, "--model", folder / "weights.safetensors", "--compare", compare]
    assert run(monkeypatch, "restore", folder / "clip.mp4", target, *options) == 0
    assert frames_of(target).shape == (6, 3, 28, 40)
    assert frames_of(compare).shape[0] == 6
    assert frames_of(compare).shape[-1] > 3 * 40 - 1
    assert capsys.readouterr().out.strip() == str(target)


def test_a_range_of_one_frame_is_restored(monkeypatch, folder, tmp_path):
    target = tmp_path / "out.mp4"
    options = ["--scale", 2, "--steps", 1, "--model", folder / "weights.safetensors", "--range", "3:4"]
    assert run(monkeypatch, "restore", folder / "clip.mp4", target, *options) == 0
    assert len(frames_of(target)) == 1


@pytest.mark.parametrize(
    ("options", "cuts"),
    [
        ([], "auto"),
        (["--cuts", "none"], ()),
        (["--cuts", "4, 2"], (2, 4)),
        (["--cuts", "1,2,4", "--range", "2:"], (2,)),
        (["--cuts", "1,3,5", "--range", "2:5"], (1, 3)),  # what is beyond the range is not reached
    ],
)
def test_cuts_are_counted_in_the_clip_whatever_the_range(monkeypatch, folder, tmp_path, options, cuts):
    asked = []
    open_run = footage.open_run

    def spy(frames, options, **keywords):
        asked.append(options.cuts)
        return open_run(frames, options, **keywords)

    monkeypatch.setattr(footage, "open_run", spy)
    options = [*options, "--scale", 2, "--steps", 1, "--model", folder / "weights.safetensors"]
    assert run(monkeypatch, "restore", folder / "clip.mp4", tmp_path / "out.mp4", *options) == 0
    assert asked == [cuts]


def test_degrade_is_the_area_average(monkeypatch, folder, tmp_path):
    target = tmp_path / "small.mp4"
    assert run(monkeypatch, "degrade", folder / "clip.mp4", target, "--scale", 2) == 0
    expected = area_average(frames_of(folder / "clip.mp4"), 2)
    # The encoder rounds to 8 bits and averages colour over 2 x 2 pixels.
    assert (frames_of(target) - expected).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.mp4", "out.mp4"], "missing.mp4"),
        (["text.mp4", "out.mp4"], "text.mp4"),
        (["empty.mp4", "out.mp4"], "empty.mp4"),
        (["clip.mp4", "out.mp4", "--scale", "9"], "scale"),
        (["clip.mp4", "out.mp4", "--steps", "0"], "step"),
        (["clip.mp4", "out.mp4", "--task", "colouring"], "super-resolution"),
        (["clip.mp4", "out.mp4", "--model", "nothing"], "embedded"),
        (["clip.mp4", "out.mp4", "--model", "text.mp4"], "weights"),
        (["clip.mp4", "out.mp4", "--noise", "loud"], "resample"),
        (["clip.mp4", "out.mp4", "--spectrum", "pink"], "white"),
        (["clip.mp4", "out.mp4", "--guidance", "stern"], "denoised"),
        (["clip.mp4", "out.mp4", "--strength", "-1"], "strength"),
        (["clip.mp4", "out.mp4", "--decoded-guidance", "1"], "works on pixels"),
        (["clip.mp4", "out.mp4", "--solver", "abacus"], "euler"),
        (["clip.mp4", "out.mp4", "--flow", "river"], "dis"),
        (["clip.mp4", "out.mp4", "--lanes", "0"], "lanes"),
        (["clip.mp4", "out.mp4", "--device", "toaster"], "toaster"),
        (["clip.mp4", "out.mp4", "--cuts", "soon"], "--cuts is auto, none or frames from 1 up"),
        (["clip.mp4", "out.mp4", "--cuts", "0,3"], "--cuts is auto, none or frames from 1 up"),
        (["clip.mp4", "out.mp4", "--cuts", "3,6"], "cuts has frame 6, the last of clip.mp4 is 5"),
        (["clip.mp4", "out.mp4", "--range", "4:2"], "range"),
        (["clip.mp4", "out.mp4", "--range", "100:"], "frame"),
        (["clip.mp4", "exists.mp4"], "--overwrite"),
        (["clip.mp4", "no/such/folder/out.mp4"], "folder"),
        (["clip.mp4", "clip.mp4", "--overwrite"], "input"),
    ],
)
def test_bad_input_gets_one_sentence_and_nothing_half_written(
    monkeypatch, folder, tmp_path, capsys, arguments, sentence
):
    (tmp_path / "clip.mp4").write_bytes((folder / "clip.mp4").read_bytes())
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "exists.mp4").write_bytes(b"mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    weights = [] if "--model" in arguments else ["--model", folder / "weights.safetensors"]
    assert run(monkeypatch, "restore", *arguments, *weights) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert "Traceback" not in captured.err
    assert len([line for line in captured.err.splitlines() if line.startswith("error:")]) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_truncated_video_is_restored_as_far_as_it_decodes(monkeypatch, folder, tmp_path, capsys):
    whole = tmp_path / "whole.ts"  # a container that needs no index at its end
    torch.manual_seed(1)
    with VideoWriter(whole, frame_rate=Fraction(25), size=(48, 64)) as writer:
        for _ in range(12):
            writer.write(torch.rand(3, 48, 64))
    data = whole.read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[: len(data) * 6 // 10])
    target = tmp_path / "out.mp4"
    options = ["--scale", 2, "--steps", 1, "--guidance", "none", "--noise", "fixed"]
    code = run(monkeypatch, "restore", tmp_path / "cut.ts", target, *options, "--model", folder / "weights.safetensors")
    assert code == 0
    count = len(frames_of(target))
    assert 0 < count < 12
    message = capsys.readouterr().err
    assert "warning" in message
    assert str(count) in message


def test_train_makes_weights_that_restore_can_use(monkeypatch, folder, tmp_path, capsys):
    pack(tmp_path / "pictures")
    config = tmp_path / "small.toml"
    network = "[network]\nchannels = [8, 16]\ndepths = [1, 1]\ndepths_up = [1, 0]\n"
    config.write_text("batch = 8\ncrop = 32\nthreads = 1\nworkers = 0\n" + network)
    options = ["--pictures", tmp_path / "pictures", "--out", tmp_path / "run", "--steps", 2, "--precision", "no"]
    assert run(monkeypatch, "train", config, *options, "--dry-run") == 0
    assert "2 of 8 samples, 16 samples in all" in capsys.readouterr().out
    assert run(monkeypatch, "train", config, *options, "--rat", 1) == 2
    assert "training has no option '--rat'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run(monkeypatch, "train", config, *options) == 0
    weights = capsys.readouterr().out.strip()
    target = tmp_path / "out.mp4"
    options = ["--scale", 2, "--steps", 1, "--model", weights]
    assert run(monkeypatch, "restore", folder / "clip.mp4", target, *options) == 0
    assert len(frames_of(target)) == 6


def test_bench_names_its_benchmarks(monkeypatch, capsys):
    assert run(monkeypatch, "bench", "list") == 0
    assert "steadiness" in capsys.readouterr().out.split()
    assert run(monkeypatch, "bench", "nonsense") == 2


def test_bench_takes_real_clips(monkeypatch, tmp_path, capsys):
    for clip, sentence in ((tmp_path / "none.mp4", "none.mp4"), ("street.mp4@5:5", "a clip is FILE")):
        assert run(monkeypatch, "bench", "flow", "--clip", clip, "--frames", 8) == 2
        assert sentence in capsys.readouterr().err


def test_a_cut_mp4_says_how_many_of_its_frames_could_be_read(monkeypatch, folder, tmp_path, capsys):
    whole = tmp_path / "whole.mp4"
    torch.manual_seed(2)
    with VideoWriter(whole, frame_rate=Fraction(25), size=(48, 64)) as writer:
        for _ in range(12):
            writer.write(torch.rand(3, 48, 64))
    data = whole.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    target = tmp_path / "out.mp4"
    options = ["--scale", 2, "--steps", 1, "--model", folder / "weights.safetensors"]
    assert run(monkeypatch, "restore", tmp_path / "cut.mp4", target, *options) == 0
    count = len(frames_of(target))
    assert 0 < count < 12
    assert f"{count} of 12" in " ".join(capsys.readouterr().err.split())
