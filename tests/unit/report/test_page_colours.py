"""The colours of the pages: text is readable on what it stands on, in the light and in the dark."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from pages import TEMPLATES

STYLE = (TEMPLATES / "style.css").read_text()
# Text, and what it stands on.
TEXTS = [
    *((text, ground) for text in ("text", "quiet", "link") for ground in ("page", "card")),
    ("text", "code"),
    *((f"{tone}-text", f"{tone}-band") for tone in ("ok", "warn", "bad", "info")),
]
# Shapes, and what they stand on.
SHAPES = [
    *((tone, "card") for tone in ("ok", "warn", "bad", "kept")),
    *((tone, f"{tone}-band") for tone in ("ok", "warn", "bad", "info")),
]


def themes() -> dict[str, dict[str, str]]:
    """Return the colours by their names, of the light, the dark and the printed page."""
    found = re.findall(r":root \{(.*?)\}", STYLE, re.S)
    names = ("light", "dark", "print")
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", colours))
        for name, colours in zip(names, found, strict=True)
    }


def contrast(one: str, other: str) -> float:
    """Return the ratio of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at:end], 16) / 255 for at, end in pairwise((1, 3, 5, 7))]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(p * weight for p, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_definition() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_is_readable_and_shapes_can_be_seen(theme: str) -> None:
    colours = themes()[theme]
    pale = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in TEXTS}
    assert {pair: ratio for pair, ratio in pale.items() if ratio < 4.5} == {}
    pale = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in SHAPES}
    assert {pair: ratio for pair, ratio in pale.items() if ratio < 3} == {}


def test_every_theme_has_every_colour_and_each_is_named_once() -> None:
    light, dark, printed = themes().values()
    assert set(light) == set(dark) == set(printed)
    used = set(re.findall(r"var\(--([\w-]+)\)", STYLE))
    assert used == set(light)
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.S)
    assert re.findall(r"#[0-9a-f]{3,6}\b", rules) == []
