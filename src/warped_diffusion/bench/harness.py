"""What every measured table is made with: timing, the machine it ran on, and a report as JSON and Markdown."""

import dataclasses
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from warped_diffusion.bench.real_clips import RealClip
from warped_diffusion.errors import UserError
from warped_diffusion.options import choose_device

Cell = str | int | float | bool | None

PACKAGES = ("warped-diffusion", "torch", "numpy", "scipy", "finufft", "opencv-python-headless", "av", "ncnn")


@dataclass(frozen=True)
class Options:
    """What any benchmark may be asked for; each takes what it has a use for."""

    out: Path | None = None  # folder for the report, and for films and stills where a benchmark makes some
    pictures: Path | None = None  # folder of packed pictures, where a benchmark needs photographs
    model: str = "embedded"  # a name in `models.MODELS`, or the path of a weights file
    spectrum: str | None = None  # of the noise, a name in `noise.SPECTRA`; None for the model's own, or all
    scale: int = 8  # how many times larger than its input a picture is restored, where one factor is measured
    batch: int = 100  # warps in one call, where such calls are timed
    device: str = "cpu"
    seed: int = 0
    warmup: int = 1
    repeats: int = 5
    clip: tuple[RealClip, ...] = ()  # real clips, where a benchmark measures some; none for the one that ships
    frames: int | None = None  # the most that are taken of each clip; None for the benchmark's own number


@dataclass(frozen=True)
class Timing:
    """Seconds per call over `repeats` calls, those for warming up left out."""

    median: float
    minimum: float
    maximum: float
    repeats: int

    def __str__(self) -> str:
        return f"{self.median:.4g} s ({self.minimum:.4g} to {self.maximum:.4g}, {self.repeats} repeats)"


def measure(
    function: Callable[[], object], warmup: int = 1, repeats: int = 5, device: str | torch.device = "cpu"
) -> Timing:
    """Time a call: the median is the figure to quote, minimum and maximum show how quiet the machine was.

    On a CUDA device every call is waited for, so that the work is timed and not its launch.

    Raises: UserError if repeats is below 1 or warmup below 0.
    """
    if repeats < 1 or warmup < 0:
        raise UserError(f"repeats is {repeats}, warmup is {warmup}: give at least 1 and at least 0")
    device = torch.device(device)
    seconds = []
    for _ in range(warmup + repeats):
        wait_for(device)
        start = time.perf_counter()
        function()
        wait_for(device)
        seconds.append(time.perf_counter() - start)
    kept = seconds[warmup:]
    return Timing(statistics.median(kept), min(kept), max(kept), repeats)


def wait_for(device: torch.device) -> None:
    """Until what was launched on a CUDA device is done; other devices do not run ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Machine:
    """Where figures were taken. `load` is the one-minute load average at the start: near 0, or timings mean little."""

    cpu: str
    cores: int
    threads: int
    memory_gib: float
    load: float
    device: str
    system: str
    versions: Mapping[str, str]

    def __str__(self) -> str:
        device = "" if self.device == "cpu" else f", {self.device}"
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"{self.cpu}, {self.cores} cores, {self.threads} threads, {self.memory_gib:.0f} GiB, load {self.load:.2f}"
            f"{device}; {self.system}; {versions}"
        )


def machine(device: str | torch.device = "cpu") -> Machine:
    """Describe this machine as it is now: the cores this process may use, torch's threads, what is installed."""
    device = torch.device(device)
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # run from a source tree that is not installed, or before an optional one is
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_gib=round(_memory_bytes() / 2**30, 1),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else math.nan,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        system=f"{platform.system()} {platform.machine()}",
        versions=versions,
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _memory_bytes() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        return math.nan


@dataclass(frozen=True)
class Table:
    """Rows under columns.

    Raises: ValueError if a row has not one cell per column.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"row {list(row)} has {len(row)} cells, the table has {len(self.columns)} columns")

    def objects(self) -> list[dict[str, Cell]]:
        """One for each row, for JSON, which has no infinity and no nan: these are "inf" and "nan"."""
        return [dict(zip(self.columns, map(_json_cell, row), strict=True)) for row in self.rows]

    def lines(self) -> list[str]:
        """Aligned Markdown; numbers to four significant digits, to the right."""
        cells = [[_markdown_cell(cell) for cell in row] for row in (self.columns, *self.rows)]
        widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(self.columns))]
        right = [bool(self.rows) and all(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns))]
        rule = ["-" * (width - 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True)]
        return [
            "| " + " | ".join(_pad(*cell) for cell in zip(row, widths, right, strict=True)) + " |"
            for row in (cells[0], rule, *cells[1:])
        ]


@dataclass(frozen=True)
class Report:
    """A table with what is needed to trust it: notes, the machine, the command that makes it again.

    Attributes:
        more: further tables of the same run, by their headings.
    Raises: ValueError if a row has not one cell per column.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    command: str = ""
    machine: Machine = field(default_factory=machine)
    more: Mapping[str, Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _ = self.table  # tells at once of a row that does not fit

    @property
    def table(self) -> Table:
        """The report's own table, without those of `more`."""
        return Table(self.columns, self.rows)

    def json(self) -> str:
        """Rows as objects; numbers in full."""
        content = {
            "name": self.name,
            "command": self.command,
            "columns": list(self.columns),
            "rows": self.table.objects(),
            "notes": list(self.notes),
            "machine": {key: _json_cell(value) for key, value in asdict(self.machine).items()},
        }
        if self.more:
            content["more"] = {heading: table.objects() for heading, table in self.more.items()}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def markdown(self) -> str:
        """The tables between heading and notes."""
        command = [f"`{self.command}`", ""] if self.command else []
        more = [line for heading, table in self.more.items() for line in (f"### {heading}", "", *table.lines(), "")]
        notes = [f"- {note}" for note in (*self.notes, str(self.machine))]
        return "\n".join([f"## {self.name}", "", *command, *self.table.lines(), "", *more, *notes]) + "\n"

    __str__ = markdown

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write NAME.json and NAME.md, making the folder if need be.

        Raises: UserError if the folder cannot be made or written to.
        """
        paths = folder / f"{self.name}.json", folder / f"{self.name}.md"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, text in zip(paths, (self.json(), self.markdown()), strict=True):
                path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write the report into {folder}: {error.strerror}; name another folder") from error
        return paths


def _is_number(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _json_cell(cell: Cell) -> Cell:
    return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def _markdown_cell(cell: Cell) -> str:
    if cell is None:
        return "–"
    text = f"{cell:.4g}" if isinstance(cell, float) else str(cell)
    return text.replace("|", "\\|")


Benchmark = Callable[[Options], Report]

BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(name: str) -> Callable[[Benchmark], Benchmark]:
    """Register a function(options) -> Report as `warped-diffusion bench NAME`."""

    def register(function: Benchmark) -> Benchmark:
        if name in BENCHMARKS:
            raise ValueError(f"two benchmarks are called {name!r}")
        BENCHMARKS[name] = function
        return function

    return register


def run_benchmark(name: str, out: Path | None = None, **options: Any) -> Report:
    """Run a registered benchmark, note machine and command, and write the report if `out` says where.

    Args:
        options: fields of `Options`.
    Raises: UserError if there is no such benchmark or device, or the report cannot be written.
    """
    if name not in BENCHMARKS:
        raise UserError(f"there is no benchmark {name!r}: choose from {', '.join(sorted(BENCHMARKS))}")
    asked = Options(out=out, **options)
    choose_device(asked.device)  # says plainly that there is no such device
    before = machine(asked.device)  # its load must not be the benchmark's own
    report = dataclasses.replace(BENCHMARKS[name](asked), command=_command(name, asked), machine=before)
    if out is not None:
        report.write(out)
    return report


def _command(name: str, options: Options) -> str:
    """The command that repeats a run: what differs from the defaults, a reader's own folders by their kind."""
    words = ["warped-diffusion", "bench", name]
    for option in dataclasses.fields(options):
        value = getattr(options, option.name)
        if option.name != "out" and value != option.default:
            for one in value if isinstance(value, tuple) else (value,):
                words += [f"--{option.name}", "FOLDER" if isinstance(one, Path) else str(one)]
    return " ".join(words)
