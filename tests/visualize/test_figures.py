"""Confusion matrices and training curves."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from kerapose import visualize


def test_confusion_matrix_is_normalised_by_row():
    figure = visualize.confusion_matrix_figure([[6, 2, 0], [0, 5, 5], [0, 0, 0]], ["walk", "run", "jump"])
    axes = figure.axes[0]
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares[:2], [[0.75, 0.25, 0], [0, 0.5, 0.5]])
    assert np.ma.getmaskarray(np.ma.masked_invalid(shares))[2].all()  # no clips, no shares
    written = {tuple(int(value) for value in text.get_position()[::-1]): text.get_text() for text in axes.texts}
    assert {(text.get_ha(), text.get_va()) for text in axes.texts} == {("center", "center")}  # of their cells
    assert written == {(0, 0): "75", (0, 1): "25", (1, 1): "50", (1, 2): "50"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["walk", "run", "jump"]
    assert axes.get_title() == "top-1 61.1%, mean class 62.5%"
    image = visualize.figure_to_image(figure)
    assert image.dtype == np.uint8
    assert image.min() < 100  # dark cells are there


def test_figures_grow_with_what_they_show_in_pixels_of_one_size():
    matrices = [visualize.confusion_matrix_figure(np.eye(count), list(map(str, range(count)))) for count in (2, 20, 60)]
    curves = [visualize.curves_figure({str(i): [1.0] for i in range(count)}) for count in (1, 3)]
    assert {figure.dpi for figure in (*matrices, *curves)} == {120}
    assert [figure.get_size_inches().tolist() for figure in matrices] == [[side] * 2 for side in (3.84, 11.4, 14.4)]
    assert [figure.get_size_inches().tolist() for figure in curves] == [[4.4, 3.2], [3 * 4.4, 3.2]]


def test_confusion_matrix_without_a_single_clip():
    assert visualize.confusion_matrix_figure(np.zeros((2, 2)), ["a", "b"]).axes[0].get_title() == "no clips"


@pytest.mark.parametrize("count", [14, 60])
def test_class_names_do_not_run_into_one_another(count):
    names = [f"put something on {index}" for index in range(count)]
    figure = visualize.confusion_matrix_figure(np.eye(count) * 10, names)
    image = visualize.figure_to_image(figure)
    axes = figure.axes[0]
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 - 1 for above, below in itertools.pairwise(boxes))
    assert min(box.height for box in boxes) >= 8  # pixels
    boxes += [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= image.shape[1] for box in boxes)


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        (np.ones((2, 3)), ["a", "b"], r"must be square, true by predicted class, got \(2, 3\)"),
        (np.ones((0, 0)), [], "must be square"),
        ([[1, -1], [0, 1]], ["a", "b"], "counts of 0 or more"),
        ([[1, np.nan], [0, 1]], ["a", "b"], "counts of 0 or more"),
        (np.eye(2), ["a"], "class_names must be 2, one per class, got 1"),
    ],
)
def test_confusion_matrix_refuses(matrix, names, message):
    with pytest.raises(ValueError, match=message):
        visualize.confusion_matrix_figure(matrix, names)


def test_curves_go_together_by_quantity():
    history = {"loss": [3.0, 2.0, 1.0], "accuracy": [0.2, 0.4, 0.6], "val_loss": [3.0, 2.5], "learning_rate": [0.1] * 3}
    figure = visualize.curves_figure(history)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    train, validation = figure.axes[0].lines
    assert list(train.get_xdata()) == [1, 2, 3]
    assert list(train.get_ydata()) == [3.0, 2.0, 1.0]
    assert list(validation.get_ydata()) == [3.0, 2.5]
    assert validation.get_linestyle() == "--"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["train", "validation"]
    assert figure.axes[1].get_legend() is None
    assert len(figure.axes[1].lines) == 1


def test_one_epoch_shows_as_a_point():
    line = visualize.curves_figure({"loss": [1.0]}).axes[0].lines[0]
    assert line.get_marker() == "o"


@pytest.mark.parametrize("history", [{}, {"loss": []}])
def test_curves_refuse_an_empty_history(history):
    with pytest.raises(ValueError, match="at least one value, got none"):
        visualize.curves_figure(history)


def test_figure_to_image_has_the_size_and_colour_of_the_figure():
    image = visualize.figure_to_image(Figure(figsize=(4, 3), dpi=50, facecolor=(1, 0.5, 0)))
    assert image.shape == (150, 200, 3)
    assert image.dtype == np.uint8
    assert image[75, 100].tolist()[0] == 255
    assert image[75, 100].tolist()[2] == 0
    assert image.flags["OWNDATA"]


def test_nothing_is_left_in_pyplot():
    from matplotlib import pyplot

    visualize.figure_to_image(visualize.curves_figure({"loss": [1.0, 0.5]}))
    assert pyplot.get_fignums() == []
