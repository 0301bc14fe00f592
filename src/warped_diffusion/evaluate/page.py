"""The evaluation as one HTML page that needs nothing beside it: films in step, curves, tables, one clip at a time."""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.films import LEVELS, Film, Level, make_film
from warped_diffusion.evaluate.measures import MEASURES
from warped_diffusion.evaluate.store import REPORT, SETTINGS, read_json, write_text

PAGE = "index.html"
WEB = Path(__file__).parent / "web"

SCRIPTS = ("common.js", "player.js", "slider.js", "curves.js", "tables.js", "clips.js", "start.js")
"""In the order in which they are joined: each uses names of those before it."""

BUDGET = 8_000_000
"""Bytes that the films of a page may take, as text; a page beyond it opens slowly on a phone."""

TRIED = 8
"""Clips that are encoded at several levels, to see which level fits."""

Record = dict[str, Any]


def write_page(out: Path, budget: int = BUDGET) -> Path:
    """Writes OUT/index.html from what an evaluation left in `out`, and returns its path.

    Of each clip and way the films of the first seed are inside the page. They are made smaller until all fit into
    `budget`; where even that is not enough the last clips go without, and the page says so.

    Args:
        out: an evaluation's folder with its report.json, the clips' frames and the results.
        budget: bytes that the films may take.

    Raises: UserError where `out` has no report.json, or one that is not JSON.
    """
    data = gather(out, budget)
    style = _text(WEB / "page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(_text(WEB / name) for name in SCRIPTS) + "\n})();\n"
    # Nothing but this style and this script may run, and nothing may be fetched, whatever clips are called.
    policy = f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}"
    parts = {"policy": policy, "title": html.escape(data["title"]), "style": style, "script": script}
    parts["data"] = inline_json(data)
    page = re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], _text(WEB / "page.html"))
    path = out / PAGE
    write_text(path, page)
    return path


def inline_json(value: Any) -> str:
    """JSON that can stand inside a script element: no character of it ends the element or starts a comment.

    Numbers that are not finite become null.
    """
    text = json.dumps(_finite(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def gather(out: Path, budget: int = BUDGET) -> Record:
    """All that the page shows, as plain values.

    Keys: title; settings, pairs of a name and a text; measures, those of the report first; ways, each with its slug;
    clips, each with its films and, per way, its means over frames and per-frame values; notes, sentences on what was
    left out or made smaller; and of the report rows, curves, missing, failed, published and its source, machine.

    Raises: as `write_page`.
    """
    report = _read(out / REPORT)
    if report is None:
        raise UserError(f"{out / REPORT} is not there: run `warped-diffusion evaluate` into this folder first")
    settings = _read(out / SETTINGS) or {}
    rows, folders = report.get("rows", []), _folders(out / "clips")
    clips = [_clip(folder) for folder in folders]
    ways = {row["slug"]: row["way"] | {"spectrum": row.get("spectrum") or row["way"].get("spectrum")} for row in rows}
    for result in (result for clip in clips for result in clip["results"]):
        ways.setdefault(result["slug"], result["way"])
    notes = _add_films(folders, clips, list(ways), budget)
    about = [{"name": m.name, "unit": m.unit, "better": m.better} for m in MEASURES.values()]
    published = report.get("published", {})
    return {
        "title": "Evaluation" + (f" of {settings['task']}" if "task" in settings else ""),
        "settings": list(_flat(settings)),
        "measures": list({each["name"]: each for each in [*report.get("measures", []), *about]}.values()),
        "ways": [{"slug": slug, **way} for slug, way in ways.items()],
        "rows": [{name: row[name] for name in ("slug", "measure", "value", "error", "count")} for row in rows],
        "curves": report.get("curves", {}),
        "clips": clips,
        "missing": report.get("missing", {}),
        "failed": [{"clip": each.get("name"), "slug": "", **each} for each in report.get("failed", [])],
        "published": _of_task(published.get("tables", []), settings.get("task")),
        "source": published.get("source", ""),
        "machine": report.get("machine", ""),
        "notes": notes,
    }


def _of_task(tables: list[Record], task: str | None) -> list[Record]:
    """The published tables with their rows of that task; of another task's they would say nothing."""
    kept = [{**table, "rows": [row for row in table["rows"] if row.get("task") in (None, task)]} for table in tables]
    return [table for table in kept if table["rows"]]


def _clip(folder: Path) -> Record:
    """What is known of a clip, with each way's values as means over seeds."""
    known = _read(folder / "clip.json") or {}
    results = []
    for way in _folders(folder):
        if done := list(_done(way)):
            found = [result for _, result in done]
            results.append({"slug": way.name, "way": found[0]["way"], **_mean_of_seeds(found)})
    return {
        "name": known.get("name", folder.name),
        "caption": known.get("caption") or "",
        "flow": next((result["flow"] for result in results if result["flow"]), known.get("flow") or ""),
        "results": results,
        "films": {},
    }


def _mean_of_seeds(seeds: list[Record]) -> Record:
    """Per measure the mean over seeds: per frame under "frames", over all frames under "means"."""
    frames, means = {}, {}
    for name in dict.fromkeys(name for seed in seeds for name in seed.get("measures", {})):
        rows = [seed["measures"][name] for seed in seeds if name in seed["measures"]]
        values = np.full((len(rows), max(len(row) for row in rows)), np.nan)
        for row, into in zip(rows, values, strict=True):
            into[: len(row)] = [np.nan if value is None else value for value in row]
        frames[name] = [_rounded(value) for value in _mean(values)]
        means[name] = _rounded(_mean(_mean(values.T)))
    times = [seed["seconds_per_frame"] for seed in seeds if seed.get("seconds_per_frame") is not None]
    return {
        "seeds": len(seeds),
        "seconds": _rounded(np.mean(times)) if times else None,
        "frames": frames,
        "means": means,
        "missing": {name: text for seed in seeds for name, text in seed.get("missing", {}).items()},
        "flow": next((seed["flow"] for seed in seeds if seed.get("flow")), ""),
    }


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the first axis, of those that are numbers; nan where none is."""
    held = ~np.isnan(values)
    count = held.sum(0)
    return np.where(count > 0, np.where(held, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _add_films(folders: list[Path], clips: list[Record], slugs: list[str], budget: int) -> list[str]:
    """Puts the first seed's films into `clips`, at the best level at which all fit; sentences on what was given up."""
    level, made = _level(folders, slugs, budget)
    spent, shown, reduced = 0, 0, False
    for folder, clip in zip(folders, clips, strict=True):
        films = made.get(folder) or _films(folder, slugs, level)
        spent += _size(films)
        if spent > budget:
            break
        clip["films"] = {name: film.record() for name, film in films.items()}
        shown += bool(films)
        reduced |= any(film.reduced for film in films.values())
    notes = [f"Films show the first seed, as WebP of quality {level.quality}; figures come from the full frames."]
    if reduced:
        notes.append(f"Frames were made smaller for this page: at most {level.side} pixels a side.")
    if spent > budget:
        notes.append(f"Films of {shown} of {len(clips)} clips are shown; those of all lie beside this page, in clips.")
    return notes if shown else notes[1:]


def _level(folders: list[Path], slugs: list[str], budget: int) -> tuple[Level, dict[Path, dict[str, Film]]]:
    """The best level at which the films of all clips fit, or the last; and those that were made to find it.

    It is exact for up to `TRIED` clips; of more, a few evenly among them speak for all.
    """
    tried = folders[:: math.ceil(len(folders) / TRIED)] if folders else []
    for level in LEVELS:
        made = {folder: _films(folder, slugs, level) for folder in tried}
        if sum(map(_size, made.values())) * len(folders) <= budget * len(tried):
            break
    return level, made


def _films(folder: Path, slugs: Iterable[str], level: Level) -> dict[str, Film]:
    """Of the original ("truth"), the input and every way that has frames, by name."""
    sources = {name: folder / f"{name}.npy" for name in ("truth", "input")}
    for slug in slugs:
        if first := next(_done(folder / slug), None):
            sources[slug] = first[0] / "restored.npy"
    return {name: make_film(np.load(path, mmap_mode="r"), level) for name, path in sources.items() if path.exists()}


def _size(films: dict[str, Film]) -> int:
    return sum(film.length for film in films.values())


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _done(way: Path) -> Iterator[tuple[Path, Record]]:
    """The folders and results of the seeds that did not fail, in their order."""
    numbered = [(int(match[1]), path) for path in _folders(way) if (match := re.fullmatch(r"seed-(\d+)", path.name))]
    for _, path in sorted(numbered):
        result = _read(path / "result.json")
        if result is not None and "error" not in result:
            yield path, result


def _flat(settings: Record, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name} ")
        elif value is not None:
            yield prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(path: Path) -> Record | None:
    try:
        return read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): delete it and evaluate again") from None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _rounded(value: Any) -> float | None:
    """To five digits, more than a page shows."""
    return float(f"{float(value):.5g}") if np.isfinite(value) else None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
