"""The embedded network without its condition, as training drops it."""

import numpy as np
import pytest
import torch

from tests.models.tiny import randn, tiny_denoiser
from tests.training.packed import pack, tiny_config
from warped_diffusion.diffusion import Consistent, FrameInput, get_solver, karras_sigmas, make_guidance, sample
from warped_diffusion.errors import UserError
from warped_diffusion.metrics import psnr
from warped_diffusion.models import load_model
from warped_diffusion.models.prior import NOTHING_KNOWN, prior
from warped_diffusion.tasks import Inpainting, SuperResolution
from warped_diffusion.training.data import PAIRS, Draw
from warped_diffusion.training.pictures import PackedPictures

SIGMA, SPECTRUM = torch.tensor([2.0, 0.3]), torch.tensor([0, 1])


@pytest.mark.parametrize("task", NOTHING_KNOWN)
def test_the_network_is_told_what_training_tells_where_it_drops_all(task, tmp_path):
    config = tiny_config(tmp_path, task=task, drop=1.0)
    draw = Draw(PackedPictures(pack(tmp_path), "train"), 0, np.random.default_rng(0))
    clean, told = PAIRS[task]([draw], config)
    nothing = NOTHING_KNOWN[task](clean)
    assert nothing.keys() == told.keys()
    for name, value in told.items():
        assert torch.equal(nothing[name], value.expand_as(nothing[name]))


@pytest.mark.parametrize("task", NOTHING_KNOWN)
def test_the_condition_is_not_looked_at(task):
    network = tiny_denoiser(task=task)
    u = randn(2, 3, 8, 12)
    expected = network(u, SIGMA, dict(NOTHING_KNOWN[task](u)) | {"spectrum": SPECTRUM})
    told = {"picture": randn(2, 3, 8, 12, seed=1), "measurement": randn(2, 3, 2, 3), "scale": torch.tensor([4.0, 4.0])}
    assert torch.equal(prior(network).denoiser(u, SIGMA, told | {"spectrum": SPECTRUM}), expected)


def test_a_network_that_always_saw_its_input_is_refused():
    with pytest.raises(UserError, match=r"clean-up always saw its input.*one for super-resolution or inpainting"):
        prior(tiny_denoiser(task="clean-up"))


@pytest.mark.parametrize("task", [SuperResolution(2), Inpainting()], ids=lambda task: task.name)
def test_a_few_steps_agree_with_the_input_and_make_pictures(task):
    """The shipped network on an edge in a plane: the measurement is met, and little is added to what is smooth."""
    picture = torch.full((1, 3, 32, 32), 0.3)
    picture[..., 18:] = 0.6
    mask = None
    if task.takes_mask:
        mask = torch.zeros(1, 1, 32, 32)
        mask[..., 8:14, 10:24] = 1
    given = task.degrade(picture, mask)
    condition = dict(task.condition(given, mask)) | {"measurement": given * 2 - 1, "spectrum": SPECTRUM[:1]}
    model = prior(load_model("embedded", task.name, torch.device("cpu")).denoiser)
    one = {name: value[0] for name, value in condition.items()}
    frame = FrameInput(randn(3, 32, 32), one, start=model.start(one))
    levels = karras_sigmas(8, *model.sigma_range(one))
    consistent = Consistent(model.denoiser, task.operator)
    (state,) = sample(consistent, [frame], levels, get_solver("dpmpp-2m"), make_guidance("none"))
    restored = (state[None] + 1) / 2
    gap = task.degrade(restored, mask) - given
    assert gap.abs().max() < 1e-5  # rounding in single precision
    assert psnr(restored, picture) > 25


def test_sampling_begins_lower_where_the_input_is_near_the_truth():
    """Blurred pictures: from the wider blur higher, never beyond where nothing is known, and always above the end."""
    model = prior(tiny_denoiser())
    low, high = model.sigma_range({})
    ends = [model.sigma_range({"blur": torch.tensor([blur])})[1] for blur in (1e-4, 0.5, 1.5, 6.0, 1e6)]
    assert all(low < end <= high for end in ends)
    assert ends == sorted(ends)
    assert ends[2] < high / 10
