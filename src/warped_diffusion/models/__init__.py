"""Image models behind the denoiser contract."""

from warped_diffusion.models.model import MODELS, Model, load_model

__all__ = ["MODELS", "Model", "load_model"]
