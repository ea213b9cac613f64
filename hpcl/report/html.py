"""Numbers as words, and the few HTML elements of which the page is made."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

MOST_ROWS = 60
"""Longer tables are cut on the page; the CSV files hold them whole."""

NONE = "–"


def fixed(value: float | None, digits: int = 3) -> str:
    """A number with a fixed count of decimals and a true minus sign.

    >>> fixed(-0.1234), fixed(None)
    ('−0.123', '–')
    """
    if value is None or math.isnan(value):
        return NONE
    return f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign, for differences.

    >>> signed(0.25), signed(-0.25), signed(float("nan"))
    ('+0.250', '−0.250', '–')
    """
    return f"+{fixed(value, digits)}" if value is not None and value >= 0 else fixed(value, digits)


def short(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits, never in powers of ten.

    >>> short(1234567.0), short(0.012345), short(12.3456)
    ('1,230,000', '0.0123', '12.3')
    """
    if value is None or math.isnan(value):
        return NONE
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):,.{max(decimals, 0)}f}".replace("-", "−")


def interval(bounds: Sequence[float | None] | None, digits: int = 3) -> str:
    """``[low, high]`` with a blank before it; nothing where there is none."""
    low, high = bounds or (None, None)
    return "" if low is None or high is None else f" [{fixed(low, digits)}, {fixed(high, digits)}]"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent."""
    return NONE if value is None else f"{fixed(value * 100, digits)} %"


def counted(number: int, thing: str) -> str:
    """``1 block``, ``2 blocks``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([*([", ".join(words[:-1])] if words[:-1] else []), *words[-1:]])


def spanned(values: Sequence[float], digits: int = 2) -> str:
    """From the lowest to the highest of several numbers; one number where they look alike.

    >>> spanned([0.43, 0.51, 0.47]), spanned([0.451, 0.452])
    ('0.43 to 0.51', '0.45')
    """
    low, high = fixed(min(values), digits), fixed(max(values), digits)
    return low if low == high else f"{low} to {high}"


def worded(point: str) -> str:
    """An operating point as words.

    >>> worded("best_iou"), worded("misses_one_in 10"), worded("precision 0.8")
    ('best IoU', 'misses one in 10', 'precision 0.8')
    """
    return point.replace("_", " ").replace("iou", "IoU")


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; ``body`` is HTML."""

    key: str
    title: str
    body: Sequence[str]
    subsections: Sequence[Section] = ()


def paragraph(text: str, kind: str = "") -> str:
    """Text, escaped; ``kind`` is its CSS class."""
    return f"<p{css_class(kind)}>{escape(text)}</p>"


def css_class(kind: str) -> str:
    """The attribute of an element of this kind, if it has one."""
    return f' class="{kind}"' if kind else ""


def bullets(items: Sequence[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def callout(title: str, text: str, kind: str) -> str:
    """What a reader must not miss, set apart."""
    return f'<aside class="callout {kind}"><p><strong>{escape(title)}</strong> {escape(text)}</p></aside>'


def table_html(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1, note: str = "") -> str:
    """A table whose first ``words`` columns are words; the others are numbers and stand flush right."""

    def cells(tag: str, row: Sequence[str]) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(
            f"<{tag}{scope}{css_class('' if i < words else 'n')}>{escape(c)}</{tag}>" for i, c in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        note = f"The first {MOST_ROWS} of {len(rows)} rows. {note}".strip()
    foot = paragraph(note, "note") if note else ""
    return (
        f'<div class="table"><table><caption>{escape(caption)}</caption><thead><tr>{cells("th", head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{foot}"
    )


def fact_list(caption: str, rows: Sequence[tuple[str, str]]) -> str:
    """A list of names and what they are, as a table of words."""
    body = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in rows)
    return f'<div class="table"><table class="facts"><caption>{escape(caption)}</caption><tbody>{body}</tbody></table></div>'


def details(summary: str, body: str) -> str:
    """HTML that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


class Plates:
    """Figures by file name; a name that was not drawn gives nothing."""

    def __init__(self, figures: Mapping[str, bytes]) -> None:
        self._figures = figures

    def one(self, name: str, alt: str, caption: str, kind: str = "") -> str:
        """One figure with its words. A click lays it over the page in full size, without a script and without a second copy: it is
        the summary of details that hold nothing, and the style sheet spreads it while they are open. They keep their room, so
        that the page does not move."""
        if name not in self._figures:
            return ""
        png = self._figures[name]
        width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # the PNG header says so
        data = base64.b64encode(png).decode("ascii")
        return (
            f'<figure{css_class(kind)}><details class="plate" style="aspect-ratio: {width} / {height}"><summary>'
            f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{escape(alt)}">'
            f"</summary></details><figcaption>{escape(caption)}</figcaption></figure>"
        )

    @staticmethod
    def row(*plates: str) -> str:
        """Figures side by side."""
        drawn = [plate for plate in plates if plate]
        return f'<div class="plates">{"".join(drawn)}</div>' if drawn else ""


def section_html(section: Section, level: int) -> str:
    """A section and those under it."""
    inner = "\n".join(part for part in section.body if part)
    below = "\n".join(section_html(part, level + 1) for part in section.subsections)
    return f'<section id="{section.key}">\n<h{level}>{escape(section.title)}</h{level}>\n{inner}\n{below}\n</section>'


def contents(sections: Sequence[Section]) -> str:
    """The list of sections, with links."""
    entries = "".join(f'<li><a href="#{section.key}">{escape(section.title)}</a></li>' for section in sections)
    return f'<nav aria-label="Contents"><p>On this page</p><ol>{entries}</ol></nav>'
