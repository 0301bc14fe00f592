"""Inpainting from the command line: every way to give a mask, tracking, outpainting, and one sentence for bad ones."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from tests.estimators.scenes import moving_object, similarity
from tests.models.tiny import tiny_denoiser
from tests.test_cli import frames_of, run
from tests.video.clips import make_clip, pictures
from warped_diffusion.masked_video import MaskedVideo, MaskSource
from warped_diffusion.models import embedded
from warped_diffusion.restore_video import restore_video
from warped_diffusion.video import USUAL, VideoReader

SIZE, COUNT = (30, 40), 6
BOX = (12, 8, 10, 8)
CODED = 4 / 255
"""What x264 at its quality changes of smooth frames, on the mean."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """clip.mp4, masks of every kind that fit it and of every kind that do not, and weights.safetensors."""
    folder = tmp_path_factory.mktemp("masks")
    make_clip(folder / "clip.mp4", pictures(COUNT, SIZE))
    make_clip(folder / "odd.mp4", pictures(2, (31, 41)))
    make_clip(folder / "turned.mp4", pictures(2, SIZE), rotation=90)
    embedded.save(tiny_denoiser(task="inpainting"), folder / "weights.safetensors", {})
    mask = np.zeros(SIZE, np.uint8)
    left, top, width, height = BOX
    mask[top : top + height, left : left + width] = 255
    cv2.imwrite(str(folder / "mask.png"), mask)
    cv2.imwrite(str(folder / "empty.png"), 0 * mask)
    cv2.imwrite(str(folder / "full.png"), 0 * mask + 255)
    cv2.imwrite(str(folder / "grey.png"), (mask // 255 * 30 + 110).astype(np.uint8))
    cv2.imwrite(str(folder / "small.png"), mask[:20, :30])
    (folder / "text.png").write_text("not a picture")
    for name, count in (("each", COUNT), ("few", 2), ("one less", COUNT - 1), ("many", 9), ("none", 0)):
        (folder / name).mkdir()
        for j in range(count):
            cv2.imwrite(str(folder / name / f"{j}.png"), np.roll(mask, 2 * j, 1))
    masks = torch.from_numpy(np.stack([np.roll(mask, 2 * j, 1) for j in range(COUNT)])).float() / 255
    make_clip(folder / "each.mp4", masks[:, None].expand(-1, 3, -1, -1))
    _with_alpha(folder / "alpha.mov", pictures(COUNT, SIZE), mask)
    return folder


def _with_alpha(path, frames, mask):
    with av.open(path, "w") as container:
        stream = container.add_stream("qtrle", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = *SIZE, "argb"
        for frame in frames:
            values = np.dstack([(frame.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), 255 - mask])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgba").reformat(format="argb")))
        container.mux(stream.encode(None))


def restore(monkeypatch, folder, target, *options, clip="clip.mp4"):
    monkeypatch.chdir(folder)
    model = ["--model", "weights.safetensors", "--steps", 2, "--dilate", 1, "--feather", 1]
    return run(monkeypatch, "restore", clip, target, "--task", "inpainting", *model, *options)


def changed(path, original):
    """(N, H, W) bool: where the written clip is another than the original, beyond what the encoder does."""
    return (frames_of(path) - original).abs().amax(1) > 0.1


def within(boxes, margin):
    mask = torch.zeros(len(boxes), *SIZE, dtype=torch.bool)
    for one, (left, top, width, height) in zip(mask, boxes, strict=True):
        one[top - margin : top + height + margin, max(left - margin, 0) : left + width + margin] = True
    return mask


STILL = [BOX] * COUNT
MOVING = [(BOX[0] + 2 * j, *BOX[1:]) for j in range(COUNT)]


@pytest.mark.parametrize(
    ("options", "boxes", "clip"),
    [
        (["--mask", "mask.png"], STILL, "clip.mp4"),
        (["--mask-box", "12,8,10,8"], STILL, "clip.mp4"),
        (["--mask", "each"], MOVING, "clip.mp4"),
        (["--mask", "each.mp4"], MOVING, "clip.mp4"),
        (["--mask", "alpha"], STILL, "alpha.mov"),
        (["--mask", "each", "--range", "2:4"], MOVING[2:4], "clip.mp4"),
        (["--mask", "each.mp4", "--range", "4:"], MOVING[4:], "clip.mp4"),
        (["--mask", "few", "--range", ":2"], MOVING[:2], "clip.mp4"),
    ],
)
def test_every_kind_of_mask_fills_its_hole_and_nothing_else(monkeypatch, folder, tmp_path, options, boxes, clip):
    """Unguided: guidance would carry into a moving hole what stands behind it."""
    target, compare = tmp_path / "out.mp4", tmp_path / "compare.mp4"
    alone = ["--guidance", "none", "--noise", "fixed"]
    assert restore(monkeypatch, folder, target, *options, *alone, "--compare", compare, clip=clip) == 0
    start = 0 if "--range" not in options else int(options[-1].partition(":")[0] or 0)
    original = pictures(COUNT, SIZE)[start : start + len(boxes)]
    assert frames_of(compare).shape[0] == len(boxes)
    assert (frames_of(target) - original).abs().amax(1)[~within(boxes, 5)].mean() < CODED
    assert not (changed(target, original) & ~within(boxes, 6)).any()
    assert all(frame[inner].any() for frame, inner in zip(changed(target, original), within(boxes, -1), strict=True))


@pytest.mark.parametrize(("clip", "size"), [("clip.mp4", SIZE), ("odd.mp4", (31, 41)), ("turned.mp4", SIZE[::-1])])
def test_outpainting_enlarges_the_frame_and_keeps_what_was_there(monkeypatch, folder, tmp_path, clip, size):
    target = tmp_path / "out.mp4"
    assert restore(monkeypatch, folder, target, "--pad", "5,0,8,3", clip=clip) == 0
    with VideoReader(folder / clip) as reader:
        original = torch.stack(list(reader))
    restored = frames_of(target)
    assert restored.shape[-2:] == (size[0] + 3, size[1] + 13)
    inner = restored[..., : size[0], 5 : 5 + size[1]]
    # The rim of two pixels, and colour, which the encoder halves, are left out.
    assert (inner - original)[..., : size[0] - 3, 3:-3].mean(1).abs().mean() < CODED
    assert (restored[..., :5] - 0.5).abs().mean() > 0.02  # not the grey that stood there


def test_tracking_moves_the_mask_with_its_object():
    frames, true = moving_object(
        [similarity(j, (1.5, 0.5)) for j in range(12)], [similarity(j, (-1, 0)) for j in range(12)]
    )

    class Reader:
        size, start, stop, path, truncated = tuple(frames[0].shape[-2:]), 0, None, Path("clip.mp4"), False
        frames_expected, limits = 12, USUAL

        def __iter__(self):
            return iter(frames)

    rows, columns = (np.flatnonzero(true[0].any(axis)) for axis in (1, 0))
    box = (int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    video = MaskedVideo(Reader(), MaskSource(box=box, track=True))
    masks = [mask for _, mask in zip(video.frames, video.masks, strict=True)]
    y, x = torch.nonzero(masks[-1][0]).float().mean(0)
    assert abs(float(x) - (box[0] + (box[2] - 1) / 2 + 11 * 1.5)) < 1.5
    assert abs(float(y) - (box[1] + (box[3] - 1) / 2 + 11 * 0.5)) < 1.5
    assert video.warning is None


def test_tracking_from_the_command_line(monkeypatch, folder, tmp_path):
    target = tmp_path / "out.mp4"
    assert restore(monkeypatch, folder, target, "--mask", "mask.png", "--track-mask", "--range", "1:4") == 0
    assert len(frames_of(target)) == 3


def test_an_empty_mask_gives_the_clip_back_with_a_warning(monkeypatch, folder, tmp_path, capsys):
    target = tmp_path / "out.mp4"
    assert restore(monkeypatch, folder, target, "--mask", "empty.png") == 0
    assert "no frame has a hole" in " ".join(capsys.readouterr().err.split())
    assert not changed(target, pictures(COUNT, SIZE)).any()


def test_a_full_mask_and_a_grey_one_are_cut_at_one_half(monkeypatch, folder, tmp_path):
    original = pictures(COUNT, SIZE)
    assert restore(monkeypatch, folder, tmp_path / "full.mp4", "--mask", "full.png") == 0
    assert changed(tmp_path / "full.mp4", original).float().mean() > 0.3
    assert restore(monkeypatch, folder, tmp_path / "grey.mp4", "--mask", "grey.png") == 0
    assert not (changed(tmp_path / "grey.mp4", original) & ~within(STILL, 6)).any()


def test_degrade_takes_masks_too(monkeypatch, folder, tmp_path):
    monkeypatch.chdir(folder)
    for options in (["--mask", "mask.png"], ["--mask-box", "12,8,10,8"]):
        target = tmp_path / "degraded.mp4"
        assert run(monkeypatch, "degrade", "clip.mp4", target, "--task", "inpainting", *options, "--overwrite") == 0
        degraded = frames_of(target).mean(1)
        assert (degraded[within(STILL, -1)] - 0.5).abs().max() < 0.03
        assert (degraded - pictures(COUNT, SIZE).mean(1))[~within(STILL, 1)].abs().mean() < CODED


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "needs a mask"),
        (["--mask", "missing.png"], "missing.png does not exist"),
        (["--mask", "text.png"], "text.png"),
        (["--mask", "none"], "holds no picture"),
        (["--mask", "small.png"], "small.png is 30x20, clip.mp4 40x30"),
        (["--mask", "few"], "few has 2 masks, clip.mp4 6 frames"),
        (["--mask", "many"], "many has 9 masks, clip.mp4 6 frames"),
        (["--mask", "one less"], "masks for 5 frames, the clip has more"),
        (["--mask", "few", "--range", "3:5"], "none of them of frame 3"),
        (["--mask", "alpha"], "no alpha channel"),
        (["--mask", "mask.png", "--mask-box", "1,1,2,2"], "give one of them"),
        (["--mask-box", "1,1,2"], "--mask-box is four whole numbers"),
        (["--mask-box", "90,1,2,2"], "outside of the frame"),
        (["--mask-box", "1,1,0,2"], "at least 1 pixel"),
        (["--track-mask"], "give a picture or a box"),
        (["--track-mask", "--mask", "alpha"], "give a picture or a box"),
        (["--track-mask", "--mask", "each"], "more than one mask"),
        (["--pad", "0,0,0,0"], "not all 0"),
        (["--pad", "1,2,x,4"], "--pad is four whole numbers"),
        (["--mask", "mask.png", "--scale", "4"], "has no scale"),
        (["--mask", "mask.png", "--dilate", "-1"], "dilate"),
        (["--mask", "mask.png", "--feather", "900"], "feather"),
        (["--mask", "mask.png", "--task", "super-resolution"], "trained for inpainting"),
    ],
)
def test_bad_masks_get_one_sentence_and_leave_nothing(monkeypatch, folder, tmp_path, capsys, options, sentence):
    assert restore(monkeypatch, folder, tmp_path / "out.mp4", *options) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert len([line for line in captured.err.splitlines() if line.startswith("error:")]) == 1
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())


def test_without_weights_the_sentence_says_what_to_give(monkeypatch, folder, tmp_path, capsys):
    monkeypatch.setattr("warped_diffusion.models.model.WEIGHTS", tmp_path / "nowhere")
    monkeypatch.chdir(folder)
    options = ["--task", "inpainting", "--mask", "mask.png"]
    assert run(monkeypatch, "restore", "clip.mp4", tmp_path / "out.mp4", *options) == 2
    assert "no embedded model for the task 'inpainting'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_masks_of_frames_that_a_damaged_clip_lacks_are_passed_over(folder, tmp_path):
    whole = make_clip(tmp_path / "whole.ts", torch.rand(12, 3, *SIZE))
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 7 // 10])
    (tmp_path / "masks").mkdir()
    for j in range(12):
        (tmp_path / "masks" / f"{j}.png").write_bytes((folder / "mask.png").read_bytes())
    options = {"task": "inpainting", "model": folder / "weights.safetensors", "steps": 1, "device": "cpu"}
    result = restore_video(
        cut, tmp_path / "out.mp4", mask=tmp_path / "masks", guidance="none", noise="fixed", **options
    )
    assert 0 < result.frames < 12
    assert "damaged" in result.warning
