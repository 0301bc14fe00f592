"""Clips through pretrained models of every family, as a user runs them: tiny random checkpoints, loaded by path."""

from fractions import Fraction
from functools import cache

import pytest
import torch

import warped_diffusion as wd
from tests.models.pretrained.checkpoints import save_checkpoint
from tests.test_cli import frames_of, run
from warped_diffusion.errors import UserError
from warped_diffusion.models import PretrainedOptions
from warped_diffusion.models.pretrained.shown import Small
from warped_diffusion.tasks import enlarge
from warped_diffusion.video import VideoWriter

TASKS = {
    "sd-inpainting": "inpainting",
    "sdxl-inpainting": "inpainting",
    "sd-concatenated": "super-resolution",
    "sdxl-concatenated": "super-resolution",
    "upscaler": "super-resolution",
}
"""Families that are told of the input, and what they restore."""

HEIGHT, WIDTH = 18, 26
ROUNDING = 1e-4
"""Largest difference in [0, 1] between batches of different size: float32 sums in another order."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return cache(lambda family: save_checkpoint(family, folder / family))


def clip(count=3):
    """A smooth picture that moves by a pixel a frame."""
    noise = torch.rand(1, 3, 6, 12, generator=torch.Generator().manual_seed(0))
    picture = 0.3 + 0.4 * enlarge(noise, (HEIGHT, WIDTH + count)).clamp(0, 1)[0]
    return torch.stack([picture[..., j : j + WIDTH] for j in range(count)])


def settings(family):
    """Keywords of `restore` for a family: its task, and a mask that covers the middle."""
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[6:12, 8:16] = 1
    inpainting = TASKS[family] == "inpainting"
    return {"task": TASKS[family], "flow": "dis"} | (
        {"mask": mask, "dilate": 0, "feather": 0} if inpainting else {"scale": 4 if family == "upscaler" else 2}
    )


def test_an_upscaler_is_shown_the_input_to_the_last_digit(monkeypatch, checkpoints):
    """Continued to the right and below like the frame; read back from the enlargement it would be a little smoother."""
    height, width = HEIGHT - 1, WIDTH - 1
    seen, frames = [], clip(1)[..., :height, :width]
    monkeypatch.setattr(Small, "__call__", spy(Small.__call__, seen))
    wd.restore(frames, model=checkpoints("upscaler"), steps=1, **settings("upscaler"))
    size = tuple(seen[-1].shape[-2:])
    assert size == (HEIGHT, WIDTH)
    margins = (0, size[1] - width, 0, size[0] - height)
    assert torch.equal(seen[-1], torch.nn.functional.pad(frames * 2 - 1, margins, mode="replicate"))


def spy(function, seen):
    """`function` of a `Shown`, that also lists what it gave back."""

    def call(*arguments):
        shown = function(*arguments)
        seen.append(shown["shown"])
        return shown

    return call


@pytest.mark.parametrize("family", TASKS)
def test_every_family_restores_from_the_command_line(monkeypatch, checkpoints, tmp_path, family):
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    with VideoWriter(source, frame_rate=Fraction(25), size=(HEIGHT, WIDTH)) as writer:
        for frame in clip():
            writer.write(frame)
    asked = ["--task", TASKS[family], "--model", checkpoints(family), "--prompt", "a cat", "--cfg", 3, "--steps", 2]
    if TASKS[family] == "inpainting":
        asked += ["--mask-box", "8,6,8,6"]
    else:
        asked += ["--scale", settings(family)["scale"]]
    assert run(monkeypatch, "restore", source, target, *asked) == 0
    scale = settings(family).get("scale", 1)
    assert frames_of(target).shape == (3, 3, scale * HEIGHT, scale * WIDTH)


@pytest.mark.parametrize("family", TASKS)
def test_lanes_and_length_change_nothing(checkpoints, family):
    frames, keywords = clip(), settings(family)
    keywords |= {"model": checkpoints(family), "steps": 3}
    one, three = (wd.restore(frames, lanes=lanes, **keywords) for lanes in (1, 3))
    torch.testing.assert_close(one, three, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(wd.restore(frames[:1], **keywords), one[:1], rtol=0, atol=ROUNDING)
    assert one.std() > 0.01


def test_without_guidance_frames_are_those_of_the_model_alone(checkpoints):
    """Strength 0 is no guidance, and noise of its own for each frame is that frame alone."""
    frames, keywords = clip(), settings("sd-concatenated") | {"model": checkpoints("sd-concatenated"), "steps": 3}
    none = wd.restore(frames, guidance="none", **keywords)
    torch.testing.assert_close(wd.restore(frames, strength=0.0, **keywords), none, rtol=0, atol=ROUNDING)
    assert (wd.restore(frames, **keywords) - none).abs().max() > 10 * ROUNDING


def test_outside_the_hole_frames_are_the_input(checkpoints):
    frames, keywords = clip(), settings("sdxl-inpainting")
    restored = wd.restore(frames, model=checkpoints("sdxl-inpainting"), steps=2, **keywords)
    known = keywords["mask"] == 0
    assert torch.equal(restored[..., known], frames[..., known])
    assert not torch.equal(restored, frames)


def test_prompt_and_its_weight_count(checkpoints):
    keywords = settings("sd-concatenated") | {"model": checkpoints("sd-concatenated"), "steps": 2}
    cat, dog, free = (
        wd.restore(clip(1), pretrained=PretrainedOptions(prompt=prompt, cfg=cfg), **keywords)
        for prompt, cfg in (("a cat", 5.0), ("a dog", 5.0), ("a cat", 1.0))
    )
    assert not torch.equal(cat, dog)
    assert not torch.equal(cat, free)


def test_network_guidance_runs_in_latent_space(checkpoints):
    keywords = settings("sd-concatenated") | {"model": checkpoints("sd-concatenated"), "steps": 2}
    assert torch.isfinite(wd.restore(clip(), guidance="network", **keywords)).all()


WHOLE = 0.05
"""Root mean square, in [0, 1], between a frame in tiles and whole, for networks that look at all of it.

They normalise over what they see and attend to it, and are told its size. Another seed makes .14 to .16.
"""


@pytest.mark.parametrize("family", [family for family in (*TASKS, "sd3") if "inpainting" not in family])
def test_large_frames_in_tiles_are_nearly_what_they_are_whole(checkpoints, family):
    small = torch.rand(1, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    frames = 0.2 + 0.6 * enlarge(small, (36, 60)).clamp(0, 1)
    keywords = {"model": checkpoints(family), "scale": 4 if family == "upscaler" else 2, "steps": 3}
    whole, tiled, other = (
        wd.restore(frames, tile=tile, seed=seed, **keywords) for tile, seed in (("none", 0), (64, 0), ("none", 1))
    )
    assert not torch.equal(whole, tiled)
    assert (whole - tiled).square().mean().sqrt() < WHOLE
    assert (whole - other).square().mean().sqrt() > 2 * WHOLE


def test_large_holes_in_tiles_are_nearly_what_they_are_whole(checkpoints):
    mask = torch.zeros(72, 120)
    mask[8:60, 10:100] = 1
    small = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    frames = 0.2 + 0.6 * enlarge(small, (72, 120)).clamp(0, 1)
    keywords = {"task": "inpainting", "mask": mask, "model": checkpoints("sdxl-inpainting"), "steps": 3}
    whole, tiled = (wd.restore(frames, tile=tile, **keywords) for tile in ("none", 64))
    assert not torch.equal(whole, tiled)
    assert (whole - tiled).square().mean().sqrt() < WHOLE


@pytest.mark.parametrize("family", ["sd-concatenated", "sdxl-inpainting"])
def test_decoded_frames_are_aligned_from_the_command_line(monkeypatch, checkpoints, tmp_path, family):
    source = tmp_path / "in.mp4"
    with VideoWriter(source, frame_rate=Fraction(25), size=(HEIGHT, WIDTH)) as writer:
        for frame in clip():
            writer.write(frame)
    asked = ["--task", TASKS[family], "--model", checkpoints(family), "--steps", 1, "--cfg", 1]
    asked += ["--mask-box", "8,6,8,6"] if TASKS[family] == "inpainting" else ["--scale", 2]
    made = []
    for strength in (0, 1):
        target = tmp_path / f"{strength}.mp4"
        assert run(monkeypatch, "restore", source, target, *asked, "--decoded-guidance", strength) == 0
        made.append(frames_of(target))
    assert made[0].shape == made[1].shape
    assert not torch.equal(made[0][1:], made[1][1:])
    keywords = settings(family) | {"model": checkpoints(family), "steps": 1}
    plain, aligned = (wd.restore(clip(), decoded_guidance=strength, **keywords) for strength in (0.0, 1.0))
    assert torch.equal(plain[0], aligned[0])
    assert not torch.equal(plain[1:], aligned[1:])


AGREES = 0.01
"""Root mean square, in [0, 1], by which a restored frame that is degraded again may differ from the input."""


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3"])
def test_text_to_image_models_restore_by_consistency(checkpoints, family):
    frames = clip(2)
    restored = wd.restore(frames, scale=2, model=checkpoints(family), steps=4, flow="dis")
    assert restored.shape == (2, 3, 2 * HEIGHT, 2 * WIDTH)
    assert (wd.degrade(restored, scale=2) - frames).square().mean().sqrt() < AGREES


def test_text_to_image_models_deblur(checkpoints):
    """As far as the input's noise goes: nothing is held to the last digit."""
    frames = wd.degrade(clip(2), "deblurring")
    restored = wd.restore(frames, "deblurring", model=checkpoints("sd"), steps=4, flow="dis")
    assert restored.shape == frames.shape
    assert (wd.degrade(restored, "deblurring") - frames).square().mean().sqrt() < 2 * AGREES


@pytest.mark.parametrize("task", ["super-resolution", "inpainting"])
def test_a_model_of_pictures_restores_by_consistency(task):
    """The embedded network without its condition, frames that its canvas has to be made larger for."""
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[6:12, 8:16] = 1
    keywords = {"scale": 3} if task == "super-resolution" else {"mask": mask, "dilate": 0, "feather": 0}
    frames = clip(2)
    restored = wd.restore(frames, task, model="embedded-prior", steps=4, **keywords)
    again = wd.degrade(restored, scale=3) if task == "super-resolution" else restored
    known = torch.ones(HEIGHT, WIDTH) if task == "super-resolution" else 1 - mask
    assert ((again - frames) * known).square().mean().sqrt() < AGREES


def test_a_model_that_is_not_told_of_the_input_cannot_restore(checkpoints):
    with pytest.raises(UserError, match="not told"):
        wd.restore(clip(), scale=2, model=checkpoints("sd"), steps=1, consistency=False)


def test_consistency_is_refused_for_what_is_not_linear():
    with pytest.raises(UserError, match="not linear"):
        wd.restore(clip(), "clean-up", model="embedded-prior", steps=1)
