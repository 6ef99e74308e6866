"""The protocols of the papers: an estimator and a data set in, figures out."""
