"""What a restored clip says of how it was made."""

import hashlib

import av
import torch

from tests.video.clips import make_clip, pictures
from warped_diffusion.models import PretrainedOptions, embedded, fingerprint
from warped_diffusion.models.embedded import EmbeddedDenoiser
from warped_diffusion.models.model import WEIGHTS
from warped_diffusion.options import Options, settled
from warped_diffusion.provenance import describe
from warped_diffusion.restore_video import restore_video

SMALL = {"channels": (8, 16), "depths": (1, 1), "depths_up": (1, 0)}


def digest(path):
    return f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_restored_clip_says_how(tmp_path):
    weights = tmp_path / "private" / "my weights.safetensors"
    weights.parent.mkdir()
    torch.manual_seed(0)
    embedded.save(EmbeddedDenoiser(SMALL), weights, {})
    source = make_clip(tmp_path / "in.mp4", pictures(3, (16, 16)))
    options = {"scale": 2, "steps": 1, "seed": 7, "model": str(weights), "cuts": (1,)}
    restore_video(source, tmp_path / "out.mp4", bounds=(0, 2), **options)
    with av.open(tmp_path / "out.mp4") as container:
        comment = container.metadata["comment"]
    command = "restore --task super-resolution --scale 2 --model 'my weights.safetensors' --steps 1 --seed 7 --cuts 1"
    assert f"{command} --range 0:2; model {digest(weights)}" in comment
    assert comment.startswith("warped-diffusion ")
    assert str(tmp_path) not in comment


def test_only_what_is_not_usual_is_named_and_seed_task_and_model_always():
    text = describe(settled(Options(consistency=False, pretrained=PretrainedOptions(prompt="a cat's eye"))), pad=None)
    assert "--task super-resolution --model embedded --steps 20 --seed 0 --no-consistency --prompt" in text
    assert "--solver" not in text
    assert text.endswith(f"; model {digest(WEIGHTS / 'super-resolution.safetensors')}")


def test_models_are_told_apart(tmp_path):
    assert fingerprint("embedded", "inpainting") == digest(WEIGHTS / "inpainting.safetensors")
    assert fingerprint("embedded", "deblurring") == digest(WEIGHTS / "super-resolution.safetensors")
    assert fingerprint(object(), "inpainting") is None
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "weights.safetensors").write_bytes(b"one")
    first = fingerprint(tmp_path, "inpainting")
    (tmp_path / "unet" / "weights.safetensors").write_bytes(b"two")
    assert first != fingerprint(tmp_path, "inpainting")
