"""Two hundred frames: what comes last is as sharp, and its noise as much noise, as what came first; memory is flat."""

import math
from pathlib import Path

import pytest
import torch

import warped_diffusion as wd
from warped_diffusion.estimators import estimate_pair
from warped_diffusion.evaluate.moved import SAMPLE
from warped_diffusion.flow import compose, identity_map, sample
from warped_diffusion.metrics import high_frequency_energy, neighbour_correlation, variance
from warped_diffusion.models import Model
from warped_diffusion.noise import make_scheme
from warped_diffusion.options import Options
from warped_diffusion.restore import restore_stream
from warped_diffusion.video import VideoReader

pytestmark = pytest.mark.slow

FRAMES, ENDS, PERIOD = 210, 10, 20  # the last ten show what the first ten do
SIZE = (64, 96)
MADE_UP = 0.2  # standard deviation of what the model makes up, in its units
WITHIN = 0.1
PAGES = Path("/proc/self/statm")


def turning(frames: int):
    """A picture that goes round in circles of 6 pixels' radius and turns to and fro: every 20 frames where it was."""
    with VideoReader(SAMPLE, 0, 1) as reader:
        (picture,) = reader
    height, width = SIZE
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    middle = torch.tensor([picture.shape[-1] / 2, picture.shape[-2] / 2])
    for j in range(frames):
        phase = 2 * math.pi * j / PERIOD
        angle = 0.08 * math.sin(phase)
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        places = (identity_map(height, width) - centre) @ turn.T + middle
        yield sample(picture, places + 6 * torch.tensor([math.cos(phase), math.sin(phase)])).clamp(0, 1)


def gaussian_model() -> Model:
    """Exact where frames are their enlarged input and white noise: of a small frame, detail is hardly up to chance."""

    def denoiser(noisy, sigma, condition):
        share = (MADE_UP**2 / (MADE_UP**2 + sigma**2))[:, None, None, None]
        return condition["picture"] + share * (noisy - condition["picture"])

    return Model(denoiser, ("white",), lambda _: (0.02, 4.0), lambda condition: condition["picture"])


def test_the_last_frames_are_as_sharp_as_the_first_and_memory_is_flat():
    low = (wd.degrade(frame[None], scale=4)[0] for frame in turning(FRAMES))
    sharpness, pages = [], []
    for frame in restore_stream(low, Options(model=gaussian_model(), flow="refined", lanes=4)):
        sharpness.append(float(high_frequency_energy(frame)))
        if PAGES.exists():
            pages.append(int(PAGES.read_text().split()[1]))
    assert len(sharpness) == FRAMES
    first, last = (sum(part) / ENDS for part in (sharpness[:ENDS], sharpness[-ENDS:]))
    assert abs(last / first - 1) < WITHIN
    if pages:
        assert pages[-1] < 1.05 * pages[FRAMES // 4]


@pytest.mark.parametrize("spectrum", ["white", "squared-exponential"])
def test_the_last_frames_noise_is_as_much_noise_as_the_first(spectrum):
    """Along estimated flow, with what it does not trust drawn anew."""
    scheme = make_scheme("gp", channels=4, size=SIZE, spectrum=spectrum, seed=3)
    positions, previous, noise = identity_map(*SIZE), None, []
    for j, frame in enumerate(turning(FRAMES)):
        if previous is None:
            noise.append(scheme.frame(0, positions))
        else:
            _, backward, _, known = estimate_pair(previous, frame, SIZE, "refined")
            positions = compose(positions, backward)
            noise.append(scheme.frame(j, positions, backward, known))
        previous = frame
    for ten in (torch.stack(noise[:ENDS]), torch.stack(noise[-ENDS:])):
        assert abs(float(variance(ten).mean()) - 1) < WITHIN
    first, last = (neighbour_correlation(torch.stack(part)).mean() for part in (noise[:ENDS], noise[-ENDS:]))
    assert abs(float(last - first)) < 0.03
    energy = [float(high_frequency_energy(torch.stack(part)).mean()) for part in (noise[:ENDS], noise[-ENDS:])]
    assert abs(energy[1] / energy[0] - 1) < WITHIN
