"""Arrays and weights without a pattern, for the tests beside this file."""

import numpy as np

EVEN, ODD = (4, 6, 8), (5, 7, 9)
CHANNELS = 4


def random_array(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def random_weights(layer, seed=1):
    """Gives a built layer weights that no two channels share."""
    random = np.random.default_rng(seed)
    for variable in layer.weights:
        low, high = (0.5, 2.0) if variable.path.endswith(("gamma", "moving_variance")) else (-1.0, 1.0)
        variable.assign(random.uniform(low, high, variable.shape))
