"""Tables that are made of what the package says of itself, so that they cannot be out of date.

A directive for each; a page says where it stands, and what it is of:

    ```{presets} top-down pose      the published checkpoints of a task, `kerapose.presets`
    ```
    ```{variants}                   the classes and variants of `kerapose.models`, with their numbers of parameters
    ```

Parameters are counted by `python docs/extensions/tables.py`, which writes `docs/parameters.csv`: making all networks
takes longer than the pages do. A variant that is not in the file has no number, and a warning says so.
"""

import csv
import pathlib

from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

COUNTS = pathlib.Path(__file__).resolve().parents[1] / "parameters.csv"
JOINTS, CLASSES = 17, 60  # outputs of what is counted; a network of actions counts without its last layer
log = logging.getLogger(__name__)


def page_of(name):
    """A link to a class in the reference."""
    return f"{{py:obj}}`{name} <kerapose.models.{name}>`"


class Table(SphinxDirective):
    """A table out of `rows`, written in Markdown, as the page around it is."""

    has_content = True

    def run(self):
        head, *rows = self.rows()
        lines = [head, ["---"] * len(head), *rows]
        text = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
        return self.parse_text_to_nodes(text)


class Presets(Table):
    """The published checkpoints of one task."""

    required_arguments = 1
    final_argument_whitespace = True

    def rows(self):
        from kerapose import presets  # late: it takes seconds, and only this page needs it

        counts = read_counts()
        yield "name", "network", "million parameters", "data", "input", "published", "publisher", "licence"
        for name in presets.names(task=self.arguments[0]):
            known = presets.get(name)
            yield (
                f"`{name}`",
                f"{page_of(known.network)} `{known.variant}`",
                counts.get((known.network, known.variant), ""),
                known.data,
                " ".join(filter(None, [_size(known.size), known.kind])),
                known.figures,
                known.publisher.name,
                known.publisher.licence,
            )


class Publishers(Table):
    """Whose the checkpoints are, and how their figures were measured."""

    def rows(self):
        from kerapose import presets

        yield "publisher", "source", "checkpoints", "figures are"
        names = [presets.get(name) for name in presets.names()]
        for publisher in dict.fromkeys(known.publisher for known in names):
            count = sum(known.publisher == publisher for known in names)
            yield publisher.name, publisher.source, count, publisher.measured


class Variants(Table):
    """The classes of networks, their variants and the parameters of each."""

    def rows(self):
        counts = read_counts()
        yield "class", "variant", "million parameters", "changes against the class's defaults"
        for network, variants in networks().items():
            for place, (variant, arguments) in enumerate(variants.items()):
                if (network, variant) not in counts:
                    log.warning("%s %s has no number of parameters; run docs/extensions/tables.py", network, variant)
                changes = ", ".join(f"`{key}={value!r}`" for key, value in arguments.items())
                yield (
                    page_of(network) if place == 0 else "",
                    f"`{variant}`",
                    counts.get((network, variant), ""),
                    changes or "none",
                )


def networks():
    """{class: {variant: its arguments}}."""
    from kerapose import models

    return {name: getattr(models, name).VARIANTS for name in sorted(models.__all__)}


def read_counts():
    """{(class, variant): millions, as text}."""
    with open(COUNTS, newline="", encoding="utf-8") as file:
        return {(row["class"], row["variant"]): row["millions"] for row in csv.DictReader(file)}


def count(network, variant):
    """The trainable parameters of a variant: of actions without the last layer, else with 17 joints."""
    import keras
    import numpy as np

    from kerapose import models

    cls = getattr(models, network)
    outputs = {"num_joints": JOINTS} if "num_joints" in cls.argument_names() else {}
    if "num_classes" in cls.argument_names():  # some of which take joints, too
        outputs = {"num_classes": CLASSES}
    with keras.StatelessScope():  # shapes alone, no memory for the weights
        model = cls.from_variant(variant, **outputs)
        whole = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
        if "num_classes" in outputs:
            heads = [layer for layer in model.layers if layer.trainable_variables and is_head(layer)]
            whole -= sum(int(np.prod(weight.shape)) for layer in heads for weight in layer.trainable_variables)
    return whole


def is_head(layer):
    """Whether a layer gives as many numbers as there are classes."""
    return layer.trainable_variables[-1].shape == (CLASSES,)


def _size(size):
    return "" if size is None else "x".join(map(str, size))


def setup(app):
    app.add_directive("presets", Presets)
    app.add_directive("publishers", Publishers)
    app.add_directive("variants", Variants)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    with open(COUNTS, "w", newline="", encoding="utf-8") as csv_file:
        writer = csv.writer(csv_file, lineterminator="\n")
        writer.writerow(["class", "variant", "millions"])
        for network_name, of_class in networks().items():
            for variant_name in of_class:
                millions = count(network_name, variant_name) / 1e6
                writer.writerow([network_name, variant_name, f"{millions:.3g}"])
                print(network_name, variant_name, f"{millions:.3g}", flush=True)
