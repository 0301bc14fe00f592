"""Which commit of a model on the hub is meant: the newest one, found out once and kept to."""

from functools import lru_cache
from pathlib import Path


def revision(name: str) -> str | None:
    """The commit that "owner/name" stands for as long as this process lives; None if there is no such model here.

    It is the newest by the hub's account, or, where that cannot be asked, of the hub's cache.
    """
    try:
        from huggingface_hub import constants
    except ImportError:
        return None
    try:
        return _newest(name, constants.HF_HUB_CACHE)
    except (OSError, ValueError):  # whoever loads the model tells what is wrong
        return None


@lru_cache
def _newest(name: str, cache: str) -> str:
    from huggingface_hub import hf_hub_download

    # CACHE/models--owner--name/snapshots/COMMIT/model_index.json
    return Path(hf_hub_download(name, "model_index.json", cache_dir=cache)).parent.name
