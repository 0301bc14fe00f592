"""Clips that share a wavefront: each as alone, bit for bit where a batch's size changes no bits, in fewer calls."""

import itertools

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from warped_diffusion.errors import NotFiniteError, ShapeError, UserError
from warped_diffusion.flow import identity_map, sample
from warped_diffusion.models import Model, embedded
from warped_diffusion.options import Options
from warped_diffusion.restoration import Restoration
from warped_diffusion.restore import restore_stream
from warped_diffusion.tasks import enlarge
from warped_diffusion.together import restore_together

SIZE, STEPS, LENGTHS = (14, 18), 3, (3, 1, 5, 2)


def clip(length, seed, cut=None):
    generator = torch.Generator().manual_seed(seed)
    for j in range(length):
        if j in (0, cut):
            picture = 0.1 + 0.7 * enlarge(torch.rand(1, 3, 16, 16, generator=generator), (64, 64))[0]
        yield sample(picture, identity_map(*SIZE) + torch.tensor([20.0 + j, 20.0 + 0.4 * j])).clamp(0, 1)


def clips():
    return [list(clip(length, seed, cut=3)) for seed, length in enumerate(LENGTHS)]


class Counted:
    """A tiny network; how many frames each call was for."""

    def __init__(self):
        self.network, self.calls = tiny_denoiser(), []

    def __call__(self, noisy, sigma, condition):
        self.calls.append(len(noisy))
        return self.network(noisy, sigma, condition)


def how(counted, **options):
    model = Model(counted, embedded.SPECTRA, lambda _: (0.02, 2.0), lambda told: told["picture"])
    return Options(**{"scale": 2, "steps": STEPS, "device": "cpu", "flow": "dis", "model": model} | options)


@pytest.fixture
def item_by_item(monkeypatch):
    """Estimates that depend on no other item of a batch, to the last bit."""
    whole = Restoration.denoise

    def denoise(self, noisy, sigma, condition):
        items = [slice(i, i + 1) for i in range(len(noisy))]
        return torch.cat([whole(self, noisy[i], sigma[i], {n: v[i] for n, v in condition.items()}) for i in items])

    monkeypatch.setattr(Restoration, "denoise", denoise)


CASES = {
    "usual": {},
    "cuts found": {"cuts": "auto"},
    "cuts given": {"cuts": (3,), "shot": 2},
    "smooth noise, fresh": {"spectrum": "squared-exponential", "fresh": 0.3},
    "no guidance": {"guidance": "none"},
    "the paper's": {"guidance": "network", "solver": "dpmpp-2m"},
    "guided late": {"guided": 0.4},
}


@pytest.mark.parametrize(("case", "lanes"), [*((case, 3) for case in CASES), ("usual", 1), ("usual", 20)])
def test_each_clip_is_as_it_is_alone(case, lanes, item_by_item):
    options = how(Counted(), **{"cuts": "none", "lanes": lanes} | CASES[case])
    alone = [(number, frame) for number, one in enumerate(clips()) for frame in restore_stream(one, options)]
    found = list(restore_together(clips(), options))
    assert [number for number, _ in found] == [number for number, _ in alone]
    # Through a network's gradient items of a batch are summed up together.
    bits = 1e-6 if case == "the paper's" else 0
    for (_, one), (_, other) in zip(found, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=bits)


def calls_of(lengths, lanes):
    """The sizes of the batches, by the rule alone: a frame follows the one before it of its clip a step behind."""
    waiting = [(number, j) for number, length in enumerate(lengths) for j in range(length)]
    active, sizes = [], []
    while waiting or active:
        while waiting and len(active) < lanes:
            active.append([*waiting.pop(0), 0])
        before = {(number, j): step for number, j, step in active}
        moving = [lane for lane in active if lane[2] < STEPS and lane[2] < before.get((lane[0], lane[1] - 1), STEPS)]
        for lane in moving:
            lane[2] += 1
        sizes.append(len(moving))
        while active and active[0][2] == STEPS:
            active.pop(0)
    return sizes


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 20])
def test_calls_are_fewer_and_as_many_as_the_rule_says(lanes):
    together, alone = Counted(), Counted()
    list(restore_together(clips(), how(together, cuts="none", lanes=lanes)))
    for one in clips():
        list(restore_stream(one, how(alone, cuts="none", lanes=lanes)))
    assert together.calls == calls_of(LENGTHS, lanes)
    assert alone.calls == [size for length in LENGTHS for size in calls_of([length], lanes)]
    assert sum(together.calls) == sum(alone.calls) == STEPS * sum(LENGTHS)
    if lanes > 1:
        assert len(together.calls) < len(alone.calls)
    if lanes == 20:
        assert len(together.calls) == max(LENGTHS) + STEPS - 1  # all clips side by side


def test_clips_are_read_as_they_are_needed():
    taken = []

    def noted(number, frames):
        for frame in frames:
            taken.append(number)
            yield frame

    given = (noted(number, clip(2, number)) for number in itertools.count())
    found = restore_together(given, how(Counted(), lanes=2, cuts="none"))
    assert [next(found)[0] for _ in range(4)] == [0, 0, 1, 1]
    assert len(taken) <= 4 + 2 + 1  # those on their way, and the one that is made ahead


def test_empty_clips_and_wrong_ones():
    assert list(restore_together([], how(Counted()))) == []
    found = list(restore_together([[], clip(1, 0), [], clip(2, 1)], how(Counted(), cuts="none")))
    assert [number for number, _ in found] == [1, 3, 3]
    with pytest.raises(ShapeError, match="expected"):
        list(restore_together([clip(1, 0), [torch.zeros(3, 20, 20)]], how(Counted())))
    with pytest.raises(UserError, match="one by one"):
        restore_together([clip(1, 0)], Options(task="inpainting", device="cpu"))


def test_a_frame_that_is_no_number_is_told_by_its_place_in_its_clip():
    counted = Counted()
    options = how(counted, cuts="none", lanes=1, guidance="none")
    network, frames = counted.network, []
    counted.network = lambda *given: network(*given) * (float("nan") if len(counted.calls) > 4 * STEPS else 1)
    with pytest.raises(NotFiniteError) as told:
        frames.extend(restore_together([clip(3, 0), clip(3, 1)], options))
    assert len(frames) == 4
    assert told.value.frame == 1
