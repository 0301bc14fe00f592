"""Python in the documents runs as it is printed, and the examples run small."""

import runpy
import sys
from unittest.mock import patch

import pytest

from tests.documents.blocks import PAGES, ROOT, Block, blocks
from warped_diffusion.tasks import TASKS

SAMPLE = ROOT / "src" / "warped_diffusion" / "assets" / "sample.mp4"
EXAMPLES = {
    "field_on_a_grid": [],
    "field_along_a_clip": [str(SAMPLE), "--frames", "2", "--out", "noise.mp4"],
    "guide_your_own_denoiser": [],
    "add_a_task": [],
    "compare_two_schemes": ["--out", "schemes", "--frames", "2", "--size", "48", "--steps", "1"],
}
"""Every script in examples/ with what makes it quick."""
LANGUAGES = {"python", "sh"}
LONGEST = 68
"""Lines of an example: to be read in a minute."""

BLOCKS = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python" and "--8<--" not in block.text]


def run(block: Block) -> dict:
    told: dict = {}
    exec(compile(block.text, str(block), "exec"), told)
    return told


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_in_the_documents_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = run(block)
    if "clip" in told:
        assert told["clip"].isfinite().all()
        assert told["clip"].shape[0] == told["frames"].shape[0]


def test_every_block_has_a_language_that_is_run():
    assert {block.language for block in BLOCKS} <= LANGUAGES
    assert {"README.md", "models.md"} <= {block.page for block in PYTHON}


def test_commands_stand_in_fences():
    """An indented block is text to `blocks`: what is typed must not hide in one."""
    for page in PAGES:
        inside = False
        for number, line in enumerate(page.read_text().splitlines(), 1):
            inside ^= line.startswith("```")
            hidden = line.startswith("    ") and line.split()[0] in ("warped-diffusion", "python", "pip", "make")
            assert inside or not hidden, f"{page.name}:{number} has a command outside of a fence"


def test_an_adapter_is_short():
    (adapter,) = (block for block in PYTHON if block.page == "models.md")
    assert len(adapter.text.splitlines()) < 40


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    path = ROOT / "examples" / f"{name}.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), *EXAMPLES[name]])
    with patch.dict(TASKS):  # an example adds to them
        told = runpy.run_path(str(path), run_name="__main__")
    assert told["__doc__"]
    said = capsys.readouterr().out.split()
    assert said
    if name == "guide_your_own_denoiser":  # what it is there to show: steadier by half at least
        alone, guided = (float(word.removesuffix("e-4")) for word in said if word.endswith("e-4"))
        assert guided < alone / 2
    assert len(path.read_text().splitlines()) <= LONGEST


def test_every_example_is_run_and_shown():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)
    page = (ROOT / "docs" / "examples.md").read_text()
    for name in EXAMPLES:
        assert f'--8<-- "examples/{name}.py"' in page
        assert f"python examples/{name}.py" in page


def test_code_that_fails_is_noticed():
    with pytest.raises(AttributeError):
        run(Block("page.md", 1, "python", "import warped_diffusion as wd\nwd.restored"))
