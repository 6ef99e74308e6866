"""The pages: Markdown and notebooks through MyST-NB, the reference out of the docstrings. `make docs` builds them."""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

import kerapose

project = "kerapose"
author = "The authors of kerapose"
copyright = author
version = release = kerapose.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "links",  # by path, to notebooks and data sets
    "names",  # `joint_volume` in a docstring becomes a link
    "plots",  # figures of plotly, that one turns with the mouse
    "signatures",  # as they are written
    "tables",  # the model zoo, out of the presets
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints", "data_sets/*/dummy_data", "jupyter_execute"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nitpicky = False  # types of other packages have no pages here; what is written in single backticks, `names` looks up

# ---------------------------------------- Markdown and notebooks
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Notebooks are run once and kept, until their cells change; an error in one is an error of the build.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "notebooks")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # TensorFlow's notes of GPUs that are not there
nb_execution_show_tb = True

# ---------------------------------------- reference
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "special-members": "__call__"}
autodoc_inherit_docstrings = False  # what Keras says of `get_config` and the like is not about us
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_admonition_for_examples = False
napoleon_custom_sections = [("Paper", "notes_style"), ("Input", "notes_style"), ("Output", "notes_style")]
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 100
default_role = "name"
smartquotes_action = "D"  # dashes alone: there is too much code for quotes

# ---------------------------------------- looks
html_theme = "furo"
html_title = f"kerapose {release}"
html_static_path = ["static"]
html_css_files = ["kerapose.css"]
html_theme_options = {"sidebar_hide_name": False}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
