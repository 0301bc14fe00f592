"""What is installed here, what is missing and how to get it, and whether the embedded weights are whole."""

import importlib.util
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import av
import torch

from warped_diffusion.digests import digest
from warped_diffusion.models.model import WEIGHTS
from warped_diffusion.models.precision import best_dtype

PACKAGE = "warped-diffusion"

MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL"}
"""What is imported of a distribution, where that is not its name."""

FOR_WORK_ON_IT = ("dev",)
"""Extras that nobody needs who only uses the program."""

MANIFEST = "SHA256SUMS"

GIGA = 1e9


@dataclass(frozen=True)
class Finding:
    """One line of the report: "ok", "missing" for an optional part, or "broken", and then the cure."""

    subject: str
    state: str
    told: str

    def __str__(self) -> str:
        return f"{self.state:8}{self.subject:26}{self.told}"


def examine(weights: Path = WEIGHTS) -> Iterator[Finding]:
    """Everything that can be said of this installation, one by one; what is "broken" keeps `restore` from working."""
    yield Finding("Python", "ok", f"{platform.python_version()}, {platform.platform()}")
    yield from packages()
    yield codecs()
    yield from devices()
    yield from embedded_weights(weights)


def packages() -> Iterator[Finding]:
    """This package, what it requires, and its extras."""
    try:
        yield Finding(PACKAGE, "ok", f"{metadata.version(PACKAGE)}, {Path(__file__).parent}")
        required = [Requirement.parse(text) for text in metadata.requires(PACKAGE) or ()]
    except metadata.PackageNotFoundError:
        yield Finding(PACKAGE, "broken", f"runs from {Path(__file__).parent}, not installed: pip install {PACKAGE}")
        return
    for requirement in required:
        if requirement.extra is None:
            trouble = requirement.trouble()
            cure = f'{trouble}: pip install "{requirement.name}>={requirement.least}"'
            yield Finding(
                requirement.name, "broken" if trouble else "ok", cure if trouble else str(requirement.version)
            )
    for extra in dict.fromkeys(requirement.extra for requirement in required):
        if extra is not None and extra not in FOR_WORK_ON_IT:
            yield _extra(extra, [requirement for requirement in required if requirement.extra == extra])


def _extra(name: str, required: list["Requirement"]) -> Finding:
    lacking = [f"{part.name} {trouble}" for part in required if (trouble := part.trouble())]
    if lacking:
        return Finding(f"extra {name}", "missing", f'{", ".join(lacking)}: pip install "{PACKAGE}[{name}]"')
    return Finding(f"extra {name}", "ok", ", ".join(f"{part.name} {part.version}" for part in required))


@dataclass(frozen=True)
class Requirement:
    """A distribution that this package names, from which version on, and the extra that it is of, if it is of one."""

    name: str
    least: str
    extra: str | None

    @classmethod
    def parse(cls, text: str) -> "Requirement":
        """From the metadata's own terms, such as `torchvision>=0.19; extra == "raft"`."""
        name = re.split(r"[^\w.-]", text, maxsplit=1)[0]
        least, extra = re.search(r">=\s*([\d.]+)", text), re.search(r"extra == ['\"]([\w-]+)['\"]", text)
        return cls(name, least[1] if least else "0", extra[1] if extra else None)

    @property
    def module(self) -> str:
        return MODULES.get(self.name, self.name.replace("-", "_"))

    @property
    def version(self) -> str | None:
        """None if it is not installed under that name; OpenCV, say, has several."""
        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return getattr(importlib.import_module(self.module), "__version__", None) if _there(self.module) else None

    def trouble(self) -> str:
        """Why it cannot be used; empty if it can."""
        version = self.version
        if version is None:
            return "is not installed"
        if _numbers(version) < _numbers(self.least):
            return f"is {version}, {self.least} is needed"
        try:
            importlib.import_module(self.module)
        except Exception as error:  # of a library made for another torch, anything may come
            reason = (str(error).splitlines() or [""])[0]
            return f"{version} cannot be imported ({type(error).__name__}: {reason})"
        return ""


def _there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def codecs() -> Finding:
    """FFmpeg as PyAV brings it."""
    libraries = ", ".join(f"{name} {'.'.join(map(str, version))}" for name, version in av.library_versions.items())
    if "libx264" not in av.codecs_available:
        return Finding("FFmpeg", "broken", f"{libraries}, without the encoder libx264: pip install av, its own wheel")
    return Finding("FFmpeg", "ok", libraries)


def devices() -> Iterator[Finding]:
    """What models can run on, and in which number formats; the first is what is taken unless another is named."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        free, whole = torch.cuda.mem_get_info(index)
        name = f"{torch.cuda.get_device_name(index)}, {free / GIGA:.1f} of {whole / GIGA:.1f} GB free"
        yield Finding(f"device cuda:{index}", "ok", f"{name}; {_formats(torch.device('cuda', index))}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    size = f", {memory / GIGA:.1f} GB" if memory else ""
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores in use{size}"
    yield Finding("device cpu", "ok", f"{threads}; {_formats(torch.device('cpu'))}")
    if not count:
        build = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        yield Finding("GPU", "missing", f"{build}; with one, see https://pytorch.org for the build to install")


def _formats(device: torch.device) -> str:
    """Number formats that work on a device, by trying them, and the one that embedded models take there."""
    works = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        try:
            torch.ones(2, 2, dtype=dtype, device=device) @ torch.ones(2, 2, dtype=dtype, device=device)
        except RuntimeError:
            continue
        works.append(str(dtype).removeprefix("torch."))
    return f"{', '.join(works)}; embedded models in {str(best_dtype(device)).removeprefix('torch.')}"


def embedded_weights(folder: Path = WEIGHTS) -> Iterator[Finding]:
    """Whether the files are there that the manifest lists, and as it lists them."""
    cure = f"pip install --force-reinstall --no-deps {PACKAGE}"
    try:
        lines = [line.split() for line in (folder / MANIFEST).read_text().splitlines()]
    except OSError:
        yield Finding("embedded weights", "broken", f"there is no list of them in {folder}: {cure}")
        return
    for expected, name in lines:
        path = folder / name
        if not path.is_file():
            yield Finding(f"weights {path.stem}", "broken", f"{path} is not there: {cure}")
            continue
        whole = digest(path) == f"sha256 {expected}"
        told = f"{path.stat().st_size / 1e6:.1f} MB, whole" if whole else f"{path} is damaged: {cure}"
        yield Finding(f"weights {path.stem}", "ok" if whole else "broken", told)


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing that is needed is broken."""
    return all(finding.state != "broken" for finding in findings)
