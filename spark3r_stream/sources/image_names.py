"""Which files of a folder are the frames, in which order, and what is left: decided by names and a look at a header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from PIL import Image, features

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"}
    | ({".avif"} if features.check("avif") else set())
)
# Pictures to their owner, but not to us: worth a word when they are left out.
UNREAD_SUFFIXES = (
    frozenset(
        {
            ".heic",
            ".heif",
            ".avif",
            ".jxl",
            ".exr",
            ".hdr",
            ".pfm",
            ".gif",
            ".dng",
            ".cr2",
            ".cr3",
            ".nef",
            ".arw",
            ".raf",
        }
        | {".orf", ".rw2"}
    )
    - IMAGE_SUFFIXES
)
# A word of a name that says that its pixels are no photograph.
_OTHER_WORDS = re.compile(
    r"(?<![a-z])(?:depths?|disp(?:arity)?|normals?|masks?|labels?|semantics?|instances?|confidence|conf|flow)(?![a-z])"
)
_NUMBER = re.compile(r"(\d+)(?:\.(\d+))?")
_MAX_GROUPS_TOLD = 4

Key = tuple[tuple[int, int | Fraction | str], ...]


@dataclass(frozen=True)
class FolderImages:
    """taken: the frames in order. notes: one line that says what was taken and what was left, if anything was."""

    taken: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def natural_key(name: str, fractions: bool = False) -> Key:
    """Sort key that puts frame9 before frame10: digits compare as numbers, the rest as lower-case text.

    fractions: digits behind a decimal point are a fraction, so that 7.05 comes before 7.1.
    """
    if not fractions:
        parts = re.split(r"(\d+)", name)
        return tuple((0, int(part)) if part.isdecimal() else (1, part.lower()) for part in parts if part)
    key: list[tuple[int, int | Fraction | str]] = []
    end = 0
    for match in _NUMBER.finditer(name):
        if match.start() > end:
            key.append((1, name[end : match.start()].lower()))
        whole, behind = match[1], match[2] or ""
        key.append((0, Fraction(int(whole + behind), 10 ** len(behind))))
        end = match.end()
    return (*key, (1, name[end:].lower())) if end < len(name) else tuple(key)


def in_order(paths: Sequence[Path]) -> list[Path]:
    """Paths by the numbers in their names.

    Digits behind a decimal point are a fraction (1700000000.05 comes before 1700000000.1), unless that makes two names
    equal: then they count (shot1.1 to shot1.10).
    """
    stems = [path.stem for path in paths]
    fractions = len({natural_key(stem, True) for stem in stems}) == len({natural_key(stem) for stem in stems})
    return sorted(paths, key=lambda p: (natural_key(p.stem, fractions), natural_key(p.name), p.name))


def choose_images(folder: Path) -> FolderImages:
    """The frames among the files of `folder` (not of its sub-folders); hidden files are left out.

    Depth images, masks and the like are left out where there are photographs: by the words of their names (7-Scenes,
    Replica), or because they are 16-bit or float grey among files of another kind. Raises OSError for the folder.
    """
    files = [p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file()]
    images = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
    unread = Counter(p.suffix.lower() for p in files if p.suffix.lower() in UNREAD_SUFFIXES)
    groups: dict[str, list[Path]] = {}
    for path in images:
        groups.setdefault(_pattern(path), []).append(path)
    other = {pattern for pattern in groups if _OTHER_WORDS.search(pattern)}
    if len(groups) - len(other) != 1 and len(other) < len(groups):
        other |= {p for p, paths in groups.items() if p not in other and len(paths) > 1 and _is_wide_grey(min(paths))}
    if len(other) == len(groups):  # nothing else to be had
        other = set()
    taken = {p: paths for p, paths in groups.items() if p not in other}
    left = [f"{len(groups[p])} of {p}, which are no photographs" for p in sorted(other)]
    left += [f"{count} {suffix[1:].upper()}, which cannot be read here" for suffix, count in sorted(unread.items())]
    notes: tuple[str, ...] = ()
    if left or len(taken) > 1:
        largest = sorted(taken.items(), key=lambda item: -len(item[1]))
        told = [f"{len(paths)} of {p}" for p, paths in largest[:_MAX_GROUPS_TOLD]]
        if len(largest) > _MAX_GROUPS_TOLD:
            told.append(f"{sum(len(paths) for _, paths in largest[_MAX_GROUPS_TOLD:])} of other names")
        text = f"{folder}: taken {', '.join(told) or 'nothing'}"
        notes = (f"{text}; left {', '.join(left)}" if left else f"{text}, in one order",)
    return FolderImages(tuple(in_order([path for paths in taken.values() for path in paths])), notes)


def _pattern(path: Path) -> str:
    """A name with its numbers left out: what the files of one kind have in common."""
    return f"{re.sub(r'[0-9]+(?:[.][0-9]+)?', '#', path.stem).lower()}{path.suffix.lower()}"


def _is_wide_grey(path: Path) -> bool:
    """Whether an image has grey pixels of more than 8 bits: depth, as a rule."""
    try:
        with Image.open(path) as image:
            return image.mode == "F" or image.mode.startswith("I")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
