"""Pure functions on tensors in keras.ops: the same ones inside models on any backend and inside tf.data."""
