"""Noise that goes along with a clip: white in every frame, and the same from frame to frame where the picture is.

python examples/field_along_a_clip.py clip.mp4 --out noise.mp4
"""

import argparse
from pathlib import Path

import torch

import warped_diffusion as wd
from warped_diffusion.flow import compose, identity_map
from warped_diffusion.metrics import coherence, whitened_flatness
from warped_diffusion.noise import make_scheme
from warped_diffusion.video import VideoReader, VideoWriter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, help="the first so many; all if left out")
    options = parser.parse_args()

    with VideoReader(options.clip, stop=options.frames) as reader:
        frames = torch.stack(list(reader))  # (N, 3, H, W) in [0, 1]
    motion = wd.estimate_motion(frames)
    scheme = make_scheme("gp", channels=3, size=motion.size, seed=0)

    positions = identity_map(*motion.size)  # P_0; P_j = P_{j-1} o T_j^-1 says where frame j's pixels were in frame 0
    noise = [scheme.frame(0, positions)]
    for backward, known in zip(motion.backward, motion.known, strict=True):
        positions = compose(positions, backward)
        noise.append(scheme.frame(len(noise), positions, backward, known))
        flat, same = whitened_flatness(noise[-1]), coherence(noise[-2], noise[-1], backward, known)
        print(f"frame {len(noise) - 1}: flatness {flat:.3f} (white is 1), coherence with the last {same:.2f}")

    with VideoWriter(options.out, reader, motion.size, overwrite=True) as writer:
        for image in noise:
            writer.write((0.5 + image / 6).clamp(0, 1))  # mid-grey is 0, white three standard deviations
    print(options.out)


if __name__ == "__main__":
    main()
