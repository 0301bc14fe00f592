"""Latents and text embeddings that are computed once: kept by what was encoded and by what encoded it."""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from warped_diffusion.diffusion import Codec
from warped_diffusion.models.pretrained.checkpoint import quiet
from warped_diffusion.models.pretrained.denoiser import Text
from warped_diffusion.models.pretrained.loading import encode_text

Tensors = dict[str, Tensor]


class Cache:
    """Tensors by their key, a file each; processes may share the folder, and a killed one leaves no half file.

    Args:
        folder: "" keeps nothing.
        maker: gives the fingerprint of what makes them.
    """

    def __init__(self, folder: str, maker: Callable[[], bytes]) -> None:
        self.folder = Path(folder) if folder else None
        self.maker = maker() if folder else b""

    def get(self, key: Callable[[], bytes], make: Callable[[], Tensors]) -> Tensors:
        """What `make` made of the same key before, or makes now."""
        if self.folder is None:
            return make()
        name = blake2b(self.maker + key(), digest_size=16).hexdigest()
        path = self.folder / name[:2] / f"{name}.safetensors"
        if path.is_file():
            try:
                return load_file(path)
            except (OSError, SafetensorError):
                path.unlink(missing_ok=True)  # cut short, by a full disk say: made anew
        made = {name: value.contiguous() for name, value in make().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        save_file({name: value.cpu() for name, value in made.items()}, part)
        os.replace(part, path)
        return made


def fingerprint(modules: Iterable[nn.Module], about: object) -> bytes:
    """Tells modules apart by a few weights of every layer, their precision and what is said of them."""
    told = blake2b(repr(about).encode(), digest_size=16)
    for module in modules:
        for name, value in module.state_dict().items():
            told.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            told.update(value.flatten()[:64].double().cpu().numpy().tobytes())
    return told.digest()


class CachedCodec:
    """A codec that encodes one picture at a time, so that latents depend on no neighbour, and remembers them."""

    def __init__(self, codec: Codec, vae: Any, folder: str) -> None:
        self.codec, self.factor, self.channels = codec, codec.factor, codec.channels
        self._cache = Cache(folder, lambda: fingerprint([vae], codec_scaling(vae.config)))

    def encode(self, pictures: Tensor) -> Tensor:
        """As `Codec.encode`."""
        return torch.cat([self._encoded(picture) for picture in pictures.split(1)])

    def _encoded(self, picture: Tensor) -> Tensor:
        def key() -> bytes:
            return repr(tuple(picture.shape)).encode() + picture.cpu().numpy().tobytes()

        return self._cache.get(key, lambda: {"latents": self.codec.encode(picture)})["latents"].to(picture.device)

    def decode(self, latents: Tensor) -> Tensor:
        """As `Codec.decode`."""
        return torch.cat([self.codec.decode(one) for one in latents.split(1)])


def codec_scaling(config: Any) -> list[object]:
    """What the config of an autoencoder says of its latents beside the weights."""
    return [config.get(name) for name in ("scaling_factor", "shift_factor", "latents_mean", "latents_std")]


class CachedTexts:
    """Captions encoded one at a time by a pipeline's own encoders, and remembered; what stands for none as well."""

    def __init__(self, pipe: Any, device: torch.device, folder: str) -> None:
        self.pipe, self._device = pipe, device
        encoders = [part for name, part in pipe.components.items() if name.startswith("text_encoder")]
        self._cache = Cache(folder, lambda: fingerprint(filter(None, encoders), type(pipe).__name__))
        with quiet():
            _, none = encode_text(pipe, "", device, negative="")
        assert none is not None
        self._none = none

    def __call__(self, captions: Sequence[str], dropped: Sequence[bool]) -> Text:
        """Of B captions, those that are `dropped` as the negative prompt that is none: they teach guidance."""
        encoded = {text: self._encoded(text) for text in dict.fromkeys(captions)}
        each = [self._none if gone else encoded[text] for text, gone in zip(captions, dropped, strict=True)]
        return reduce(Text.followed_by, each)

    def _encoded(self, caption: str) -> Text:
        kept = self._cache.get(caption.encode, lambda: self._encode(caption))
        kept = {name: value.to(self._device) for name, value in kept.items()}
        return Text(kept["tokens"], kept.get("pooled"))

    def _encode(self, caption: str) -> Tensors:
        with quiet():  # long captions are cut, as at restoring
            text, _ = encode_text(self.pipe, caption, self._device)
        return {"tokens": text.tokens} | ({} if text.pooled is None else {"pooled": text.pooled})
