"""A GPU's memory that does not suffice is one sentence that names the options to try."""

import pytest
import torch

import warped_diffusion as wd
from warped_diffusion.errors import UserError
from warped_diffusion.memory import loading
from warped_diffusion.models import MODELS, Model, PretrainedOptions
from warped_diffusion.options import Options
from warped_diffusion.restore import restore_stream

TOLD = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which"
FRAMES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
STEPS = 2


def short_of(calls):
    """A model that finds too little memory after that many calls."""
    made = []

    def denoise(noisy, sigma, condition):
        made.append(len(noisy))
        if len(made) > calls:
            raise torch.OutOfMemoryError(TOLD)
        return condition["picture"]

    return Model(denoise)


def options(**keywords):
    return Options(**{"scale": 2, "steps": STEPS, "device": "cpu", "noise": "resample", "guidance": "none"} | keywords)


def test_while_sampling_the_frames_before_are_given_and_then_one_sentence():
    stream = restore_stream(iter(FRAMES), options(model=short_of(3 * STEPS), lanes=1))
    frames = [next(stream) for _ in range(3)]
    assert torch.stack(frames).shape == (3, 3, 16, 16)
    message = r"too small to restore these frames \(CUDA out of memory. Tried to allocate 2.00 GiB\): give --tile 512$"
    with pytest.raises(UserError, match=message):
        next(stream)


def test_fewer_lanes_are_named_where_there_are_several_and_cheaper_guidance():
    with pytest.raises(UserError, match=r"give --lanes 1, not 4, or --guidance denoised or --tile 512$"):
        wd.restore(FRAMES, scale=2, model=short_of(0), lanes=4, guidance="network", device="cpu", cuts="none")


class Heavy:
    """A codec whose decoder is too large."""

    factor, channels = 1, 3

    def encode(self, pictures):
        return pictures

    def decode(self, latents):
        raise torch.OutOfMemoryError(TOLD)


def test_while_decoding():
    model = Model(lambda noisy, sigma, condition: noisy, codec=Heavy())
    with pytest.raises(UserError, match="too small to restore these frames"):
        list(restore_stream(iter(FRAMES), options(model=model)))


def test_while_loading(monkeypatch):
    def load(task, device):
        raise torch.OutOfMemoryError(TOLD)

    monkeypatch.setitem(MODELS, "huge", load)
    with pytest.raises(UserError, match=r"too small to load the model .* give --device cpu$"):
        restore_stream(iter(FRAMES), options(model="huge"))


@pytest.mark.parametrize(
    ("pretrained", "ways"),
    [
        (None, "--offload model"),
        (PretrainedOptions(offload="model"), "--offload sequential"),
        (PretrainedOptions(offload="sequential"), "--device cpu"),
        (PretrainedOptions(dtype="fp32"), "--offload model or --dtype bf16"),
    ],
)
def test_a_pretrained_model_can_wait_in_main_memory_or_be_of_half_precision(pretrained, ways):
    with (
        pytest.raises(UserError, match=f"give {ways}$"),
        loading(Options(model="somebody/model", pretrained=pretrained)),
    ):
        raise torch.OutOfMemoryError


def test_other_faults_stay_what_they_are():
    def denoise(noisy, sigma, condition):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        wd.restore(FRAMES, scale=2, model=Model(denoise), device="cpu")
