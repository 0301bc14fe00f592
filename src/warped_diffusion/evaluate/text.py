"""A report as Markdown: our tables, the paper's beside ours, steps, what is missing and what failed."""

from collections.abc import Mapping, Sequence
from typing import Any

ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}
OF_THE_PAPER = {"warping-first": "warping-pixel-first"}
"""Measures of ours that stand beside the paper's where they do not share a name."""
AGAINST_STEPS = ("warping-pixel-first", "warping-pixel-previous", "psnr", "seconds-per-frame")
ABSENT = "–"

Report = Mapping[str, Any]
Figures = Mapping[str, Mapping[str, Report]]


def report_text(report: Report) -> str:
    """The report of `tables.gather` for people."""
    figures: dict[str, dict[str, Report]] = {}
    for row in report["rows"]:
        figures.setdefault(row["slug"], {})[row["measure"]] = row
    parts = [
        ["# Evaluation", "", *_settings(report), ""],
        ["## All ways", "", *_ours(report, figures), ""],
        *([f"## {heading}", "", *lines, ""] for heading, lines in _published(report, figures)),
        *([f"## {heading}", "", *lines, ""] for heading, lines in _steps(figures)),
        ["## Missing", "", *_missing(report), ""],
        ["## Failed", "", *_failed(report)],
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def cell(row: Report | None) -> str:
    """A figure with its standard error, as "0.1234 ± 0.0012"; the error is left out where there is none."""
    if row is None:
        return ABSENT
    error = row["error"]
    return f"{row['value']:.4g}" + ("" if error is None else f" ± {error:.2g}")


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, its first column to the left and all others to the right."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in (columns, rule, *rows)]


def _settings(report: Report) -> list[str]:
    told = ", ".join(f"{name} {value}" for name, value in report["settings"].items() if name not in ("models", "judge"))
    clips = [
        "- {name}: {frames} frames of {size[1]}×{size[0]}, judged along: {flow}".format(**clip)
        for clip in report["clips"]
    ]
    machine = [f"- times: {report['machine']}"] if report.get("machine") else []
    return [
        f"- {told}",
        *clips,
        *machine,
        "- means over frames, seeds and clips ± standard error of the mean over clips and seeds; n: how many of these",
    ]


def _ours(report: Report, figures: Figures) -> list[str]:
    names = [measure["name"] for measure in report["measures"]]
    heads = [measure["name"] + ARROWS[measure["better"]] for measure in report["measures"]]
    rows = [
        [slug, str(max(row["count"] for row in of_way.values())), *(cell(of_way.get(name)) for name in names)]
        for slug, of_way in figures.items()
    ]
    return markdown(["way", "n", *heads], rows)


def _published(report: Report, figures: Figures) -> list[tuple[str, list[str]]]:
    task, found = report["settings"]["task"], []
    for table in report["published"]["tables"]:
        published = [row for row in table["rows"] if row["task"] == task]
        if not published:
            continue
        names = list(dict.fromkeys(name for row in published for name in row["values"]))
        rows = []
        for row in published:
            of_paper = {
                name: {"value": value, "error": row["errors"].get(name)} for name, value in row["values"].items()
            }
            rows.append([row["method"], "paper", *(_printed(of_paper.get(name)) for name in names)])
            for slug in _like(row, figures):
                ours = [cell(figures[slug].get(OF_THE_PAPER.get(name, name))) for name in names]
                rows.append([row["method"], slug, *ours])
        lines = [f"{table['caption']} {table['about']} {report['published']['source']}.", ""]
        found.append((f"Table {table['number']} of the paper", lines + markdown(["method", "of", *names], rows)))
    return found


def _printed(figure: Report | None) -> str:
    """A figure of the paper, in the three decimals that it prints."""
    if figure is None:
        return ABSENT
    return f"{figure['value']:.3f}" + ("" if figure["error"] is None else f" ± {figure['error']:.3f}")


def _like(published: Report, figures: Figures) -> list[str]:
    """The ways of ours that are what a row of the paper is of."""
    found = []
    for slug, of_way in figures.items():
        row = next(iter(of_way.values()))
        way = row["way"]
        ours = (way["noise"], row["spectrum"], way["guidance"])
        if ours == (published["noise"], published["spectrum"], published["guidance"]):
            found.append(slug)
    return found


def _steps(figures: Figures) -> list[tuple[str, list[str]]]:
    """Each measure against the number of steps, where ways differ in that: is warping needed with more of them?"""
    ways: dict[str, dict[int, Mapping[str, Report]]] = {}
    for slug, of_way in figures.items():
        steps = next(iter(of_way.values()))["way"]["steps"]
        if steps is not None:
            ways.setdefault(slug.removesuffix(f"-{steps}-steps"), {})[steps] = of_way
    numbers = sorted({steps for of_steps in ways.values() for steps in of_steps})
    found = []
    for name in AGAINST_STEPS if ways else ():
        rows = [
            [way, *(cell(of_steps.get(number, {}).get(name)) for number in numbers)] for way, of_steps in ways.items()
        ]
        found.append((f"{name} against steps", markdown(["way", *(f"{number} steps" for number in numbers)], rows)))
    return found


def _missing(report: Report) -> list[str]:
    return [f"- {name}: {why}" for name, why in report["missing"].items()] or ["Nothing."]


def _failed(report: Report) -> list[str]:
    lines = []
    for entry in report["failed"]:
        what = entry["name"] if "name" in entry else f"{entry['clip']}, {entry['slug']}, seed {entry['seed']}"
        lines.append(f"- {what}: {entry['error']}")
    return lines or ["Nothing."]
