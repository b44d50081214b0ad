"""The documentation as a site: it is built without a warning, and what lies outside of docs/ is in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.pages import ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
from tools.site_pages import with_site_links


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr.strip()) == (0, "")
    start = (tmp_path / "site" / "index.html").read_text()
    assert 'href="wire.html"' in start
    assert (tmp_path / "site" / "preview.png").is_file()
    for page in (tmp_path / "site").rglob("*.html"):
        outside = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)', page.read_text())
        assert not outside, f"{page.name} loads {outside}"


@pytest.mark.parametrize(
    ("here", "link", "expected"),
    [
        ("index.md", "[w](docs/wire.md#x)", "[w](wire.md#x)"),
        ("index.md", "![p](docs/preview.png)", "![p](preview.png)"),
        ("index.md", "[e](examples)", "e"),
        ("index.md", "[c](CONTRIBUTING.md)", "[c](contributing.md)"),
        ("reduction/README.md", "[s](../streaming.md)", "[s](../streaming.md)"),
        ("python.md", "[r](../README.md#subscribe)", "[r](index.md#subscribe)"),
        ("conventions.md", "[n](nowhere.md)", "[n](nowhere.md)"),
        ("index.md", "[o](https://example.com/)", "[o](https://example.com/)"),
    ],
)
def test_links_fit_the_site(here: str, link: str, expected: str) -> None:
    of_site = {"wire.md", "preview.png", "contributing.md", "streaming.md", "index.md"}
    assert with_site_links(link, here, of_site) == expected
