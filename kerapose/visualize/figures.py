"""Figures of matplotlib: confusion matrices and training curves."""

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kerapose.types import Array


def confusion_matrix_figure(matrix: Array, class_names: list[str]) -> Figure:
    """Draws a confusion matrix, each row as shares of its class, with the accuracies in the title.

    Args:
        matrix: counts `[C, C]`, true class by predicted class.
        class_names: C names.

    Returns:
        A Figure that grows with C; up to 20 classes the shares are also written out, in percent. A class without clips
        has a grey row and does not count in the mean class accuracy.

    Raises:
        ValueError: when the matrix is not square, holds negative or non-finite counts, or the names do not fit.

    Example:
        >>> from kerapose import visualize
        >>> figure = visualize.confusion_matrix_figure([[9, 1], [2, 8]], ["walk", "run"])
        >>> figure.axes[0].get_title()
        'top-1 85.0%, mean class 85.0%'
        >>> figure.savefig("confusion.png")
    """
    matrix = np.asarray(matrix, np.float64)
    _check_confusion(matrix, class_names)
    count = len(matrix)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.full_like(matrix, np.nan), where=totals > 0)

    inner = 0.42 * count if count <= 20 else min(0.19 * count, 18.0)  # inches for the cells alone
    font = 9 if count <= 20 else min(6.5, 45 * inner / count)
    figure = Figure(figsize=(inner + 3, inner + 3), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    colors = matplotlib.colormaps["Blues"].with_extremes(bad="#ececec")
    axes.imshow(shares, cmap=colors, norm=PowerNorm(0.5, vmin=0, vmax=1))  # the root makes rare confusions visible
    axes.set_xticks(range(count), class_names, rotation=90, fontsize=font)
    axes.set_yticks(range(count), class_names, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(_accuracies(matrix, totals), fontsize=font + 2)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(1, count) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, count) - 0.5, minor=True)
    axes.grid(which="minor", color="#e6e9f0", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    if count <= 20:
        _write_shares(axes, shares)
    return figure


def curves_figure(history: dict[str, list[float]]) -> Figure:
    """Draws training curves: one panel for each quantity, the training curve solid and the validation curve dashed.

    Args:
        history: values by epoch, as `keras.callbacks.History.history` has them: "val_loss" is drawn with "loss".

    Returns:
        A Figure with the panels side by side.

    Raises:
        ValueError: when there is nothing to draw.

    Example:
        >>> from kerapose import visualize
        >>> figure = visualize.curves_figure({"loss": [2.1, 1.2], "val_loss": [2.0, 1.5], "accuracy": [0.3, 0.6]})
        >>> [axes.get_title() for axes in figure.axes]
        ['loss', 'accuracy']
    """
    if not any(len(values) for values in history.values()):
        raise ValueError("history must hold at least one value, got none; train for an epoch first.")
    quantities = list(dict.fromkeys(name.removeprefix("val_") for name in history))
    figure = Figure(figsize=(4.4 * len(quantities), 3.2), dpi=120, layout="constrained")
    for axes, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
        styles = (("train", quantity, "#2f6fde", "-"), ("validation", f"val_{quantity}", "#e8743b", "--"))
        for label, name, color, line in styles:
            values = history.get(name, [])
            if len(values):
                epochs = range(1, len(values) + 1)
                marker = "o" if len(values) == 1 else None  # a line through one point would not be seen
                axes.plot(epochs, values, color=color, linestyle=line, linewidth=1.8, marker=marker, label=label)
        axes.set_title(quantity.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#e6e9f0")
        axes.spines[["top", "right"]].set_visible(False)
        if f"val_{quantity}" in history:
            axes.legend(frameon=False)
    return figure


def figure_to_image(figure: Figure) -> Array:
    """Renders a figure.

    Args:
        figure: any matplotlib Figure.

    Returns:
        RGB uint8 `[H, W, 3]`, H and W being the figure's size in inches times its dpi.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from kerapose import visualize
        >>> visualize.figure_to_image(Figure(figsize=(4, 3), dpi=100)).shape
        (300, 400, 3)
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _accuracies(matrix, totals):
    if not totals.sum():
        return "no clips"
    per_class = np.diag(matrix)[totals[:, 0] > 0] / totals[totals > 0]
    return f"top-1 {matrix.trace() / matrix.sum():.1%}, mean class {per_class.mean():.1%}"


def _write_shares(axes, shares):
    for row, column in np.argwhere(shares >= 0.005):  # what would read 0 is left out
        share = shares[row, column]
        color = "white" if share > 0.3 else "#33405c"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=color, fontsize=8)


def _check_confusion(matrix, class_names):
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"a confusion matrix must be square, true by predicted class, got {matrix.shape}.")
    if not np.isfinite(matrix).all() or matrix.min() < 0:
        raise ValueError("a confusion matrix must hold counts of 0 or more, got negative or non-finite ones.")
    if len(class_names) != len(matrix):
        raise ValueError(f"class_names must be {len(matrix)}, one per class, got {len(class_names)}.")
