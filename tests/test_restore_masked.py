"""Restoration of clips with holes: what stays, what is carried into a hole, and what is told of bad masks."""

import numpy as np
import pytest
import torch

import warped_diffusion as wd
from tests.estimators.scenes import HEIGHT, WIDTH, background, grey_frame, similarity, texture
from tests.models.tiny import tiny_denoiser
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.holes import make_hole
from warped_diffusion.models import Model, embedded
from warped_diffusion.options import Options
from warped_diffusion.restore import restore_stream

SIZE = (26, 33)
STEPS = 4


def frames_of(count=5, size=SIZE, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def box(left=8, top=6, width=14, height=12, size=SIZE):
    mask = torch.zeros(1, *size)
    mask[:, top : top + height, left : left + width] = 1
    return mask


def tiny_model():
    denoiser = tiny_denoiser(task="inpainting")
    return Model(denoiser, embedded.SPECTRA, denoiser.conditioning.sigma_range, lambda condition: condition["picture"])


def ignorant_model(amount=0.0):
    """Says mid grey of every hole, whatever it sees there; or, by a Gaussian of that deviation, what it sees."""

    def denoiser(noisy, sigma, condition):
        skip = (amount**2 / (amount**2 + sigma**2))[:, None, None, None]
        return torch.where(condition["mask"] > 0, skip * noisy, condition["picture"])

    return Model(denoiser, ("white",), lambda _: (0.005, 30.0), lambda condition: condition["picture"])


def restore(frames, mask, **options):
    defaults = {"model": tiny_model(), "steps": STEPS, "seed": 3, "device": "cpu", "dilate": 1, "feather": 2}
    if "motion" not in options:  # frames of noise, each of which would be a shot
        defaults["cuts"] = "none"
    return wd.restore(frames, task="inpainting", mask=mask, **defaults | options)


@pytest.mark.parametrize("guidance", ["none", "denoised", "network"])
def test_outside_of_the_rim_the_clip_is_the_input_to_the_last_bit(guidance):
    frames = frames_of()
    restored = restore(frames, box(), guidance=guidance)
    hole = make_hole(box(), 1, 2)
    assert torch.equal(restored * (1 - hole.mask), frames * (1 - hole.mask))
    assert ((restored - frames).abs() * hole.alpha).mean() > 1e-3
    assert restored.min() >= 0
    assert restored.max() <= 1


def test_what_the_hole_covers_is_not_looked_at():
    frames, other, mask = frames_of(3), frames_of(3, seed=1), box()
    mixed = torch.where(mask > 0, other, frames)
    first, second = (restore(f, mask, dilate=0, feather=0) for f in (frames, mixed))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_one_mask_is_as_many_equal_ones_in_every_shape():
    frames = frames_of(3)
    expected = restore(frames, box())
    for mask in (box()[0], box()[None], box().expand(3, -1, -1), box()[None].expand(3, -1, -1, -1), box() > 0):
        assert torch.equal(restore(frames, mask), expected)
    assert torch.equal(restore(frames, torch.where(box() > 0, 0.51, 0.49)), expected)  # the threshold is one half


def test_masks_belong_to_their_frames():
    frames = frames_of(3)
    masks = torch.stack([box(left) for left in (2, 9, 18)])
    restored = restore(frames, masks)
    for frame, result, mask in zip(frames, restored, masks, strict=True):
        changed = (frame != result).any(0, keepdim=True).float()
        assert torch.equal(changed * make_hole(mask, 1, 2).mask, changed)
        assert (changed * mask).sum() > 0.9 * mask.sum()


def test_an_empty_mask_gives_the_clip_back_and_says_so():
    frames = frames_of(3)
    with pytest.warns(UserWarning, match="the mask is empty: no frame has a hole"):
        assert torch.equal(restore(frames, torch.zeros(SIZE)), frames)
    some = torch.stack([torch.zeros(1, *SIZE), box(), torch.zeros(1, *SIZE)])
    assert torch.equal(restore(frames, some)[::2], frames[::2])


def test_a_full_mask_makes_up_the_whole_frame():
    frames = frames_of(2)
    restored = restore(frames, torch.ones(SIZE))
    assert torch.equal(restored, restore(frames_of(2, seed=8), torch.ones(SIZE)))  # nothing of the input is left
    assert (restored - frames).abs().mean() > 0.1


@pytest.mark.parametrize(
    ("mask", "error", "sentence"),
    [
        (None, UserError, "inpainting needs a mask"),
        (torch.zeros(7, 9), ShapeError, "the mask is 9x7, the frames are 33x26"),
        (torch.zeros(3, *SIZE), ShapeError, "mask has 3 frames, the clip has 5: give one for all, or one for each"),
        (torch.zeros(8, 1, *SIZE), ShapeError, "mask has 8 frames, the clip has 5"),
        (torch.zeros(5, 3, *SIZE), ShapeError, r"mask is \(H, W\), or \(N, H, W\)"),
        (255 * torch.ones(SIZE), UserError, "holds values from 255 to 255: give 0 to 1"),
    ],
)
def test_bad_masks_get_one_sentence(mask, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        restore(frames_of(), mask)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence"), [({"scale": 4}, "has no scale"), ({"dilate": -1}, "dilate"), ({"feather": 1.5}, "feather")]
)
def test_options_that_make_no_sense_with_holes(options, sentence):
    with pytest.raises(UserError, match=sentence):
        restore(frames_of(), box(), **options)


def test_other_tasks_take_no_mask():
    for width in ({"dilate": 2}, {"feather": 0}):
        with pytest.raises(UserError, match="takes no mask: leave out what is to be done to its rim"):
            wd.restore(torch.zeros(1, 3, 8, 8), **width)
    with pytest.raises(UserError, match="takes no mask: leave it out"):
        wd.restore(frames_of(), mask=box(), model=tiny_model(), device="cpu")


@pytest.mark.parametrize("lanes", [1, 3])
def test_masks_are_read_as_the_frames_are(lanes):
    read, ahead = [], []

    def masks():
        for left in range(12):
            read.append(None)
            yield box(left)

    options = Options(
        "inpainting",
        model=tiny_model(),
        steps=STEPS,
        lanes=lanes,
        device="cpu",
        dilate=0,
        feather=1,
        seed=3,
        cuts="none",
    )
    for written, _ in enumerate(restore_stream(iter(frames_of(12)), options, masks=masks())):
        ahead.append(len(read) - written)
    assert len(ahead) == 12
    assert max(ahead) <= lanes + 1


@pytest.mark.parametrize(("count", "sentence"), [(3, "masks for 3 frames"), (7, "more masks than the clip's 5")])
def test_a_stream_of_masks_of_another_length_is_told(count, sentence):
    options = Options("inpainting", model=tiny_model(), steps=1, device="cpu", guidance="none", noise="fixed")
    with pytest.raises(UserError, match=sentence):
        list(restore_stream(frames_of(5), options, masks=[box()] * count))


def test_lanes_change_nothing():
    frames, masks = frames_of(5), torch.stack([box(left) for left in (2, 5, 9, 12, 15)])
    first, *others = (restore(frames, masks, lanes=lanes) for lanes in (1, 3, 5))
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=2e-5)


def scene(count, camera, step=4):
    """A box that goes its own way over a ground that moves by `camera` a frame: frames, masks, the ground alone."""
    frames, masks, grounds = [], [], []
    for j in range(count):
        ground = background(similarity(j, camera))
        frame, mask = ground.copy(), torch.zeros(1, HEIGHT, WIDTH)
        place = np.s_[40:80, 30 + step * j : 54 + step * j]
        frame[place], mask[0][place] = texture(40, 24, 9), 1
        frames.append(grey_frame(frame))
        grounds.append(grey_frame(ground))
        masks.append(mask)
    return torch.stack(frames), torch.stack(masks), torch.stack(grounds)


@pytest.mark.parametrize("noise", ["gp", "integral"])
@pytest.mark.parametrize("guidance", ["denoised", "none"])
def test_nothing_of_a_shot_is_carried_into_the_holes_of_the_next(noise, guidance):
    """A model that knows nothing shows what it is given: noise, and what earlier frames of the shot knew."""
    first, masks = (part[..., 30:94, 20:100] for part in scene(3, (1.3, -0.6))[:2])
    second, others = first.flip(-1), masks.flip(-1)
    options = {"model": ignorant_model(0.5), "noise": noise, "guidance": guidance, "steps": 6}
    whole = restore(torch.cat([first, second]), torch.cat([masks, others]), cuts="auto", **options)
    torch.testing.assert_close(whole[:3], restore(first, masks, **options), rtol=0, atol=2e-5)
    torch.testing.assert_close(whole[3:], restore(second, others, shot=1, **options), rtol=0, atol=2e-5)
    uncut = restore(torch.cat([first, second]), torch.cat([masks, others]), **options)
    assert ((whole - uncut)[3:].abs() * others).sum() / (3 * others.sum()) > 0.01


def test_what_a_hole_covers_begins_no_shot():
    frames = scene(4, (1.0, 0.0))[2][..., :48, :60]
    wild = torch.where(torch.arange(4)[:, None, None, None] % 2 > 0, 1 - frames, frames)
    hidden = torch.ones(4, 1, 48, 60)
    hidden[..., :20] = 0
    mixed = torch.where(hidden > 0, wild, frames)
    plain, other = (restore(f, hidden, cuts="auto", dilate=0, feather=0, steps=2) for f in (frames, mixed))
    torch.testing.assert_close(plain, other, rtol=0, atol=0)
    torch.testing.assert_close(plain, restore(frames, hidden, dilate=0, feather=0, steps=2), rtol=0, atol=0)


@pytest.mark.parametrize("amount", [0.0, 0.5])
@pytest.mark.parametrize(("camera", "bound"), [((0.0, 0.0), 0.005), ((-3.0, 1.0), 0.01), ((1.3, -0.6), 0.025)])
def test_what_an_earlier_frame_knew_is_carried_into_the_hole(amount, camera, bound):
    """A model that knows nothing, and motion estimated from the clip: the background behind the box is real."""
    count, grow, feather = 9, 3, 2
    frames, masks, grounds = scene(count, camera)
    options = {"model": ignorant_model(amount), "steps": 10, "dilate": grow, "feather": feather}
    restored, unguided = (restore(frames, masks, guidance=guidance, **options) for guidance in ("denoised", "none"))
    holes = [make_hole(mask, grow, feather) for mask in masks]
    for j in (4, count - 1):
        moved = wd.Motion.analytic(2, (HEIGHT, WIDTH), tuple(j * c for c in camera))
        seen = _behind(holes[0].mask, moved) * (holes[j].alpha >= 1)
        assert seen.sum() > 300
        errors = [
            float(((clip[j] - grounds[j]).square() * seen).sum() / (3 * seen.sum())) ** 0.5
            for clip in (restored, unguided)
        ]
        assert errors[0] < bound
        assert errors[1] > 0.08


def _behind(hole, motion):
    """1 where the first frame, whose hole is given, knew the ground that is there now: (1, H, W)."""
    x, y = motion.backward[0].round().long().unbind(-1)
    inside = (x >= 2) & (y >= 2) & (x < WIDTH - 2) & (y < HEIGHT - 2)
    grown = torch.nn.functional.max_pool2d(hole[None], 5, 1, 2)[0, 0]
    known = grown[y.clamp(0, HEIGHT - 1), x.clamp(0, WIDTH - 1)] == 0
    return (inside & known).float()[None]


def test_a_still_under_a_hole_that_moves_with_it_keeps_what_was_made_up():
    """The paper's warm-up: whole-pixel shifts, the mask moving along; guided, the made-up part stays as it was."""
    count, shift = 6, 2
    motion = wd.Motion.analytic(count, (40, 60), shift=(shift, 0.0))
    still = grey_frame(background(similarity(0)))[:, :40, :80]
    frames = torch.stack([still[:, :, 20 - shift * j : 80 - shift * j] for j in range(count)])
    masks = torch.stack([box(15 + shift * j, 10, 16, 16, (40, 60)) for j in range(count)])
    guided, unguided = (
        float(
            wd.warping_error(
                restore(
                    frames, masks, motion=motion, guidance=guidance, noise="resample", dilate=0, steps=20, feather=0
                ),
                motion,
                per_frame=True,
            )[-1]
        )
        for guidance in ("denoised", "none")
    )
    assert guided < unguided / 10
