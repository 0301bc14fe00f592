"""Measures of all frames together by what the Inception network makes of them: FID and the Inception Score.

torch-fidelity has the network and its weights' address, torchmetrics the two figures.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from warped_diffusion.evaluate import libraries

Features = Mapping[str, np.ndarray]

LAYERS = ["2048", "logits_unbiased"]
"""What the last pooling gives, (N, 2048), and the logits without their bias, (N, 1008)."""
WEIGHTS = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
"""Those that FID was defined with, as torch-fidelity has them."""

USER, FRECHET, SCORE = "the Inception network", "torchmetrics.image.fid", "torchmetrics.image.inception"

BATCH = 16
"""Frames at a time, each of 299×299 whatever it was."""


def fid_features(frames: Tensor, truth: Tensor) -> dict[str, np.ndarray]:
    """`restored` and `truth`, (N, D) each, of frames (N, 3, H, W) in [0, 1].

    Raises: UserError if torch-fidelity or its weights are not to be had.
    """
    return {"restored": _activations(frames)[0], "truth": _activations(truth)[0]}


def score_features(frames: Tensor) -> dict[str, np.ndarray]:
    """`logits`, (N, D), of frames (N, 3, H, W) in [0, 1]. Raises: as `fid_features`."""
    return {"logits": _activations(frames)[1]}


def fid(clips: Sequence[Features]) -> float:
    r"""Fréchet distance of two Gaussians, |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½), with the moments of all clips' features.

    Few frames overestimate it: figures are to be compared at one number of frames.

    Args:
        clips: `fid_features` of each.
    Returns: nan if there are fewer than two frames.
    """
    restored, truth = (_joined(clips, name) for name in ("restored", "truth"))
    if min(len(restored), len(truth)) < 2:
        return math.nan
    given = torch.nn.Identity()
    given.num_features = restored.shape[1]  # type: ignore[assignment]  # torchmetrics asks for it
    metric = libraries.load(FRECHET, USER).FrechetInceptionDistance(given)
    metric.update(truth, real=True)
    metric.update(restored, real=False)
    return float(metric.compute())


def inception_score(clips: Sequence[Features]) -> float:
    r"""exp mean KL(p(y|x) ‖ p(y)), p(y) the mean over all frames, in one part: 1 to the number of classes.

    Few frames underestimate it: figures are to be compared at one number of frames.

    Args:
        clips: `score_features` of each.
    Returns: nan if there is no frame.
    """
    logits = _joined(clips, "logits")
    if len(logits) == 0:
        return math.nan
    # It warns of the memory for its features, and of the deviation over one part, which nobody asks for.
    with warnings.catch_warnings(action="ignore", category=UserWarning), torch.random.fork_rng(devices=[]):
        metric = libraries.load(SCORE, USER).InceptionScore(torch.nn.Identity(), splits=1)
        metric.update(logits)
        return float(metric.compute()[0])


@cache
def load_inception() -> torch.nn.Module:
    """Inception v3: levels of 255, (N, 3, H, W) uint8 -> the two of `LAYERS`. Raises: UserError as `fid_features`."""
    modules = [FRECHET, SCORE, "torch_fidelity.feature_extractor_inceptionv3"]
    (*_, library), path = libraries.load_with_weights(modules, WEIGHTS, USER)
    with torch.random.fork_rng(devices=[]):  # weights are drawn before they are read
        return library.FeatureExtractorInceptionV3("inception-v3-compat", LAYERS, str(path))


@lru_cache(maxsize=2)  # restored frames and true ones: two measures ask for them
@torch.no_grad()
def _activations(frames: Tensor) -> tuple[np.ndarray, np.ndarray]:
    network = load_inception().to(frames.device)
    parts = [network(batch) for batch in (frames * 255).round().byte().split(BATCH)]
    pooled, logits = (torch.cat(of_layer).cpu().numpy() for of_layer in zip(*parts, strict=True))
    return pooled, logits


def _joined(clips: Sequence[Features], name: str) -> Tensor:
    return torch.from_numpy(np.concatenate([clip[name] for clip in clips])).double()
