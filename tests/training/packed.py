"""Tiny packed pictures and a tiny run to train on them."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from warped_diffusion.training import TrainConfig

SIZES = ((96, 128), (80, 112), (120, 90))


def pack(folder: Path, sizes: tuple[tuple[int, int], ...] = SIZES) -> Path:
    """Pictures of random blots for training and one held out, as `scripts/pack_pictures.py` packs."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    entries, offset = [], 0
    with open(folder / "pictures.bin", "wb") as file:
        for number, (height, width) in enumerate((*sizes, sizes[0])):
            picture = texture(height, width, generator)
            file.write(picture.tobytes())
            split = "train" if number < len(sizes) else "held-out"
            size = [height, width]
            entries.append({"name": f"{number}", "source": "made", "offset": offset, "size": size, "split": split})
            offset += picture.size
    (folder / "pictures.json").write_text(json.dumps(entries))
    return folder


def texture(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """(height, width, 3) uint8: blots of two tones with sharp edges, something for a network to learn."""
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) + 1 / width
    noise = np.fft.rfft2(generator.standard_normal((height, width)))
    field = np.fft.irfft2(noise * f**-2, s=(height, width))
    tones = generator.uniform(40, 215, (2, 3))
    return np.where((field > 0)[..., None], *tones).astype(np.uint8)


def tiny_config(folder: Path, **changes: object) -> TrainConfig:
    """Six steps of a tiny network, in full precision and on one thread, so that they can be repeated bit for bit."""
    settings: dict[str, object] = {
        "pictures": str(folder / "pictures"),
        "out": str(folder / "run"),
        "steps": 6,
        "batch": 4,
        "crop": 24,
        "checkpoint_every": 3,
        "warmup": 2,
        "threads": 1,
        "workers": 0,
        "precision": "no",
        "network": {"channels": (8, 8), "depths": (1, 1), "depths_up": (1, 0)},
    }
    return TrainConfig(**settings | changes)  # type: ignore[arg-type]


def as_toml(config: TrainConfig) -> str:
    """The configuration as a file would hold it."""
    values = asdict(config)
    network = values.pop("network")
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    return (
        "\n".join([*lines, "[network]", *(f"{name} = {json.dumps(sizes)}" for name, sizes in network.items())]) + "\n"
    )


def losses(folder: Path) -> list[tuple[int, float]]:
    """(step, loss) of every line of a run's log."""
    rows = [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]
