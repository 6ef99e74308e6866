"""tf.data pipelines, one file per task."""
