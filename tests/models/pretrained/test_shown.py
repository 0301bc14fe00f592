"""What networks see of the input, by the public models' conventions."""

import pytest
import torch

from tests.models.pretrained.checkpoints import vae
from warped_diffusion.errors import UserError
from warped_diffusion.models.pretrained.codec import AutoencoderCodec
from warped_diffusion.models.pretrained.shown import Enlarged, MaskedPicture, Small, choose_shown, nothing
from warped_diffusion.tasks import Inpainting, SuperResolution

CODEC = AutoencoderCodec(vae(scaling_factor=0.2))


def smooth(height: int, width: int) -> torch.Tensor:
    """A picture in [0, 1] without the highest frequencies."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [torch.sin(0.3 * x + 0.2 * y), torch.cos(0.2 * x), torch.sin(0.25 * y)]
    return (torch.stack(waves) / 2.2 + 0.5)[None]


def test_holes_are_mid_grey_and_the_mask_is_read_at_each_cells_corner():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 4:6] = 1
    condition = Inpainting().condition(smooth(8, 8), mask)
    assert (condition["picture"] * mask).abs().max() > 0.01  # the task's own fill, which the model is not to see
    shown = MaskedPicture(CODEC)(condition)["shown"]
    assert torch.equal(shown[:, :1], mask[..., ::2, ::2])
    grey = torch.where(mask > 0, torch.zeros(()), smooth(8, 8) * 2 - 1)
    torch.testing.assert_close(shown[:, 1:], CODEC.encode(grey))


def test_an_enlargement_is_shown_as_its_latents():
    condition = SuperResolution(4).condition(smooth(4, 6))
    shown = Enlarged(CODEC)(condition)["shown"]
    assert shown.shape == (1, 4, 8, 12)
    torch.testing.assert_close(shown, CODEC.encode(condition["picture"].clamp(-1, 1)))


def test_the_upscaler_is_shown_the_input_itself():
    codec = AutoencoderCodec(vae(levels=3))
    low = smooth(16, 24)
    condition = SuperResolution(4).condition(low)
    shown = Small(codec)({**condition, "measurement": low * 2 - 1})["shown"]
    assert torch.equal(shown, low * 2 - 1)
    shown = Small(codec)(condition)["shown"]
    # what three rounds of back-projection leave, a third of a level of 255
    torch.testing.assert_close(shown, low * 2 - 1, rtol=0, atol=2 / 255 / 3)


@pytest.mark.parametrize(
    ("extra", "task", "scale", "labelled", "message"),
    [
        (3, "inpainting", None, True, "enlarges 2 times and does nothing else: give --task super-resolution --scale 2"),
        (3, "super-resolution", 4, True, "got super-resolution at scale 4"),
        (5, "super-resolution", 4, False, "fills holes: give --task inpainting and a mask, got super-resolution at"),
        (4, "inpainting", None, False, "shown no mask: give a model for inpainting"),
        (2, "inpainting", None, False, "6 input channels for 4 latent ones is of no kind known here: text alone has 4"),
        (3, "super-resolution", 4, False, "7 input channels for 4 latent ones"),
    ],
)
def test_channels_that_do_not_fit_the_task_are_one_sentence(extra, task, scale, labelled, message):
    with pytest.raises(UserError, match=message):
        choose_shown(extra, task, scale, CODEC, labelled)


def test_a_model_of_text_alone_is_shown_nothing_in_any_task():
    for task in ("super-resolution", "inpainting", "clean-up"):
        assert choose_shown(0, task, None, CODEC, False) is nothing
    assert nothing({"picture": torch.zeros(1)}) == {}
