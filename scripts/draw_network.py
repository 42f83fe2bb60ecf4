"""Draw the two stages of ConDSeg, for the README: ``python scripts/draw_network.py`` writes docs/images/condseg.svg."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "condseg.svg"
WIDTH, HEIGHT = 1120, 604
INK, GREY, PAPER = "#1d2733", "#6b7785", "#ffffff"
# Okabe and Ito's colours, lightened: distinguishable to colour-blind people, and dark text stays readable on them
IMAGE, ENCODER, REGION, CONTRAST, DECODER, LOSS = "#e8ecf1", "#bcd9ec", "#f3d9a4", "#c7e3d4", "#ecc9dc", "#fdf6e3"


class Drawing:
    """Boxes with words and arrows between points, in the order in which they are drawn."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, size: int = 14, color: str = INK, weight: str = "normal") -> None:
        """Write centred lines around a point."""
        lines = words.split("\n")
        for number, line in enumerate(lines):
            top = y + (number - (len(lines) - 1) / 2) * (size + 4)
            self.parts.append(
                f'<text x="{x:g}" y="{top:g}" font-size="{size}" fill="{color}" font-weight="{weight}" '
                f'text-anchor="middle" dominant-baseline="central">{escape(line)}</text>'
            )

    def box(self, x: float, y: float, width: float, height: float, words: str, fill: str, size: int = 14) -> None:
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
    drawing.text(188, 22, "Stage 1: Consistency Reinforcement", 16, weight="bold")
    for y, words in ((44, "image"), (112, "recoloured,\nblurred")):
        drawing.box(30, y, 110, 48, words, IMAGE)
        drawing.arrow((140, y + 24), (250, y + 24))
        drawing.arrow((390, y + 24), (500, y + 24))
        drawing.arrow((590, y + 24), (680, y + 24))
        drawing.box(500, y, 90, 48, "head", DECODER)
        drawing.box(680, y, 120, 48, "mask", IMAGE)
        drawing.arrow((800, y + 24), (880, y + 24))
        drawing.box(880, y, 210, 48, "BCE + Dice\nagainst the label (Eq. 4)", LOSS, 13)
    drawing.arrow((85, 92), (85, 112))
    drawing.box(250, 44, 140, 116, "encoder", ENCODER)
    drawing.arrow((740, 92), (740, 112))
    drawing.arrow((740, 112), (740, 92))
    drawing.text(848, 102, "must agree (Eq. 6)", 12, GREY)


def _draw_stage2(drawing: Drawing) -> None:
    drawing.text(60, 206, "Stage 2", 16, weight="bold")
    drawing.arrow((320, 160), (320, 236), dashed=True)
    drawing.text(400, 196, "starts from its weights", 12, GREY)
    drawing.box(30, 232, 110, 48, "image", IMAGE)
    drawing.arrow((140, 256), (190, 256))
    rows = [236 + 62 * level for level in range(4)]
    for level, y in enumerate(rows):
        drawing.box(190, y, 200 - 30 * level, 40, f"f{level + 1}, stride {2 ** (level + 1)}", ENCODER, 13)
        if level:
            drawing.arrow((250, y - 22), (250, y))
        drawing.arrow((390 - 30 * level, y + 20), (610, y + 20))
        drawing.box(610, y, 150, 40, "CDFA", CONTRAST)
        if level < 3:
            drawing.arrow((640, y + 62), (640, y + 40))
    drawing.text(500, rows[0] + 9, "pre-enhancement", 12, GREY)

    drawing.arrow((245, rows[3] + 40), (245, 524), (300, 524))
    drawing.box(300, 482, 180, 96, "Semantic Information\nDecoupling (SID)", REGION)
    for y, words in ((478, "foreground"), (516, "background"), (554, "uncertainty")):
        drawing.box(540, y, 110, 30, words, REGION, 13)
        drawing.arrow((480, y + 15), (540, y + 15))
    drawing.arrow((650, 493), (722, 493), (722, rows[3] + 40))
    drawing.arrow((650, 531), (742, 531), (742, rows[3] + 40))
    drawing.text(860, 492, "contrast of foreground and\nbackground guides every CDFA", 12, GREY)
    drawing.text(800, 569, "complementary: sum to 1, overlap little\n(Eq. 8 to 10); heads in training only", 12, GREY)

    for number, (words, y) in enumerate((("small", 267), ("medium", 329), ("large", 391))):
        drawing.box(850, y - 20, 110, 40, words, DECODER)
        for level in (number, number + 1):
            drawing.arrow((760, rows[level] + 20), (850, y - 8 if level == number else y + 8))
        drawing.arrow((960, y), (1000, 329 + (y - 329) / 4))
    drawing.text(905, 226, "Size-Aware Decoders", 13, weight="bold")
    drawing.box(1000, 299, 90, 60, "mask", IMAGE)


if __name__ == "__main__":
    TARGET.write_text(draw_network(), encoding="utf-8")
    print(TARGET)
