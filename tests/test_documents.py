"""Python in the documents runs as it is printed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = [
    (page.name, code)
    for page in (ROOT / "README.md", ROOT / "docs" / "models.md")
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]


@pytest.mark.parametrize(("page", "code"), BLOCKS, ids=[page for page, _ in BLOCKS])
def test_python_in_the_documents_runs(page, code):
    told = {}
    exec(compile(code, page, "exec"), told)
    clip = told["clip"]
    assert clip.isfinite().all()
    assert clip.shape[0] == told["frames"].shape[0]


def test_both_pages_have_some():
    assert {page for page, _ in BLOCKS} == {"README.md", "models.md"}
    adapter = dict(BLOCKS)["models.md"]
    assert len(adapter.splitlines()) < 40
