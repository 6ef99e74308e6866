"""What the pictures share: rows of panels, charts, and files that are small."""

import io
import pathlib

import cv2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from kerapose import visualize
from kerapose.files import write_whole
from kerapose.visualize.panels import BACKGROUND, captioned

DOCS = pathlib.Path(__file__).resolve().parents[1]
FOLDER, STATIC = DOCS / "pictures", DOCS / "static"
WIDTH = 1400  # pixels of the widest pictures
MOST_BYTES = 300_000
PHOTOS = ("overview", "people", "poses", "predict", "video")  # with frames of images in them: JPEG
GAP = 8
INK, GRID, PALE = "#33405c", "#e6e9f0", "#9aa3b8"
COLORS = ("#2f6fde", "#e8743b", "#2a9d8f", "#8a5cd1", "#c2456b", "#8d7b3c")


class MissingError(Exception):
    """What a picture is drawn of is not there; the message says which command makes it."""


def save(name, drawn):
    """Writes a picture, RGB uint8 [H, W, 3], as PNG, or as JPEG if it has frames of images in it; smaller if need be.

    What is bytes is an `.npz` file for a page. Returns its path.
    """
    if isinstance(drawn, bytes):
        path = STATIC / f"{name}.npz"
        write_whole(path, drawn)
        return path
    image = Image.fromarray(np.ascontiguousarray(of_width(drawn) if drawn.shape[1] > WIDTH else drawn))
    path = path_of(name)
    encode = _jpeg if path.suffix == ".jpg" else _png
    content = encode(image)
    while len(content) > MOST_BYTES:
        image = image.resize((int(image.width * 0.9), int(image.height * 0.9)), Image.Resampling.LANCZOS)
        content = encode(image)
    write_whole(path, content)
    return path


def path_of(name):
    return FOLDER / f"{name}.{'jpg' if name in PHOTOS else 'png'}"


def _png(image):
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    if file.tell() > MOST_BYTES:  # with a table of colours
        file = io.BytesIO()
        image.quantize(256, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


def _jpeg(image):
    file = io.BytesIO()
    image.save(file, "jpeg", quality=88, optimize=True)
    return file.getvalue()


def of_width(row, width=WIDTH):
    """A row of panels brought to the pictures' width."""
    height = round(row.shape[0] * width / row.shape[1])
    method = cv2.INTER_AREA if width < row.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(row, (width, height), interpolation=method)


def column(rows, width=WIDTH):
    """Rows below each other, brought to one width."""
    gap = np.full((GAP, width, 3), 255, np.uint8)
    pieces = [piece for row in rows for piece in (gap, of_width(row, width))]
    return np.concatenate(pieces[1:])


def sheet(panels, captions, columns):
    """Panels of one size in rows, each with its caption."""
    drawn = [captioned(panel.copy(), caption) for panel, caption in zip(panels, captions, strict=True)]
    return visualize.contact_sheet(drawn, columns=columns, gap_px=GAP)


def blank(height, width):
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def chart(width_in, height_in, rows=1, columns=1, **options):
    """A white figure and its axes, each with light lines and no frame: what a chart of numbers is drawn in."""
    figure = Figure(figsize=(width_in, height_in), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for each in axes.flat:
        each.grid(color=GRID)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(colors=INK, length=0)
    return figure, axes


def rendered(figure):
    return visualize.figure_to_image(figure)
