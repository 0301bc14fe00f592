"""What tells one model from another: a digest of its weights."""

from pathlib import Path

from warped_diffusion.digests import digest
from warped_diffusion.models.model import BY_PRIOR, MODELS, WEIGHTS, is_checkpoint


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
    return _revision(str(model)) if is_checkpoint(model) else None


def _revision(name: str) -> str | None:
    """The hub's name of what was downloaded last."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(name, "model_index.json")
    return f"revision {Path(found).parent.name}" if isinstance(found, str) else None
