"""Figures of plotly on the pages, without a network: one copy of plotly.js for all pages, loaded where there is one.

A notebook that is run keeps a figure as JSON. MyST-NB is told here how to show it, and the pages that have one load
plotly.js out of `_static`, where the installed package's own copy is put.
"""

import json
import pathlib

import plotly
from docutils import nodes
from myst_nb.core import render
from plotly.offline import get_plotlyjs
from sphinx.util.osutil import ensuredir

MIME_TYPE = "application/vnd.plotly.v1+json"
SCRIPT = f"plotly-{plotly.__version__}.min.js"
HAS_PLOT = "has_plot"  # a page's mark

# Drawn when the page has been read, at the width of the column.
PLOT = """<div class="plot" style="height: {height}px"></div>
<script type="application/json">{figure}</script>
<script>
(() => {{
  const text = document.currentScript.previousElementSibling, place = text.previousElementSibling;
  document.addEventListener("DOMContentLoaded", () => {{
    const figure = JSON.parse(text.textContent);
    figure.config = {{...figure.config, responsive: true, displaylogo: false}};
    Plotly.newPlot(place, figure);
  }});
}})();
</script>"""


class Plots:
    """A plugin of MyST-NB for outputs of `MIME_TYPE`, preferred to all else that a figure may come as."""

    mime_priority_overrides = [("html", MIME_TYPE, 1)]

    @staticmethod
    def handle_mime(renderer, data, inline):
        if data.mime_type != MIME_TYPE:
            return None
        content = data.content if isinstance(data.content, dict) else json.loads(data.content)
        figure = {part: content[part] for part in ("data", "layout", "frames", "config") if part in content}
        text = json.dumps(figure, separators=(",", ":")).replace("</", "<\\/")  # no end of the script inside it
        html = PLOT.format(height=figure["layout"].get("height", 450), figure=text)
        return [nodes.raw(text=html, format="html", classes=["output", "plot", HAS_PLOT])]


def add_script(app, pagename, templatename, context, doctree):
    """Lets a page load plotly.js, if it has a figure."""
    if doctree is not None and any(HAS_PLOT in node["classes"] for node in doctree.findall(nodes.raw)):
        app.add_js_file(SCRIPT)


def write_script(app, error):
    if error is None and app.builder.format == "html":
        folder = pathlib.Path(app.outdir) / "_static"
        ensuredir(folder)
        (folder / SCRIPT).write_text(get_plotlyjs(), encoding="utf-8")


def setup(app):
    known = render.load_mime_renders  # MyST-NB looks for plugins among installed packages alone, and this is none
    render.load_mime_renders = lambda: [*known(), Plots]
    app.connect("html-page-context", add_script)
    app.connect("build-finished", write_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
