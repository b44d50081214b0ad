"""What others wrote is printed on one line and obeyed by no terminal."""

from __future__ import annotations

import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark3r_stream.cli import main as command_line
from spark3r_stream.errors import StreamError
from spark3r_stream.plain_text import cleaned, without_nan


@given(st.text(max_size=60))
def test_whatever_it_is_it_is_one_harmless_line(text: str) -> None:
    line = cleaned(text)
    assert len(line.splitlines()) <= 1
    assert line.isprintable() or not line
    line.encode()  # no surrogates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("küche 厨房.mp4", "küche 厨房.mp4"),
        ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
        ("a\nspark3r: all is well\r", "a\\nspark3r: all is well\\r"),
        ("gnp.\u202eexe", "gnp.\\u202eexe"),
        ("name\udcff", "name\\udcff"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_escapes_are_written_out(text: str, expected: str) -> None:
    assert cleaned(text) == expected


def test_a_long_text_is_cut_and_says_so() -> None:
    assert cleaned("x" * 1000) == "x" * 400 + "… (1000 characters)"


def test_json_has_no_nan() -> None:
    value = without_nan({"a": [math.nan, (1.5, -math.inf)], 3: {"b": "NaN"}})
    assert json.loads(json.dumps(value, allow_nan=False)) == {"a": [None, [1.5, None]], "3": {"b": "NaN"}}


def test_an_error_with_escapes_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(**_: object) -> int:
        raise StreamError("no \x1b[2Jcodec\nspark3r: done")

    monkeypatch.setattr(sys, "argv", ["spark3r", "doctor"])
    monkeypatch.setattr(command_line.app, "cli", fail)
    with pytest.raises(SystemExit):
        command_line.main()
    assert capfd.readouterr().err == "spark3r: error: no \\x1b[2Jcodec\\nspark3r: done\n"
