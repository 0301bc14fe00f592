"""Measures of frames by networks that were trained to see, LPIPS and CLIP, through torchmetrics and transformers."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate import libraries

ALEXNET = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
"""The weights that torchvision has as AlexNet's default."""

CLIP = "openai/clip-vit-large-patch14"
"""A hub name, or a folder in transformers' format."""

SCORE, SCORES = "the CLIP score", "torchmetrics.functional.multimodal"


@torch.no_grad()
def lpips(frames: Tensor, truth: Tensor) -> Tensor:
    """Distance of AlexNet's activations, weighted by the heads that torchmetrics ships: 0 for equal frames.

    Args:
        frames, truth: (N, 3, H, W) in [0, 1].
    Returns: (N,) float64.
    Raises: UserError if torchvision, torchmetrics or AlexNet's weights are not to be had.
    """
    metric = load_lpips().to(frames.device)
    distances = []
    for frame, true in zip(frames, truth, strict=True):
        metric.reset()
        distances.append(metric(frame[None].float(), true[None].float()).reshape(()))
    return torch.stack(distances).double()


@torch.no_grad()
def clip_text(frames: Tensor, caption: str) -> Tensor:
    """Cosine of CLIP's embeddings of each frame and of the caption, 0 where it is negative: (N,) float64.

    A caption longer than CLIP reads is cut. Raises: UserError if the libraries or the weights are not to be had.
    """
    return torch.stack([_cosine(frame, caption) for frame in _levels(frames)])


@torch.no_grad()
def clip_image(frames: Tensor, truth: Tensor) -> Tensor:
    """Cosine of CLIP's embeddings of each frame and of the true one, 0 where it is negative: (N,) float64.

    Raises: UserError if the libraries or the weights are not to be had.
    """
    pairs = zip(_levels(frames), _levels(truth), strict=True)
    return torch.stack([_cosine(frame, true) for frame, true in pairs])


@cache
def load_lpips() -> Any:
    """torchmetrics' metric of two batches in [0, 1]. Raises: UserError as `lpips`."""
    (library, _), _ = libraries.load_with_weights(["torchmetrics.image.lpip", "torchvision.models"], ALEXNET, "LPIPS")
    with torch.random.fork_rng(devices=[]):  # weights are drawn before they are read
        return library.LearnedPerceptualImagePatchSimilarity(net_type="alex", reduction="none", normalize=True)


@cache
def load_clip() -> tuple["_Embeddings", "_Processor"]:
    """What torchmetrics asks of CLIP. Raises: UserError as `clip_text`."""
    libraries.load(SCORES, SCORE)
    transformers = libraries.load("transformers", SCORE)
    try:
        model = transformers.CLIPModel.from_pretrained(CLIP, local_files_only=True, use_safetensors=True)
        processor = transformers.CLIPProcessor.from_pretrained(CLIP, local_files_only=True)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        from huggingface_hub.constants import HF_HUB_CACHE

        raise UserError(
            f"{SCORE} needs {CLIP}, which is not whole in {libraries.shown(Path(HF_HUB_CACHE))}: fetch it by "
            f'hf download {CLIP} --include "*.json" --include "*.txt" --include model.safetensors, '
            "or set HF_HOME to the folder whose hub has it"
        ) from error
    return _Embeddings(model.eval()), _Processor(processor)


class _Embeddings:
    """CLIP as torchmetrics calls it: embeddings as tensors, which transformers hands out within other outputs."""

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config

    def to(self, device: torch.device) -> "_Embeddings":
        self.model.to(device)
        return self

    def get_image_features(self, pixels: Tensor) -> Tensor:
        return self.model.get_image_features(pixels).pooler_output

    def get_text_features(self, tokens: Tensor, attention: Tensor) -> Tensor:
        return self.model.get_text_features(tokens, attention_mask=attention).pooler_output


class _Processor:
    """CLIP's own, but a caption that is too long keeps its end token, from which its embedding is read."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, **given: Any) -> Any:
        return self.processor(**given, **({"truncation": True} if "text" in given else {}))


def _levels(frames: Tensor) -> Tensor:
    """In [0, 1] -> whole levels of 255, which is what CLIP's processor takes."""
    return (frames * 255).round().byte()


def _cosine(frame: Tensor, other: Tensor | str) -> Tensor:
    score = libraries.load(SCORES, SCORE).clip_score
    return score(frame, other, load_clip).double().cpu() / 100
