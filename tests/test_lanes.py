"""`lanes="auto"` of a restoration: bound by memory, tried once where the device is to be tried, kept with the state."""

from functools import partial

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from tests.test_running import begun
from warped_diffusion import restoration
from warped_diffusion.diffusion.lanes import fastest
from warped_diffusion.errors import UserError
from warped_diffusion.models import Model, embedded
from warped_diffusion.options import Options
from warped_diffusion.restoration import Restoration

SIZE = (16, 24)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(restoration, "_LANES", {})


def made(model="embedded", **options):
    return Restoration(Options(scale=2, steps=3, model=model, flow="dis", device="cpu", **options), SIZE, None)


def tried(monkeypatch, wide=4, memory=None):
    """Treat the CPU as a device that does `wide` frames in the time of one; the sizes that are tried."""
    sizes, now = [], [0.0]

    def evaluate(this, count):
        sizes.append(count)
        now[0] += 0.01 * max(1, count / wide)

    monkeypatch.setattr(restoration, "is_tried", lambda _: True)
    monkeypatch.setattr(restoration, "free_memory", lambda _: memory)
    monkeypatch.setattr(restoration, "fastest", partial(fastest, clock=lambda: now[0]))
    monkeypatch.setattr(Restoration, "_evaluate", evaluate)
    return sizes


def test_a_device_is_tried_once_for_a_model_and_a_size(monkeypatch):
    sizes = tried(monkeypatch)
    assert made().lanes == 4
    count = len(sizes)
    assert (made().lanes, len(sizes)) == (4, count)
    assert Restoration(Options(scale=4, steps=3, flow="dis", device="cpu"), SIZE, None).lanes == 4
    assert len(sizes) == 2 * count


def test_lanes_that_are_given_are_not_tried(monkeypatch):
    sizes = tried(monkeypatch)
    assert made(lanes=3).lanes == 3
    with pytest.raises(UserError, match="lanes is a whole number"):
        made(lanes=0)
    assert sizes == []


def test_lanes_stay_within_free_memory(monkeypatch):
    sizes = tried(monkeypatch, wide=16, memory=10**9)
    most = made().lanes
    assert most > 4
    sizes = tried(monkeypatch, wide=16, memory=0)
    monkeypatch.setattr(restoration, "_LANES", {})
    assert made().lanes == 1
    assert max(sizes) == 1
    monkeypatch.setattr(restoration, "is_tried", lambda _: False)
    assert made().lanes == 1


def test_a_trial_asks_the_denoiser_for_batches_of_that_size():
    seen = []
    tiny = tiny_denoiser()

    def denoiser(noisy, sigma, condition):
        seen.append((tuple(noisy.shape), len(sigma), len(condition["picture"]), torch.is_grad_enabled()))
        return tiny(noisy, sigma, condition)

    model = Model(denoiser, embedded.SPECTRA, lambda _: (0.02, 2.0), lambda told: told["picture"])
    made(model)._evaluate(3)
    assert seen == [((3, 3, 32, 48), 3, 3, False)]


def test_a_run_that_goes_on_takes_the_lanes_that_it_began_with(monkeypatch):
    def run(lanes):
        monkeypatch.setattr(Restoration, "lanes", lanes)
        return begun(lanes="auto")

    whole = run(3)
    finished = []
    while len(finished) < 2:
        finished += whole.advance()
    state = whole.state()
    rest = list(whole)
    again = run(1)
    again.resume(state)
    assert again.lanes == 3
    assert all(torch.equal(*pair) for pair in zip(again, rest, strict=True))
