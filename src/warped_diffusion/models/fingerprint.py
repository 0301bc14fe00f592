"""What tells one model from another: a digest of its weights."""

from pathlib import Path

from warped_diffusion.digests import digest
from warped_diffusion.models.model import BY_PRIOR, MODELS, WEIGHTS, is_checkpoint
from warped_diffusion.models.pretrained.hub import revision


def fingerprint(model: object, task: str) -> str | None:
    """A text: "sha256 ..." of the weights that restore a task, or "revision ..." of a model on the hub.

    None if there is neither, as of a denoiser that is given as an object.

    It reads all the weights; see `digest`.
    """
    if not isinstance(model, str | Path):
        return None
    if model in MODELS:
        prior = task in BY_PRIOR or model == "embedded-prior"
        weights = WEIGHTS / f"{'super-resolution' if prior else task}.safetensors"
        return digest(weights) if weights.is_file() else None
    path = Path(model)
    if path.exists():
        return digest(path)
    known = revision(str(model)) if is_checkpoint(model) else None
    return f"revision {known}" if known else None
