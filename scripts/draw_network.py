"""Draw the two stages of ConDSeg, for the README: ``python scripts/draw_network.py`` writes docs/images/condseg.svg."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "condseg.svg"
WIDTH, HEIGHT = 910, 604
INK, GREY, PAPER = "#1d2733", "#6b7785", "#ffffff"
# Okabe and Ito's colours, lightened: distinguishable to colour-blind people, and dark text stays readable on them
IMAGE, ENCODER, REGION, CONTRAST, DECODER, LOSS = "#e8ecf1", "#bcd9ec", "#f3d9a4", "#c7e3d4", "#ecc9dc", "#fdf6e3"


class Drawing:
    """Boxes with words and arrows between points, in the order in which they are drawn."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, size: int = 15, color: str = INK, weight: str = "normal") -> None:
        """Write centred lines around a point."""
        lines = words.split("\n")
        for number, line in enumerate(lines):
            top = y + (number - (len(lines) - 1) / 2) * (size + 4)
            self.parts.append(
                f'<text x="{x:g}" y="{top:g}" font-size="{size}" fill="{color}" font-weight="{weight}" '
                f'text-anchor="middle" dominant-baseline="central">{escape(line)}</text>'
            )

    def box(self, x: float, y: float, width: float, height: float, words: str, fill: str, size: int = 15) -> None:
        """Draw a box around its words."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="{INK}" '
            'stroke-width="1.2"/>'
        )
        self.text(x + width / 2, y + height / 2, words, size)

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """Draw a line along points with a head at its end."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.4" marker-end="url(#head)"{dash}/>'
        )

    def svg(self) -> str:
        """The file's text."""
        head = (
            '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{INK}"/></marker>'
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                'font-family="Helvetica, Arial, sans-serif" role="img">',
                "<title>The two stages of ConDSeg</title>",
                f"<defs>{head}</defs>",
                f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


def draw_network() -> str:
    """Both stages, one below the other, as SVG."""
    drawing = Drawing()
    _draw_stage1(drawing)
    drawing.parts.append(f'<line x1="20" y1="182" x2="{WIDTH - 20}" y2="182" stroke="{GREY}" stroke-dasharray="2 5"/>')
    _draw_stage2(drawing)
    return drawing.svg()


def _draw_stage1(drawing: Drawing) -> None:
    drawing.text(166, 22, "Stage 1: Consistency Reinforcement", 17, weight="bold")
    for y, words in ((44, "image"), (112, "recoloured,\nblurred")):
        drawing.box(20, y, 100, 48, words, IMAGE)
        drawing.arrow((120, y + 24), (190, y + 24))
        drawing.arrow((310, y + 24), (380, y + 24))
        drawing.arrow((455, y + 24), (520, y + 24))
        drawing.box(380, y, 75, 48, "head", DECODER)
        drawing.box(520, y, 95, 48, "mask", IMAGE)
        drawing.arrow((615, y + 24), (680, y + 24))
        drawing.box(680, y, 210, 48, "BCE + Dice\nagainst the label (Eq. 4)", LOSS)
    drawing.arrow((70, 92), (70, 112))
    drawing.box(190, 44, 120, 116, "encoder", ENCODER)
    drawing.arrow((567, 92), (567, 112))
    drawing.arrow((567, 112), (567, 92))
    drawing.text(645, 102, "must agree (Eq. 6)", 14, GREY)


def _draw_stage2(drawing: Drawing) -> None:
    drawing.text(52, 208, "Stage 2", 17, weight="bold")
    drawing.arrow((250, 160), (250, 236), dashed=True)
    drawing.text(332, 200, "starts from its weights", 14, GREY)
    drawing.box(20, 232, 100, 48, "image", IMAGE)
    drawing.arrow((120, 256), (160, 256))
    rows = [236 + 62 * level for level in range(4)]
    for level, y in enumerate(rows):
        drawing.box(160, y, 190 - 25 * level, 40, f"f{level + 1}, stride {2 ** (level + 1)}", ENCODER)
        if level:
            drawing.arrow((215, y - 22), (215, y))
        drawing.arrow((350 - 25 * level, y + 20), (490, y + 20))
        drawing.box(490, y, 120, 40, "CDFA", CONTRAST)
        if level < 3:
            drawing.arrow((515, y + 62), (515, y + 40))
    drawing.text(420, rows[0] + 8, "pre-enhancement", 14, GREY)

    drawing.arrow((205, rows[3] + 40), (205, 524), (245, 524))
    drawing.box(245, 482, 175, 96, "Semantic Information\nDecoupling (SID)", REGION)
    for y, words in ((478, "foreground"), (516, "background"), (554, "uncertainty")):
        drawing.box(460, y, 105, 30, words, REGION)
        drawing.arrow((420, y + 15), (460, y + 15))
    drawing.arrow((565, 493), (582, 493), (582, rows[3] + 40))
    drawing.arrow((565, 531), (598, 531), (598, rows[3] + 40))
    drawing.text(748, 490, "contrast of foreground and\nbackground guides every CDFA", 14, GREY)
    drawing.text(738, 567, "complementary: sum to 1, overlap little\n(Eq. 8 to 10); heads in training only", 14, GREY)

    for number, (words, y) in enumerate((("small", 267), ("medium", 329), ("large", 391))):
        drawing.box(690, y - 20, 95, 40, words, DECODER)
        for level in (number, number + 1):
            drawing.arrow((610, rows[level] + 20), (690, y - 8 if level == number else y + 8))
        drawing.arrow((785, y), (820, 329 + (y - 329) / 4))
    drawing.text(738, 226, "Size-Aware Decoders", 14, weight="bold")
    drawing.box(820, 299, 70, 60, "mask", IMAGE)


if __name__ == "__main__":
    TARGET.write_text(draw_network(), encoding="utf-8")
    print(TARGET)
