"""The site: every page in its navigation, nothing dead or foreign in what is built."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.check_site import faults
from tests.documents.blocks import ROOT

GOOD = '<link rel="stylesheet" href="a.css"><h1 id="top">A</h1><a href="#top">up</a><a href="b.html#end">b</a>'


@pytest.fixture
def site(tmp_path) -> Path:
    (tmp_path / "a.html").write_text(GOOD)
    (tmp_path / "b.html").write_text('<p id="end"><a href="https://example.org/">elsewhere</a></p>')
    (tmp_path / "a.css").write_text("p { color: red }")
    return tmp_path


def test_a_sound_site_has_no_faults(site):
    assert list(faults(site)) == []


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("b.html", "<p></p>", "no such place"),
        ("b.html", '<p id="end"><img src="c.png"></p>', "c.png, which is not there"),
        ("b.html", '<p id="end"><script src="https://cdn.example.org/x.js"></script></p>', "another host"),
        ("b.html", '<p id="end"><img src="//example.org/x.png"></p>', "another host"),
        ("a.css", "@import 'https://fonts.example.org/css';", "another host"),
        ("a.css", "p { background: url(https://example.org/x.png) }", "another host"),
    ],
)
def test_a_fault_is_found(site, file, text, said):
    (site / file).write_text(text)
    (fault,) = faults(site)
    assert said in fault


def test_an_empty_folder_is_no_site(tmp_path):
    assert len(list(faults(tmp_path))) == 1


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"([\w-]+\.md)", (ROOT / "mkdocs.yml").read_text()))
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")}


@pytest.mark.slow
def test_it_builds_without_a_warning_and_nothing_is_dead(tmp_path):
    pytest.importorskip("mkdocs", reason='pip install "warped-diffusion[docs]"')
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    assert list(faults(tmp_path / "site")) == []
