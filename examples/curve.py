"""A loss curve as a PNG, without an image library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

WIDTH, HEIGHT, EDGE = 720, 360, 56
BLACK, RED, BLUE = (0, 0, 0), (255, 0, 0), (0, 0, 255)
GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717",
    "6": "74757", "7": "71111", "8": "75757", "9": "75717", ".": "00002",
}  # fmt: skip
"""3 by 5 points: one octal digit a row, its bits from left to right"""
Colour = tuple[int, int, int]


def draw_curve(path: Path, losses: Sequence[float], floor: float) -> None:
    """Losses over steps in blue, the unigram entropy in red; numbers at the axes: steps below, nats
    per code at the side."""
    pixels = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    top, last = 1.05 * max(*losses, floor) or 1.0, max(1, len(losses) - 1)

    def place(step: float, loss: float) -> tuple[float, float]:
        return EDGE + step / last * (WIDTH - 2 * EDGE), HEIGHT - EDGE - loss / top * (
            HEIGHT - 2 * EDGE
        )

    line(pixels, [place(0, top), place(0, 0), place(last, 0)], BLACK)
    line(pixels, [place(0, floor), place(last, floor)], RED)
    line(pixels, [place(step, loss) for step, loss in enumerate(losses)], BLUE)
    for step, loss, value, colour in (
        (0, top, top, BLACK),
        (0, 0, 0.0, BLACK),
        (0, floor, floor, RED),
    ):
        write(pixels, f"{value:.2f}", 4, round(place(step, loss)[1]) - 5, colour)
    write(
        pixels, f"{losses[-1]:.2f}", WIDTH - EDGE + 4, round(place(last, losses[-1])[1]) - 5, BLUE
    )
    write(pixels, str(len(losses)), WIDTH - EDGE - 16, HEIGHT - EDGE + 8, BLACK)
    path.write_bytes(png(pixels))


def line(pixels: np.ndarray, points: Sequence[tuple[float, float]], colour: Colour) -> None:
    """Straight lines from point to point, `(x, y)` in pixels."""
    for (x, y), (to_x, to_y) in pairwise(points):
        count = 1 + int(max(abs(to_x - x), abs(to_y - y)))
        across, down = (
            np.rint(np.linspace(*ends, count + 1)).astype(int) for ends in ((x, to_x), (y, to_y))
        )
        pixels[down, across] = colour


def write(pixels: np.ndarray, number: str, x: int, y: int, colour: Colour) -> None:
    """Digits of twice three by five pixels."""
    for letter in number:
        bits = np.array(
            [[int(row) >> shift & 1 for shift in (2, 1, 0)] for row in GLYPHS[letter]], bool
        )
        pixels[y : y + 10, x : x + 6][bits.repeat(2, 0).repeat(2, 1)] = colour
        x += 8


def png(pixels: np.ndarray) -> bytes:
    """uint8 `[rows, columns, 3]` as a PNG file."""
    rows, columns, _ = pixels.shape
    # Each row is preceded by its filter, 0: none.
    raw = np.concatenate(
        [np.zeros((rows, 1), np.uint8), pixels.reshape(rows, -1)], axis=1
    ).tobytes()
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )
