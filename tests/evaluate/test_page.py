"""The evaluation's page: what is written into it, that it needs nothing else, and that no text becomes markup."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluate.outs import LACKING, WAYS, make_out, write
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.page import gather, inline_json, write_page

ROUNDED = 1e-4
"""Relative: the page holds five digits."""
HOSTILE = '</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> & "{{data}}" {{script}} \u2028 \\'


def data_of(page: str) -> Any:
    """What the page's scripts read."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_out(tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return write_page(out).read_text(encoding="utf-8")


def test_it_holds_every_clip_way_and_film(page: str) -> None:
    data = data_of(page)
    slugs = [way.slug for way in WAYS]
    assert [clip["name"] for clip in data["clips"]] == ["boat", "meadow"]
    assert sorted(way["slug"] for way in data["ways"]) == sorted(slugs)
    for clip in data["clips"]:
        assert sorted(clip["films"]) == sorted(["truth", "input", *slugs])
        assert {len(film["frames"]) for film in clip["films"].values()} == {12}
    assert data["missing"] == LACKING
    assert [failure["error"] for failure in data["failed"]] == ["ran out of paint"]


def test_a_clips_values_are_means_over_seeds(out: Path) -> None:
    slug = WAYS[0].slug
    seeds = [json.loads((out / f"clips/boat/{slug}/seed-{n}/result.json").read_text())["measures"] for n in (0, 1)]
    found = next(result for result in gather(out)["clips"][0]["results"] if result["slug"] == slug)
    assert found["seeds"] == 2
    for name in ("psnr", "warping-pixel-first"):
        values = np.array([seed[name] for seed in seeds], float)
        expected = [None if np.isnan(value) else pytest.approx(value, rel=ROUNDED) for value in values.mean(0)]
        assert found["frames"][name] == expected
        assert found["means"][name] == pytest.approx(np.nanmean(values, 1).mean(), rel=ROUNDED)


def test_films_are_of_the_first_seed_that_did_not_fail(tmp_path: Path) -> None:
    out = make_out(tmp_path, clips=("boat",), ways=WAYS[:1])
    place = out / "clips/boat" / WAYS[0].slug
    second = gather(make_out(tmp_path / "second", clips=("boat",), ways=WAYS[:1]))["clips"][0]["films"]
    assert gather(out)["clips"][0]["films"] == second
    write(place / "seed-0/result.json", {"slug": WAYS[0].slug, "error": "no"})
    films = gather(out)["clips"][0]["films"]
    np.save(place / "seed-0/restored.npy", np.load(place / "seed-1/restored.npy"))
    write(place / "seed-0/result.json", json.loads((place / "seed-1/result.json").read_text()))
    assert films == gather(out)["clips"][0]["films"]
    assert films != second


def test_films_are_made_smaller_until_they_fit_and_the_page_says_so(tmp_path: Path) -> None:
    out = make_out(tmp_path, clips=("a", "b", "c", "d"), ways=WAYS[:1], frames=2, size=(160, 256))
    full = gather(out)
    sizes = [sum(sum(map(len, film["frames"])) for film in clip["films"].values()) for clip in full["clips"]]
    assert "quality 90" in full["notes"][0]
    assert len(full["notes"]) == 1

    fair = gather(out, budget=sum(sizes) // 4)
    assert any("made smaller" in note for note in fair["notes"])
    assert all(clip["films"] for clip in fair["clips"])

    tight = gather(out, budget=sizes[0] // 8)
    kept = [sum(sum(map(len, film["frames"])) for film in clip["films"].values()) for clip in tight["clips"]]
    assert sum(kept) <= sizes[0] // 8
    assert 0 < sum(map(bool, kept)) < 4
    assert any(f"Films of {sum(map(bool, kept))} of 4 clips" in note for note in tight["notes"])


def test_published_rows_are_those_of_the_task(out: Path) -> None:
    (table,) = gather(out)["published"]
    assert {row["task"] for row in table["rows"]} == {"super-resolution"}


def test_it_fetches_nothing_and_runs_nothing_but_its_own(page: str) -> None:
    """Its policy names by digest one style and one script, which are those inside, and allows pictures of its own."""
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    style, script = re.search(r"<style>(.*?)</style>", page, re.S), re.search(r"<script>(.*?)</script>", page, re.S)
    assert policy
    assert style
    assert script
    digests = [base64.b64encode(hashlib.sha256(part[1].encode()).digest()).decode() for part in (style, script)]
    expected = f"default-src 'none'; img-src data:; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'"
    assert policy[1] == expected
    assert page.count("<script") == 2
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "url(" not in style[1]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    out = make_out(tmp_path, clips=("boat",), ways=WAYS[:1], frames=2, caption=HOSTILE)
    write(out / "clips/boat/clip.json", {"name": HOSTILE, "caption": HOSTILE})
    write(out / "settings.json", {"task": HOSTILE})
    text = write_page(out).read_text(encoding="utf-8")
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert "<img" not in text
    data = data_of(text)
    assert data["clips"][0]["name"] == data["clips"][0]["caption"] == HOSTILE


def test_inline_json_ends_no_element_and_comes_back() -> None:
    value = {HOSTILE: [HOSTILE, 1.5, None, {"a": float("nan"), "b": float("inf")}]}
    text = inline_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {HOSTILE: [HOSTILE, 1.5, None, {"a": None, "b": None}]}


def test_a_folder_without_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.json is not there: run"):
        write_page(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        write_page(tmp_path)


def test_an_evaluation_with_nothing_done_yet_has_a_page(tmp_path: Path) -> None:
    write(tmp_path / "report.json", {})
    write(tmp_path / "clips/lost/clip.json", {"name": "lost", "error": "not a video"})
    data = data_of(write_page(tmp_path).read_text(encoding="utf-8"))
    assert data["clips"][0]["films"] == {}
