"""The ways in which a clip is restored: what the rows of a table are."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warped_diffusion.diffusion import GUIDANCE
from warped_diffusion.errors import UserError
from warped_diffusion.noise import SCHEMES, get_spectrum

UNWARPED = ("fixed", "resample")
"""Schemes whose noise does not follow the picture."""
NOT_SAMPLED = "-"
"""Noise and guidance of what no diffusion model samples."""
ORIGINAL = "original"
"""The peer that gives the true clip back: what a perfect restoration would be measured at."""


@dataclass(frozen=True)
class Way:
    """A way to restore a clip.

    Attributes:
        model: a name in `models.MODELS`, the path or hub name of another, or of a peer its name.
        noise: a name in `noise.SCHEMES`; "-" for a peer.
        spectrum: a name in `noise.SPECTRA`; None for the model's own, and for a peer.
        guidance: a name in `diffusion.GUIDANCE`; "-" for a peer.
        steps: denoiser evaluations a frame; None for the evaluation's own.
    """

    model: str
    noise: str = NOT_SAMPLED
    spectrum: str | None = None
    guidance: str = NOT_SAMPLED
    steps: int | None = None

    @property
    def is_peer(self) -> bool:
        return self.noise == NOT_SAMPLED

    @property
    def slug(self) -> str:
        """A name for folders and reports, such as "embedded-gp-white-denoised", "bicubic"."""
        steps = None if self.steps is None else f"{self.steps}-steps"
        parts = (_plain(self.model), self.noise, self.spectrum, self.guidance, steps)
        return "-".join(part for part in parts if part not in (None, NOT_SAMPLED))


def _plain(model: str) -> str:
    """A model's name without a folder before or an ending after it."""
    name = Path(model).stem if model.endswith(".safetensors") else model.strip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)


def grid(
    models: Sequence[str] = ("embedded",),
    schemes: Sequence[str] = tuple(SCHEMES),
    spectra: Sequence[str | None] = (None,),
    guidance: Sequence[str] = ("none", "network", "denoised"),
    steps: Sequence[int | None] = (None,),
) -> tuple[Way, ...]:
    """Every combination, in that order; `spectra` may hold None for a model's own.

    Raises: UserError for a name that is not known, or for two ways that would have one name.
    """
    for kind, known, given in (("noise", SCHEMES, schemes), ("guidance", GUIDANCE, guidance)):
        for name in given:
            if name not in known:
                raise UserError(f"{kind} {name!r} is not known: choose of {', '.join(known)}, with commas between")
    for spectrum in spectra:
        if spectrum is not None:
            get_spectrum(spectrum)
    combined = itertools.product(models, schemes, spectra, guidance, steps)
    return distinct([Way(*parts) for parts in combined])


def without_warping(
    steps: Sequence[int],
    models: Sequence[str] = ("embedded",),
    spectra: Sequence[str | None] = (None,),
    guidance: Sequence[str] = ("network", "denoised"),
) -> tuple[Way, ...]:
    """The paper's question whether noise need be warped at all where sampling is guided.   [paper, "No Warping?"]

    Noise that follows the picture and noise that does not, each guided, at each number of steps.
    Raises: as `grid`; UserError for no guidance or a number below 1.
    """
    guided = [name for name in guidance if name != "none"]
    if not guided:
        raise UserError("--no-warping compares guided sampling: give --guidance network or denoised")
    if min(steps, default=0) < 1:
        raise UserError(f"steps are whole numbers from 1 up, got {', '.join(map(str, steps)) or 'none'}")
    return grid(models, ("gp", *UNWARPED), spectra, guided, tuple(steps))


def distinct(ways: Sequence[Way]) -> tuple[Way, ...]:
    """The ways, each once.   Raises: UserError if two have one name, such as two models of one file name."""
    found = dict[str, Way]()
    for way in ways:
        if found.setdefault(way.slug, way) != way:
            raise UserError(f"two ways are called {way.slug}: rename the file or folder of one of their models")
    return tuple(found.values())
