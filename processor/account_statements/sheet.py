"""Paper: text, numbers and rules at places on A4, in a font that comes along; what it lacks is seen to be missing."""

import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Final

from fpdf import FPDF
from fpdf.fonts import TTFFont

LEFT: Final = 18.0
RIGHT: Final = 192.0
GREY: Final = 80
LIGHT: Final = 170

_FONTS: Final = Path(__file__).parent / "fonts"
_FAMILY: Final = "DejaVuSansCondensed"
_REPLACED: Final = "□"


class Sheet:
    """Millimetres from the top left corner; a text's place is its base line."""

    def __init__(self, *, title: str, author: str, made_at: datetime) -> None:
        self._pdf = pdf = FPDF(format="A4")
        pdf.set_auto_page_break(auto=False)
        pdf.add_font(_FAMILY, "", _FONTS / f"{_FAMILY}.ttf")
        pdf.add_font(_FAMILY, "B", _FONTS / f"{_FAMILY}-Bold.ttf")
        font = pdf.fonts[_FAMILY.lower()]
        assert isinstance(font, TTFFont)
        self._known = frozenset(chr(code) for code in font.cmap)
        self.has_replaced = False
        pdf.set_title(self._shown(title))
        pdf.set_author(self._shown(author))
        pdf.set_producer("Florin")
        pdf.set_lang("en")
        pdf.set_creation_date(made_at)

    def add_page(self) -> None:
        """Another page."""
        self._pdf.add_page()

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        bold: bool = False,
        grey: int = 0,
        within: float | None = None,
    ) -> None:
        """Write from ``x`` on, in smaller letters if it would be wider than ``within``."""
        self._font(size if within is None else self.fitting(text, within, largest=size), bold)
        self._pdf.set_text_color(grey)
        self._pdf.text(x, y, self._shown(text))

    def right(self, x: float, y: float, text: str, *, size: float, bold: bool = False, grey: int = 0) -> None:
        """Write so that it ends at ``x``."""
        self.text(x - self.width(text, size, bold=bold), y, text, size=size, bold=bold, grey=grey)

    def width(self, text: str, size: float, *, bold: bool = False) -> float:
        """How wide it will be."""
        self._font(size, bold)
        return float(self._pdf.get_string_width(self._shown(text)))

    def fitting(self, text: str, width: float, *, largest: float) -> float:
        """The size in which bold text is no wider than that."""
        return min(largest, largest * width / max(self.width(text, largest, bold=True), 0.1))

    def wrapped(self, text: str, width: float, size: float) -> list[str]:
        """The text in lines of that width, broken between words, or within one that is too long for a line."""
        lines, line = [], ""
        for word in self._shown(text).split(" "):
            if self.width(longer := f"{line} {word}".strip(), size) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            line = ""
            for character in word:
                if self.width(line + character, size) > width:
                    lines.append(line)
                    line = ""
                line += character
        return [*lines, line] if line else lines

    def rule(self, y: float, *, weight: float, grey: int = 0) -> None:
        """A line over the whole width."""
        self._pdf.set_line_width(weight)
        self._pdf.set_draw_color(grey)
        self._pdf.line(LEFT, y, RIGHT, y)

    def upright(self, x: float, top: float, bottom: float) -> None:
        """A thin line downwards."""
        self._pdf.set_line_width(0.1)
        self._pdf.set_draw_color(LIGHT)
        self._pdf.line(x, top, x, bottom)

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """A thin frame."""
        self._pdf.set_line_width(0.2)
        self._pdf.set_draw_color(0)
        self._pdf.rect(x, y, width, height)

    def output(self) -> bytes:
        """The document."""
        return bytes(self._pdf.output())

    def _font(self, size: float, bold: bool) -> None:
        self._pdf.set_font(_FAMILY, "B" if bold else "", size)

    def _shown(self, text: str) -> str:
        """What the font can show of it. Spaces and line ends are one space; what it lacks is a box."""
        if text.isascii() and text.isprintable():
            return text
        shown = []
        for character in " ".join(unicodedata.normalize("NFC", text).split()):
            is_known = character in self._known
            self.has_replaced = self.has_replaced or not is_known
            shown.append(character if is_known else _REPLACED)
        return "".join(shown)
