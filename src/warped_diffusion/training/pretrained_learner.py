r"""Fine-tuning of Stable Diffusion and SDXL to restore, with noise of any spectrum.

The clean latents x_0, noise n of the chosen covariance on the latent grid, and a step of the checkpoint's own schedule
give u = x_0 + s n; the network sees u beside the latents of the input and learns what it always predicted: n, v or x_0.
With the squared-exponential spectrum n has the covariance of the paper's random features, exp(-d^2 / 2 eps^2) with
eps = 2 / (pi resolution) truncated at 2 / eps, which is the Nyquist frequency: 0.341 at one cell. It is drawn by one
FFT rather than by 3000 cosines; since the target needs no inverse of the covariance, nothing else changes.
[paper, §3.1, eq. 9 and App. 13.2]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from warped_diffusion.errors import UserError
from warped_diffusion.models.pretrained.codec import AutoencoderCodec
from warped_diffusion.models.pretrained.denoiser import Text
from warped_diffusion.models.pretrained.loading import scheduler_noise, stride
from warped_diffusion.models.pretrained.parameterisation import Discrete
from warped_diffusion.models.pretrained.shown import choose_shown
from warped_diffusion.noise.seeds import keyed
from warped_diffusion.training.cached import CachedCodec, CachedTexts
from warped_diffusion.training.config import TrainConfig
from warped_diffusion.training.data import draw_noise, spectra_of
from warped_diffusion.training.exporting import export_pipeline
from warped_diffusion.training.finetuning import Predictor, open_to_train, scale_of
from warped_diffusion.training.learner import Batch
from warped_diffusion.training.whitening import mean_square


@dataclass(frozen=True, eq=False)
class Question:
    """What the network is asked of B items, and what it should say.

    Attributes:
        clean, noisy: x_0 and u, (B, C, h, w).
        sigma: s, (B, 1, 1, 1).
        step: its number in the checkpoint's schedule, (B,).
        shown: latents of the input, and the mask where there is one, (B, K, h, w).
        text: the captions.
        target: what a perfect network predicts, (B, C, h, w).
    """

    clean: Tensor
    noisy: Tensor
    sigma: Tensor
    step: Tensor
    shown: Tensor
    text: Text
    target: Tensor


class PretrainedLearner:
    """A `Learner` of a UNet in diffusers' format.

    Text encoders and autoencoder stay as they are. Of a batch it takes `clean` and what the task says, (B, 3, H, W) in
    [-1, 1], `noise_seed` and `spectrum`, (B,), and `caption`, B texts.
    Raises: UserError for a checkpoint that cannot be fine-tuned to the task, and for spectra, scales or a crop of which
        a pretrained model can make no use.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        _check(config)
        self.config, self.device = config, device
        pipe, unet = open_to_train(config, device)
        codec = AutoencoderCodec(pipe.vae)
        _check_crop(config, codec.factor * stride(unet.config))
        self.module: nn.Module = Predictor(unet, codec.factor)
        parameterisation = scheduler_noise(config.model, pipe.scheduler).parameterisation
        if not isinstance(parameterisation, Discrete):
            kind = type(pipe.scheduler).__name__
            raise UserError(f"{config.model} has the scheduler {kind}: fine-tuning knows those of numbered steps alone")
        self.parameterisation = parameterisation
        self.codec = CachedCodec(codec, pipe.vae, config.cache)
        # Of random holes and spoils there are no two alike, and no use in keeping them.
        repeats = config.task == "super-resolution" and not config.rough
        beside = self.codec if repeats else CachedCodec(codec, pipe.vae, "")
        extra = unet.config.in_channels - codec.channels
        self._shown = choose_shown(extra, config.task, scale_of(config), beside, labelled=False)
        self.texts = CachedTexts(pipe, device, config.cache)

    def errors(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean squared error of each prediction, by min-SNR weights, and the items' weights, all alike."""
        question = self.question(batch)
        gap = self._predict(network, question) - question.target
        error = mean_square(gap, spectra_of(batch), self.config.whiten)
        error = error * min_snr_weight(question.sigma.flatten(), self.parameterisation.prediction, self.config.min_snr)
        return error, torch.ones_like(error)

    @torch.no_grad()
    def shown(self, network: nn.Module, batch: Batch) -> Tensor:
        """The input, holes grey | the decoded estimate of the question that `errors` asks | the truth."""
        question = self.question(batch)
        prediction = self._predict(network, question)
        latents = self.parameterisation.denoised(question.noisy, question.sigma, prediction)
        given = batch["picture"] * (1 - batch["mask"]) if "mask" in batch else batch["picture"]
        pictures = torch.cat([given, self.codec.decode(latents), batch["clean"]], -1)
        return (pictures / 2 + 0.5).clamp(0, 1)

    def export(self, averaged: Mapping[str, Tensor], folder: Path, about: Mapping[str, object]) -> Path:
        """The whole pipeline as a folder `model` in diffusers' format, low-rank weights added in, and a model card."""
        return export_pipeline(self.config, averaged, folder / "model", about)

    @torch.no_grad()
    def question(self, batch: Batch) -> Question:
        """What is asked of each item: chance is keyed by its `noise_seed` alone."""
        clean = self.codec.encode(batch["clean"])
        seeds = batch["noise_seed"].tolist()
        noise = draw_noise(batch, clean.shape, clean.device)
        steps, dropped = zip(*(self.chances(seed) for seed in seeds), strict=True)
        table = self.parameterisation.table.to(clean)
        step = torch.tensor(steps, device=clean.device)
        sigma = table[step][:, None, None, None]
        return Question(
            clean,
            clean + sigma * noise,
            sigma,
            step,
            self._shown(batch)["shown"],
            self.texts(batch["caption"], dropped),
            self.parameterisation.target(clean, sigma, noise),
        )

    def chances(self, seed: int) -> tuple[int, bool]:
        """The step of the schedule that an item is asked about, and whether its caption is left out."""
        at, left_out = keyed((seed, CHANCE)).random(2)
        return int(at * len(self.parameterisation.table)), bool(left_out < self.config.prompt_drop)

    def _predict(self, network: nn.Module, question: Question) -> Tensor:
        x = torch.cat([question.noisy * self.parameterisation.scale(question.sigma), question.shown], 1)
        return network(x, question.step.float(), question.text.tokens, question.text.pooled).float()


CHANCE = 2**31
"""Entry of a key, beside an item's seed, for what is drawn beside its noise."""


def min_snr_weight(sigma: Tensor, prediction: str, gamma: float) -> Tensor:
    """min(SNR, gamma) of the denoised image's error, in terms of what is predicted.   [Hang et al. 2023, §3.4]

    SNR = 1 / s^2; an error of n counts s^2 times in x_0, one of v s^2 / (s^2 + 1) times.

    Args:
        sigma: (B,).
        gamma: 0 for weights of one.
    """
    if not gamma:
        return torch.ones_like(sigma)
    counted = {"epsilon": sigma**2, "v_prediction": sigma**2 / (sigma**2 + 1), "sample": torch.ones_like(sigma)}
    return (sigma**-2).clamp(max=gamma) * counted[prediction]


def _check(config: TrainConfig) -> None:
    if len(config.spectra) != 1:
        raise UserError(
            f"spectra names {' and '.join(config.spectra)}, but a pretrained model is not told which its noise has: "
            "give one, squared-exponential as in the paper"
        )
    if config.task == "super-resolution" and len(config.scales) != 1:
        raise UserError(
            f"scales names {len(config.scales)} factors, but a pretrained model is fine-tuned to one: give --scales 8"
        )
    if config.warm_start:
        raise UserError("warm_start is for embedded networks: a pretrained model begins with --model, leave it out")


def _check_crop(config: TrainConfig, multiple: int) -> None:
    if config.crop % multiple:
        raise UserError(f"crop is {config.crop}, but {config.model} takes sides that are multiples of {multiple}")
