"""What tells one model from another: a digest of its weights."""

import hashlib
from pathlib import Path

from warped_diffusion.models.model import BY_PRIOR, MODELS, WEIGHTS, is_checkpoint

BLOCK = 2**20


def fingerprint(model: object, task: str) -> str | None:
    """A text: "sha256 ..." of the weights that restore a task, or "revision ..." of a model on the hub.

    None if there is neither, as of a denoiser that is given as an object.

    A folder's is the digest of the names and digests of all its files, in the order of their names. It reads all the
    weights.
    """
    if not isinstance(model, str | Path):
        return None
    if model in MODELS:
        prior = task in BY_PRIOR or model == "embedded-prior"
        return _file(WEIGHTS / f"{'super-resolution' if prior else task}.safetensors")
    path = Path(model)
    if path.is_file():
        return _file(path)
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(place for place in path.rglob("*") if place.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()} {_digest(file)}\n".encode())
        return f"sha256 {digest.hexdigest()}"
    return _revision(str(model)) if is_checkpoint(model) else None


def _file(path: Path) -> str | None:
    return f"sha256 {_digest(path)}" if path.is_file() else None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _revision(name: str) -> str | None:
    """The hub's name of what was downloaded last."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(name, "model_index.json")
    return f"revision {Path(found).parent.name}" if isinstance(found, str) else None
