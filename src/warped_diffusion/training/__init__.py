"""Training of the embedded networks, and fine-tuning of pretrained ones."""

from warped_diffusion.training.config import TrainConfig, read_config, read_overrides
from warped_diffusion.training.dry_run import dry_run
from warped_diffusion.training.loop import train

__all__ = ["TrainConfig", "dry_run", "read_config", "read_overrides", "train"]
