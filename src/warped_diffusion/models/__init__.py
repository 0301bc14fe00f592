"""Image models behind the denoiser contract."""

from warped_diffusion.models.fingerprint import fingerprint
from warped_diffusion.models.model import MODELS, Model, is_checkpoint, load_model, trained_for
from warped_diffusion.models.pretrained.options import PretrainedOptions
from warped_diffusion.models.replicas import replicas

__all__ = [
    "MODELS",
    "Model",
    "PretrainedOptions",
    "fingerprint",
    "is_checkpoint",
    "load_model",
    "replicas",
    "trained_for",
]
