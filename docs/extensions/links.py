"""Links by path work to pages that are here by a symbolic link: notebooks, and what stands beside each data set."""

import pathlib


def know_real_paths(app, env, docnames):
    """Sphinx looks links up by where a file really is, and knows its pages by where they seem to be."""
    for docname in env.found_docs:
        page = pathlib.Path(env.doc2path(docname))
        if page.resolve() != page:
            env.project._path_to_docname[page.resolve()] = docname


def setup(app):
    app.connect("env-before-read-docs", know_real_paths)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
