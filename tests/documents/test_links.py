"""Links within the documents lead somewhere, as the repository is read; those of the built site in `test_site`."""

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.documents.blocks import FENCE, ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def links(page: Path) -> list[str]:
    return LINK.findall(FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The names of a page's headings: small letters, without punctuation, dashes for spaces."""
    plain = (re.sub(r"[`*]", "", heading) for heading in HEADING.findall(FENCE.sub("", page.read_text())))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def dead(page: Path, link: str) -> bool:
    parts = urlsplit(link)
    if parts.scheme:
        return False
    target = (page.parent / parts.path) if parts.path else page
    if not target.exists():
        return True
    return bool(parts.fragment) and parts.fragment not in anchors(target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert [link for link in links(page) if dead(page, link)] == []


@pytest.mark.parametrize("link", ["docs/nothing.md", "docs/noise.md#nothing", "#nothing", "docs/pictures/none.png"])
def test_a_dead_link_is_noticed(link):
    assert dead(ROOT / "README.md", link)


@pytest.mark.network
def test_other_hosts_answer():
    addresses = {link for page in PAGES for link in links(page) if urlsplit(link).scheme in ("http", "https")}
    for address in sorted(addresses):
        with urlopen(Request(address, headers={"User-Agent": "documents"}), timeout=20) as answer:
            assert answer.status == 200, address
