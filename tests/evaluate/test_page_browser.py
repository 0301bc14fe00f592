"""The evaluation's page in Chromium: it plays in step, steps, slides, sorts, opens clips, fits a phone, says no error.

`make test-page` runs this; it is skipped where there is no Chromium or no driver of it.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluate.outs import WAYS, make_out, write
from warped_diffusion.evaluate.page import write_page

driver = pytest.importorskip("playwright.sync_api", reason='needs a driver: pip install "warped-diffusion[browser]"')
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: on Debian, apt-get install chromium"),
]

FRAMES = 12
CODED = 8.0
"""Levels of 255, mean absolute: what WebP makes of a frame; the next frame differs by 13 and more."""
HOSTILE = "<img src=x onerror='window.broken=1'></script><script>window.broken=1</script>"
NAMES = ("boat", HOSTILE)

Page = Any


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, three ways, two seeds; the second clip's name and caption are an attack."""
    folder = make_out(tmp_path_factory.mktemp("out"))
    write(folder / "clips/meadow/clip.json", {"name": HOSTILE, "caption": HOSTILE})
    write_page(folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with driver.sync_playwright() as playwright:
        # Chromium's sandbox refuses to run as root, which is who tests run as in containers.
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=root)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, out: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, drawn; afterwards nothing was complained of, fetched or run that is not its own."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **getattr(request, "param", {})})
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda fetched: asked.append(fetched.url))
    page.goto((out / "index.html").as_uri())
    drawn(page)
    yield page
    assert page.evaluate("window.broken") is None
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [(out / "index.html").as_uri()]
    context.close()


def drawn(page: Page) -> None:
    page.wait_for_function("[...document.querySelectorAll('#stage canvas')].some(canvas => canvas.dataset.frame)")


def shown(page: Page) -> list[int]:
    """The frame that each pane shows."""
    return page.evaluate("[...document.querySelectorAll('#stage canvas')].map(canvas => Number(canvas.dataset.frame))")


def picture(page: Page, film: str) -> np.ndarray:
    """What a pane shows, (H, W, 3) uint8."""
    height, width, levels = page.evaluate(
        """film => { const canvas = document.querySelector(`#stage canvas[data-film="${film}"]`);
        const {width, height} = canvas;
        return [height, width, [...canvas.getContext('2d').getImageData(0, 0, width, height).data]]; }""",
        film,
    )
    return np.array(levels, np.uint8).reshape(height, width, 4)[..., :3]


def column(page: Page, name: str, table: str = "#table") -> list[str]:
    """A column's cells from the top, without what follows the number."""
    headings = page.eval_on_selector_all(f"{table} thead th", "nodes => nodes.map(node => node.dataset.column)")
    cells = page.eval_on_selector_all(
        f"{table} tbody tr",
        "(rows, i) => rows.map(row => (row.children[i].querySelector('.value, b') || row.children[i]).textContent)",
        headings.index(name),
    )
    return list(cells)


def heading(name: str, table: str = "#table") -> str:
    return f'{table} th[data-column="{name}"] button'


def test_all_panes_play_in_step(page: Page) -> None:
    page.select_option("#rate", "24")
    page.click("#play")
    seen = page.evaluate(
        """() => new Promise(done => { const seen = [];
        const panes = () => [...document.querySelectorAll('#stage canvas')];
        const look = () => { seen.push(panes().map(canvas => Number(canvas.dataset.frame)));
            seen.length < 60 ? requestAnimationFrame(look) : done(seen); };
        requestAnimationFrame(look); })"""
    )
    assert {len(frames) for frames in seen} == {2 + len(WAYS)}
    assert {len(set(frames)) for frames in seen} == {1}
    assert len({frames[0] for frames in seen}) >= FRAMES // 2
    assert page.get_attribute("#play", "aria-label") == "Pause"
    page.click("#play")
    stopped = shown(page)
    page.wait_for_timeout(200)
    assert shown(page) == stopped


@pytest.mark.parametrize("frame", [0, 7])
def test_a_pane_shows_exactly_the_frame_that_it_names(page: Page, out: Path, frame: int) -> None:
    for _ in range(frame):
        page.keyboard.press("ArrowRight")
    truth = np.load(out / "clips/boat/truth.npy").astype(float)
    distances = np.abs(truth - picture(page, "truth")).mean((1, 2, 3))
    assert distances.argmin() == frame
    assert distances[frame] < CODED
    assert np.sort(distances)[1] > CODED


def test_keys_step_and_play(page: Page) -> None:
    for key, frame in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", FRAMES - 1), ("Home", 0)):
        page.keyboard.press(key)
        assert set(shown(page)) == {frame}
    page.keyboard.press("ArrowLeft")
    assert set(shown(page)) == {FRAMES - 1}
    assert page.inner_text("#counter") == f"{FRAMES} / {FRAMES}"
    page.keyboard.press(" ")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    page.keyboard.press(" ")
    assert page.get_attribute("#play", "aria-label") == "Play"


def test_a_key_for_a_control_is_the_controls(page: Page) -> None:
    """Space on a button that has the focus presses it, once; arrows in a list of clips choose a clip."""
    page.focus("#play")
    page.keyboard.press(" ")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    page.keyboard.press(" ")
    page.focus("#rate")
    before = shown(page)
    page.keyboard.press("ArrowRight")
    assert shown(page) == before


def test_the_scrubber_sets_the_frame(page: Page) -> None:
    page.fill("#scrub", "5")
    assert set(shown(page)) == {5}


def test_ways_are_chosen(page: Page) -> None:
    page.click("#chooser summary")
    page.uncheck(f'#choices input[value="{WAYS[0].slug}"]')
    drawn(page)
    assert len(shown(page)) == 1 + len(WAYS)
    page.check(f'#choices input[value="{WAYS[0].slug}"]')
    drawn(page)
    assert len(shown(page)) == 2 + len(WAYS)


def test_the_slider_moves_by_pointer_and_by_key(page: Page) -> None:
    page.click("#view-slider")
    drawn(page)
    box = page.locator(".compare-box").bounding_box()
    covered = "getComputedStyle(document.querySelector('.over')).clipPath"
    assert "50%" in page.evaluate(covered)
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 30, steps=4)
    page.mouse.up()
    assert float(page.input_value("#divider")) == pytest.approx(25, abs=1)
    assert "75%" in page.evaluate(covered)
    page.focus("#divider")
    page.keyboard.press("End")
    assert float(page.input_value("#divider")) == 100
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    assert shown(page) == [1, 1]
    page.select_option(".compare-ends select >> nth=0", "truth")
    assert page.get_attribute(".over", "data-film") == "truth"


def test_tables_sort_by_their_headings(page: Page) -> None:
    better = ["28.08", "27.54", "27.00"]
    page.click(heading("psnr"))
    assert column(page, "psnr") == better  # what is best first
    assert page.get_attribute('#table th[data-column="psnr"]', "aria-sort") == "descending"
    page.click(heading("psnr"))
    assert column(page, "psnr") == better[::-1]
    page.click(heading("mse"))
    assert column(page, "mse") == sorted(column(page, "mse"))
    assert page.locator("#table th[aria-sort]").count() == 1
    page.click(heading("way"))
    assert column(page, "way") == ["Bicubic", "GP", "Resample"]


def test_the_best_of_a_column_is_marked(page: Page) -> None:
    marked = page.eval_on_selector_all("#table td.best .value", "nodes => nodes.map(node => node.textContent)")
    assert "28.08" in marked
    assert "27.00" not in marked
    assert page.locator("#table td.best").count() == 6  # five measures and the time


def test_the_papers_figures_stand_apart_from_ours(page: Page) -> None:
    colours = [
        page.evaluate(f"getComputedStyle(document.querySelector('#published tr.{kind} td')).backgroundColor")
        for kind in ("paper", "ours")
    ]
    assert colours[0] != colours[1]
    assert column(page, "warping-first", "#published")[:2] == ["0.934", "–"]
    assert page.locator("#published tr.paper .tag").all_inner_texts() == ["paper", "paper"]
    page.click(heading("ssim", "#published"))
    assert column(page, "ssim", "#published") == ["0.832", "0.816", "0.800", "0.708", "0.654"]
    page.click(heading("warping-first", "#published"))
    assert column(page, "warping-first", "#published") == ["0.649", "0.934", "–", "–", "–"]  # what has none is last


def test_what_is_missing_and_what_failed_is_said(page: Page) -> None:
    assert "Inception's weights are not here" in page.inner_text("#missing")
    assert "FID" in page.inner_text("#missing")
    assert "ran out of paint" in page.inner_text("#failed")


def test_a_clip_opens_with_its_own_figures(page: Page, out: Path) -> None:
    page.click("#clip-list summary >> nth=0")
    page.wait_for_selector("#clip-list table")
    slug = WAYS[1].slug
    seeds = [json.loads((out / f"clips/boat/{slug}/seed-{seed}/result.json").read_text()) for seed in (0, 1)]
    expected = np.mean([seed["measures"]["psnr"] for seed in seeds])
    table = "#clip-list details >> nth=0 >> "
    row = page.locator(f'{table}tr[data-row="{slug}"] td').all_inner_texts()
    assert f"{expected:.2f}" in " ".join(row)
    page.click("#clip-list summary >> nth=1")
    page.click("#clip-list details >> nth=1 >> text=Watch this clip")
    drawn(page)
    assert page.input_value("#clip") == "1"
    page.click("#clip-list details >> nth=1 >> text=Its curves")
    assert page.input_value("#curve-clip") == "1"


def test_curves_are_drawn_for_every_way_and_follow_the_choice(page: Page) -> None:
    lines = page.locator('#charts svg[data-measure="warping-pixel-first"] path.line')
    assert lines.count() == len(WAYS)
    path = lines.first.get_attribute("d")
    assert path.count("L") == FRAMES - 2  # the first frame has no error to itself
    page.check("#logarithmic")
    assert lines.first.get_attribute("d") != path
    page.uncheck("#logarithmic")
    page.select_option("#curve-clip", "0")
    assert lines.first.get_attribute("d") != path
    page.uncheck('#filters input[value="resample"]')
    assert lines.count() == len(WAYS) - 1
    assert page.locator("#table tbody tr").count() == len(WAYS) - 1


def test_hostile_names_are_shown_as_they_are(page: Page) -> None:
    page.select_option("#clip", "1")
    assert page.inner_text("#caption") == HOSTILE
    assert page.locator("#clip-list b").all_inner_texts()[:2] == list(NAMES)
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("page", [{"viewport": {"width": 360, "height": 740}, "has_touch": True}], indirect=True)
def test_nothing_overflows_a_phone(page: Page) -> None:
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert not page.evaluate(wide)
    for summary in page.locator("summary").all():
        summary.click()
    page.wait_for_selector("#clip-list table")
    assert not page.evaluate(wide)
    page.click("#view-slider")
    drawn(page)
    assert not page.evaluate(wide)


def test_light_and_dark_follow_the_system(page: Page) -> None:
    luminance = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        luminance.append(sum(int(part) for part in colour[4:-1].split(",")))
    assert luminance[0] > 700 > 100 > luminance[1]


def test_every_control_has_a_name(page: Page) -> None:
    nameless = page.eval_on_selector_all(
        "button, input, select",
        """nodes => nodes.filter(node => !(node.textContent.trim() && node.tagName === 'BUTTON')
            && !node.getAttribute('aria-label') && !node.closest('label')).map(node => node.outerHTML)""",
    )
    assert nameless == []
