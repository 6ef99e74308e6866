"""A role for what docstrings write in single backticks: code, and a link where it names something of the reference."""

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxRole
from sphinx.util.nodes import make_refnode


class Name(SphinxRole):
    """`ops.heatmaps.joint_volume`, `joint_volume` or `Skeleton.flip_pairs`, as they are written in docstrings."""

    def run(self):
        code = nodes.literal(self.rawtext, self.text, classes=["py"])
        reference = addnodes.pending_xref(
            self.rawtext, code, refdomain="", reftype="name", reftarget=self.text, refwarn=False
        )
        reference["py:module"] = self.env.ref_context.get("py:module")
        self.set_source_info(reference)
        return [reference], []


def resolve(app, env, node, contnode):
    """A link to what has the name, or to what alone ends in it; code without a link where nothing or several do."""
    if node.get("reftype") != "name":
        return None
    name = node["reftarget"].removesuffix("()").removeprefix("kerapose.")
    python = env.get_domain("py")
    found = [whole for whole in python.objects if whole == f"kerapose.{name}" or whole.endswith(f".{name}")]
    if len(found) > 1:  # of several, the one of the page's own module
        module = node.get("py:module")
        found = [whole for whole in found if module and whole == f"{module}.{name}"]
    if len(found) != 1 or not name.isprintable() or " " in name:
        return contnode
    target = python.objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], target.docname, target.node_id, [contnode], found[0])


def setup(app):
    app.add_role("name", Name())
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
