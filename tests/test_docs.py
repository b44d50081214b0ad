"""Pages name what is there: files, links, rooms, and no page that is not in this repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spark3r_stream.wire import envelope as wire
from tests.test_layering import CORE_MAY_IMPORT, LEAVES, STREAM_MAY_IMPORT
from tools.pages import PAGES, ROOT

FILE = re.compile(r"`((?:spark3r_core|spark3r_stream|tools|tests|examples|docs)/[\w./-]+\.(?:py|md|proto|cpp|txt))\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text()
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [link for link in links if link and not (page.parent / link).exists()]
    missing += [name for name in FILE.findall(text) if not (ROOT / name).exists()]
    assert not missing, f"{page.relative_to(ROOT)} names {missing}"


def test_no_page_outside_this_repository_is_quoted_by_its_sections() -> None:
    words = "ARCHITECTURE" + " §"
    folders = ("spark3r_core", "spark3r_stream", "tools", "tests", "examples", "docs")
    kinds = {".py", ".md", ".proto", ".cpp", ".txt"}
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    assert [str(path.relative_to(ROOT)) for path in files if words in path.read_text()] == []


def test_the_map_of_the_code_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    core = {path.parent.name for path in (ROOT / "spark3r_core").glob("*/__init__.py")} - {"weights"}
    assert core >= set(CORE_MAY_IMPORT)
    for room in (*core, *STREAM_MAY_IMPORT):
        assert re.search(rf"^\| `{room}` \|", page, re.MULTILINE), f"docs/architecture.md: no row for `{room}`"
    for leaf in LEAVES:
        assert f"`{leaf}`" in page


def test_the_wire_is_described_in_its_present_version() -> None:
    version = f"{wire.SCHEMA_MAJOR}.{wire.SCHEMA_MINOR}"
    assert f"`major.minor`, now {version}" in (ROOT / "docs" / "wire.md").read_text()
    assert f"kSchemaMajor = {wire.SCHEMA_MAJOR};" in (ROOT / "examples" / "cpp" / "pose_client.cpp").read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/ros2_bridge.md"])
def test_every_topic_is_spoken_of(page: str) -> None:
    text = (ROOT / page).read_text()
    assert [topic for topic in wire.TOPICS if f"`{topic}`" not in text] == []
