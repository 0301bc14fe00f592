"""What the cut detector finds in real clips, and in pairs of them joined.   [warped_diffusion/estimators/cuts.py]

    python scripts/check_cuts.py bigbuckbunny.mp4 bikes.mp4 carphone_pristine.mp4 --expect bikes.mp4=30,76,137,187,242

Every clip is read whole and as the area average by each factor, rounded to 8 bits, which is what a restoration sees.
Every ordered pair is joined, a piece of the one and then a piece of the other, resized to the first one's frames.
Exit code 1 if anything differs from what was expected: no cut but those named, in a pair the one where it is joined.
"""

import argparse
import sys
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.estimators import CutDetector
from warped_diffusion.tasks import area_average
from warped_diffusion.video import VideoReader

PIECE = 24
"""Frames of each clip in a pair, from the middle of its longest shot."""


def find_cuts(frames: Iterable[Tensor]) -> list[int]:
    detector = CutDetector()
    return [index for index, frame in enumerate(frames) if detector.advance(frame)]


def reduced(frame: Tensor, factor: int) -> Tensor:
    """The area average by that factor, of what of the frame divides by it, in 8 bits."""
    height, width = (side // factor * factor for side in frame.shape[-2:])
    return (area_average(frame[:, :height, :width], factor) * 255).round() / 255


def piece(path: Path, factor: int, cuts: list[int], count: int) -> list[Tensor]:
    """`PIECE` frames, or as many as there are, from the middle of the longest shot."""
    shots = zip([0, *cuts], [*cuts, count], strict=True)
    first, last = max(shots, key=lambda shot: shot[1] - shot[0])
    start = max(first, (first + last - PIECE) // 2)
    with VideoReader(path, start, min(start + PIECE, last)) as reader:
        return [reduced(frame, factor) for frame in reader]


def check(paths: list[Path], expected: dict[str, list[int]], factors: list[int]) -> int:
    """Print what is found in each clip and each pair, and return how many differ from what is expected."""
    wrong = 0
    for factor in factors:
        pieces = {}
        for path in paths:
            want = expected.get(path.name, [])
            with VideoReader(path) as reader:
                found = find_cuts(reduced(frame, factor) for frame in reader)
                count = reader.decoded
            pieces[path] = piece(path, factor, want, count)
            wrong += told(f"1/{factor} {path.name}, {count} frames", found, want)
        for first, second in permutations(paths, 2):
            size = pieces[first][0].shape[-2:]
            other = F.interpolate(torch.stack(pieces[second]), size=size, mode="bilinear", antialias=True)
            name = f"1/{factor} {first.name} + {second.name}, {size[1]}x{size[0]}"
            wrong += told(name, find_cuts([*pieces[first], *other]), [len(pieces[first])])
    return wrong


def told(name: str, found: list[int], want: list[int]) -> bool:
    """Print a line; whether something else was found than is wanted."""
    words = ", ".join(map(str, found)) or "none"
    print(f"{name}: {words}" + ("" if found == want else f"   WRONG, expected {want}"), flush=True)
    return found != want


def expectation(text: str) -> tuple[str, list[int]]:
    name, _, cuts = text.partition("=")
    return name, [int(cut) for cut in cuts.split(",")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--expect", nargs="*", type=expectation, default=[], help="NAME=FRAME,FRAME,...")
    parser.add_argument("--factors", nargs="*", type=int, default=[1, 4, 8])
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.exit(min(1, check(options.clips, dict(options.expect), options.factors)))
