"""Pictures that commands of the package draw: run, and kept under the name and in the form that docs/ has them."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

QUALITY = 88
"""Of JPEG."""


class Drawn(NamedTuple):
    """What is run, `{out}` standing for a folder, and what of it becomes which picture."""

    command: Sequence[str]
    source: str
    picture: str

    def make(self, folder: Path) -> list[Path]:
        target = folder / self.picture
        with tempfile.TemporaryDirectory() as out:
            words = ["-m", "warped_diffusion.cli", *(word.format(out=out) for word in self.command)]
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
            with Image.open(Path(out) / self.source) as drawn:
                if target.suffix == ".jpg":
                    drawn.convert("RGB").save(target, quality=QUALITY, optimize=True)
                else:
                    drawn.save(target, optimize=True)
        return [target]


def noise(scheme: str) -> Drawn:
    """As docs/noise.md has it."""
    motion = ("--motion", "zoom-in", "--size", "96x64", "--sheet", "{out}/sheet.png")
    return Drawn(("noise", "{out}/noise.mp4", "--scheme", scheme, *motion), "sheet.png", f"noise-{scheme}.png")


# Benchmarks number their pictures by motion: these are the turns.
DRAWN = (
    *map(noise, ("gp", "integral", "nearest", "bilinear")),
    Drawn(("demo", "--scale", "4", "--out", "{out}"), "film-strip.png", "film-strip.jpg"),
    Drawn(("demo", "--task", "clean-up", "--out", "{out}"), "film-strip.png", "clean-up.jpg"),
    Drawn(("bench", "inpainting", "--out", "{out}"), "inpainting-3.png", "inpainting.png"),
    Drawn(("bench", "zero-shot", "--out", "{out}"), "zero-shot-2.png", "zero-shot.jpg"),
)
