"""What the pages tell people to type: commands and options, each with the place where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "spark3r_core").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
PROGRAMS = ("spark3r", "python", "python3", "pip", "make")
_FENCE = re.compile(r"^\s*```")
_PROMPT = re.compile(r"^\s*(?:\w*\$ +)?")
_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True)
class Typed:
    """One command as a page has it, without prompt and comment."""

    where: str
    text: str


def commands(page: Path, programs: tuple[str, ...] = PROGRAMS) -> Iterator[Typed]:
    """Lines of code blocks, fenced or indented, that begin with one of these programs."""
    fenced = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if _FENCE.match(line):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            text = _COMMENT.sub("", _PROMPT.sub("", line, count=1)).rstrip()
            if text.split(" ")[0] in programs:
                yield Typed(f"{page.relative_to(ROOT)}:{number}", text)


def spoken_of(page: Path) -> Iterator[Typed]:
    """Code within sentences."""
    text = re.sub(r"^\s*```.*?^\s*```", lambda block: "\n" * block[0].count("\n"), page.read_text(), flags=re.M | re.S)
    for match in re.finditer(r"`([^`]+)`", text):
        line = text.count("\n", 0, match.start()) + 1
        yield Typed(f"{page.relative_to(ROOT)}:{line}", " ".join(match[1].split()))


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
