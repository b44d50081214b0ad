"""A hook of MkDocs (mkdocs.yml): pages that lie outside of docs/ become pages of the site, and links are made to fit.

The pages are written to be read in the repository. On the site a link to one of its pages leads there, and a link to a
file of the repository that is no page becomes its text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BROUGHT_IN = {  # page of the site: file of the repository
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "conventions.md": "spark3r_core/geometry/README.md",
    "photometric.md": "spark3r_core/photometric/README.md",
}
_SITE_PAGE = {source: page for page, source in BROUGHT_IN.items()}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    for page, source in BROUGHT_IN.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    here = page.file.src_uri
    return with_site_links(markdown, here, {file.src_uri for file in files})


def with_site_links(markdown: str, here: str, of_site: set[str]) -> str:
    """here: the page, and of_site: all files of the site, relative to docs/."""
    folder = posixpath.dirname(BROUGHT_IN.get(here, f"docs/{here}"))

    def fitted(link: re.Match[str]) -> str:
        picture, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        place = _SITE_PAGE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        if place not in of_site:
            if not (ROOT / path).exists():
                return link[0]  # MkDocs complains of it
            return text
        return f"{picture}[{text}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor})"

    return _LINK.sub(fitted, markdown)
