"""Look for what is dead in the built site: `python scripts/check_site.py site`.

Every link and every `#` within it must lead somewhere, and nothing may be loaded from another host: a reader's address
is nobody's business, and the pages are to be read without a network. With `--external` other hosts are asked too.
"""

import argparse
import re
import sys
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

LOADED = {("link", "href"), ("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src"), ("video", "src")}
"""Attributes whose address a browser fetches by itself."""
NOT_FETCHED = {"canonical", "edit", "next", "prev"}
"""Relations of a <link> that is only said."""
IMPORTED = re.compile(r"""url\(\s*["']?(?:https?:)?//|@import\s+["']?(?:https?:)?//""")


class Page(HTMLParser):
    """The names in a page, and its addresses: (address, whether it is fetched)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[tuple[str, bool]] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = {name: value for name, value in attributes if value is not None}
        self.names |= {told[name] for name in ("id", "name") if name in told}
        said = tag == "link" and told.get("rel") in NOT_FETCHED
        for name in ("href", "src"):
            if name in told and not said:
                self.addresses.append((told[name], (tag, name) in LOADED))


def faults(site: Path) -> Iterator[str]:
    """A sentence for everything that is dead or foreign."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site} holds no page: build it first, make docs"
    for path, page in pages.items():
        where = path.relative_to(site)
        for address, fetched in page.addresses:
            parts = urlsplit(address)
            if parts.netloc or parts.scheme in ("http", "https"):
                if fetched:
                    yield f"{where} loads {address} from another host"
                continue
            if parts.scheme:
                continue  # data:, mailto:, javascript:
            # 404.html stands for any place, so its addresses begin at the root.
            base = site if parts.path.startswith("/") else path.parent
            target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{where} leads to {address}, which is not there"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].names:
                yield f"{where} leads to {address}: no such place on that page"
    for path in sorted(site.rglob("*.css")):
        if IMPORTED.search(path.read_text()):
            yield f"{path.relative_to(site)} loads from another host"


def foreign(site: Path) -> set[str]:
    """Addresses on other hosts that the pages lead to."""
    found = (address for path in site.rglob("*.html") for address, fetched in Page(path).addresses if not fetched)
    return {address.partition("#")[0] for address in found if urlsplit(address).scheme in ("http", "https")}


def unanswered(address: str) -> str | None:
    """What went wrong, if anything."""
    request = urllib.request.Request(address, headers={"User-Agent": "check_site"})
    try:
        with urllib.request.urlopen(request, timeout=20):
            return None
    except (URLError, OSError) as error:
        return f"{address}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="folder of the built site")
    parser.add_argument("--external", action="store_true", help="also ask other hosts")
    options = parser.parse_args()
    site = options.site.resolve()
    found = list(faults(site))
    if options.external:
        found += filter(None, map(unanswered, sorted(foreign(site))))
    print("\n".join(found) or "no dead link, nothing from another host")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
