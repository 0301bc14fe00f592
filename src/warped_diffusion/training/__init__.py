"""Training of the embedded networks."""

from warped_diffusion.training.config import TrainConfig, read_config
from warped_diffusion.training.loop import train

__all__ = ["TrainConfig", "read_config", "train"]
