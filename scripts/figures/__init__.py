"""The pictures and short films of docs/: `python -m scripts.figures` makes them anew."""

from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.figures import flow, function, guidance, wavefront
from scripts.figures.commands import DRAWN

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"

FIGURES: Mapping[str, Callable[[Path], list[Path]]] = {
    "function": function.make,
    "flow": flow.make,
    "guidance": guidance.make,
    "wavefront": wavefront.make,
    **{Path(drawn.picture).stem: drawn.make for drawn in DRAWN},
}
"""What makes each figure into a folder, and returns the files."""

ELSEWHERE: Mapping[str, str] = {
    "motion.jpg": "cut from what `bench clips` writes for a clip that is not shipped",
    "peers.jpg": "`bench peers` needs the weights of Real-ESRGAN",
    "posterior.jpg": "`bench posterior` needs photographs that are not shipped",
    "removal.png": "`scripts/remove_object.py` needs a clip that is not shipped",
}
"""Pictures that are not made here, and why."""


def make(name: str, folder: Path) -> list[Path]:
    return FIGURES[name](folder)
