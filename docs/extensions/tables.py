"""Tables that are made of what the package says of itself, so that they cannot be out of date."""


def setup(app):
    return {"parallel_read_safe": True, "parallel_write_safe": True}
