"""What is handed out: one version everywhere, a wheel that holds what it needs and works by itself."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec

import pytest

from scripts.try_wheel import HELD, missing
from tests.documents.blocks import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_one_version_everywhere():
    assert f"version: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == VERSION


def test_what_a_wheel_must_hold_is_there():
    assert [name for name in HELD if not (ROOT / "src" / "warped_diffusion" / name).is_file()] == []
    weights = {path.name for path in (ROOT / "src" / "warped_diffusion" / "models" / "weights").iterdir()}
    assert weights == {name.rpartition("/")[2] for name in HELD if "/weights/" in name}


def test_a_wheel_that_lacks_something_is_noticed(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as wheel:
        for name in HELD[1:]:
            wheel.writestr(f"warped_diffusion/{name}", "")
    assert missing(tmp_path / "w.whl") == [HELD[0]]


def test_the_first_screen_of_the_readme_leads_to_a_clip_of_ones_own():
    """Three commands at most, no further than the first 40 lines."""
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    (commands,) = re.findall(r"```sh\n(.*?)```", screen, re.DOTALL)
    lines = commands.strip().splitlines()
    assert len(lines) <= 3
    assert "warped-diffusion restore" in lines[-1]


@pytest.mark.slow
def test_the_wheel_runs_the_demo_outside_of_the_repository(tmp_path):
    """Built without isolation and installed without an index: the packages are those of this environment."""
    if find_spec("build") is None or find_spec("hatchling") is None:
        pytest.skip("needs the packages build and hatchling")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    tried = [sys.executable, str(ROOT / "scripts" / "try_wheel.py"), str(wheel), "--borrow"]
    done = subprocess.run(tried, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\| +restored +\|", done.stdout)
