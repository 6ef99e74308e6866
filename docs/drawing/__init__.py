"""The pictures of the pages and of README.md: a function for each, by the kind of what it needs.

`concepts` need the prepared puppets clips and tracks alone, `data_sets` other data of puppets, `trained` the folders of
trainings. Each function that is a picture stands in its module's `PICTURES`, with what makes what it reads.
"""
