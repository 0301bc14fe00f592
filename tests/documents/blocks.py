"""What the documents tell a reader to type: code blocks, and commands within sentences."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OURS = ("warped-diffusion ", "make ", "python ", "pip ", "bench ")
"""What a command within a sentence begins with."""


@dataclass(frozen=True)
class Block:
    """A fenced block: on which page and line it begins, its language and what it holds."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a shell, as its words."""

    page: str
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page.name, text.count("\n", 0, found.start()) + 1, found[1].strip(), found[2])
        for found in FENCE.finditer(text)
    ]


def commands(block: Block) -> list[Command]:
    """The commands of a block of shell, comments and line ends within a command taken away."""
    found = []
    lines = iter(enumerate(block.text.splitlines(), block.line + 1))
    for number, line in lines:
        while line.endswith("\\"):
            line = line[:-1] + next(lines)[1]
        found += _split(block.page, number, line)
    return found


def inline(page: Path) -> list[Command]:
    """Commands within sentences and tables; a name alone, `warped-diffusion`, is none."""
    text = FENCE.sub(lambda block: "\n" * block[0].count("\n"), page.read_text())
    found = []
    for span in re.finditer(r"`([^`]+)`", text):
        words = " ".join(span[1].split())
        if words.startswith(OURS):
            found += _split(page.name, text.count("\n", 0, span.start()) + 1, words)
    return found


def _split(page: str, line: int, text: str) -> list[Command]:
    words = [[]]
    for word in shlex.split(text, comments=True):
        if word == "&&":
            words.append([])
        else:
            words[-1].append(word)
    return [Command(page, line, tuple(part)) for part in words if part]
