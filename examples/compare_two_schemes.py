"""Restore the sample with unrelated noise and with noise that follows the picture, and measure both.

python examples/compare_two_schemes.py --out out/schemes
"""

import argparse
from pathlib import Path

from warped_diffusion.evaluate import clips, run, tables
from warped_diffusion.evaluate.settings import Settings
from warped_diffusion.evaluate.ways import grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="what is finished there is not made again")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=128, help="side of the square that is cut from each frame, pixels")
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()

    settings = Settings(scale=4, frames=options.frames, size=options.size, steps=options.steps)
    ways = grid(schemes=("resample", "gp"), guidance=("none",))
    sources = clips.all_clips(["sample"], options.frames, options.size)
    run.evaluate(sources, settings, ways, options.out)

    tables.write_report(options.out)
    text = (options.out / "report.md").read_text()
    print(text.partition("## Table")[0])  # the paper's figures follow there


if __name__ == "__main__":
    main()
