"""What an evaluation found, put together: means with their standard errors, curves, what is missing and what failed."""

import math
import statistics
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.measures import MEASURES, SetMeasure
from warped_diffusion.evaluate.store import (
    REPORT,
    SETTINGS,
    TABLES,
    clips,
    read_json,
    result_folder,
    results,
    write_json,
    write_text,
)
from warped_diffusion.evaluate.text import report_text
from warped_diffusion.evaluate.ways import ORIGINAL

SECONDS = "seconds-per-frame"
"""Of a restoration, beside what was measured of it."""
PUBLISHED = Path(__file__).parent / "published.toml"

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One figure of one way.

    Attributes:
        spectrum: of the noise that was sampled with; None for peers.
        value: the mean of the clips' values, each the mean over its seeds, of means over frames; or of the seeds'
            values, each over all clips, for measures of a set.
        error: standard error of the mean of all clips' values for all seeds; None of a single one.
        count: how many values that is.
    """

    slug: str
    way: Mapping[str, Any]
    spectrum: str | None
    measure: str
    value: float
    error: float | None
    count: int


def write_report(out: Path, machine: str = "") -> tuple[Path, Path]:
    """Write report.json and report.md of all that a folder holds.

    Args:
        machine: what it ran on, for the times.
    Raises: UserError if nothing was evaluated there.
    """
    content = gather(out) | {"machine": machine}
    write_json(out / REPORT, content)
    write_text(out / TABLES, report_text(content))
    return out / REPORT, out / TABLES


def gather(out: Path) -> dict[str, Any]:
    """Everything of a report: settings, clips, measures, rows, curves, missing, failed, published.

    Raises: UserError if nothing was evaluated there.
    """
    settings = read_json(out / SETTINGS)
    if settings is None:
        raise UserError(f"{out} holds no evaluation: run `warped-diffusion evaluate CLIPS --out {out}` first")
    found, about = list(results(out)), list(clips(out))
    good = [result for result in found if "error" not in result]
    order = {name: number for number, name in enumerate([*MEASURES, SECONDS])}
    rows = [row for row in (*frame_rows(good), *set_rows(good, out)) if row.measure in order]
    measured = {row.measure for row in rows}
    missing = {name: why for result in good for name, why in result["missing"].items() if name not in measured}
    return {
        "settings": settings,
        "clips": [clip for clip in about if "error" not in clip],
        "measures": [_about(name) for name in order if name in measured],
        "rows": [asdict(row) for row in sorted(rows, key=lambda row: (row.slug, order[row.measure]))],
        "curves": curves(good),
        "missing": missing,
        "failed": [clip for clip in about if "error" in clip] + [result for result in found if "error" in result],
        "published": tomllib.loads(PUBLISHED.read_text(encoding="utf-8")),
    }


def frame_rows(found: Iterable[Result]) -> list[Row]:
    """The figures of measures that each frame has, and of the time that it took."""
    values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    ways: dict[str, Result] = {}
    for result in found:
        ways[result["slug"]] = result
        figures = {name: mean(frames) for name, frames in result["measures"].items()}
        if result["slug"] != ORIGINAL:
            figures[SECONDS] = result["seconds_per_frame"]
        for name, value in figures.items():
            if value is not None:
                values[result["slug"], name][result["clip"]].append(value)
    rows = []
    for (slug, name), of_clips in values.items():
        of_all = [value for of_seeds in of_clips.values() for value in of_seeds]
        rows.append(_row(ways[slug], name, statistics.fmean(map(statistics.fmean, of_clips.values())), of_all))
    return rows


def set_rows(found: Iterable[Result], out: Path) -> list[Row]:
    """The figures of measures that all clips have together: one for each seed."""
    groups: dict[tuple[str, str], dict[int, list[dict[str, np.ndarray]]]] = defaultdict(lambda: defaultdict(list))
    ways: dict[str, Result] = {}
    for result in found:
        for name in MEASURES.keys() & result["features"]:
            ways[result["slug"]] = result
            features = _features(out, result, name)
            groups[result["slug"], name][result["seed"]].append(features)
    rows = []
    for (slug, name), of_seeds in groups.items():
        measure = MEASURES[name]
        assert isinstance(measure, SetMeasure)
        combined = [measure.combine(features) for features in of_seeds.values()]
        finite = [value for value in combined if math.isfinite(value)]
        if finite:
            rows.append(_row(ways[slug], name, statistics.fmean(finite), finite))
    return rows


def curves(found: Iterable[Result]) -> dict[str, dict[str, list[float | None]]]:
    """{measure: {slug: [mean of frame 0, 1, ... over clips and seeds]}}; None for a frame that has no value."""
    frames: dict[tuple[str, str], list[Sequence[float | None]]] = defaultdict(list)
    for result in found:
        for name, values in result["measures"].items():
            frames[name, result["slug"]].append(values)
    drawn: dict[str, dict[str, list[float | None]]] = defaultdict(dict)
    for (name, slug), clips_of in frames.items():
        longest = max(map(len, clips_of))
        drawn[name][slug] = [mean([values[j] for values in clips_of if j < len(values)]) for j in range(longest)]
    return dict(drawn)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are there; None if none is."""
    there = [value for value in values if value is not None]
    return statistics.fmean(there) if there else None


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean of independent values: s / √n, s² with n - 1 below; None of fewer than two."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def _row(result: Result, measure: str, value: float, values: Sequence[float]) -> Row:
    return Row(
        result["slug"], result["way"], result.get("spectrum"), measure, value, standard_error(values), len(values)
    )


def _features(out: Path, result: Result, measure: str) -> dict[str, np.ndarray]:
    path = result_folder(out, result["clip"], result["slug"], result["seed"]) / "features.npz"
    with np.load(path) as arrays:
        keys = (key for key in arrays.files if key.partition("/")[0] == measure)
        return {key.partition("/")[2]: arrays[key] for key in keys}


def _about(name: str) -> dict[str, str]:
    if name == SECONDS:
        return {"name": name, "unit": "s", "better": "lower", "scope": "clip"}
    measure = MEASURES[name]
    return {"name": name, "unit": measure.unit, "better": measure.better, "scope": measure.scope}
