"""STAR-Transformer: tokens of the picture's grid and of the joints of all frames, under spatio-temporal attention."""

import typing
from collections.abc import Sequence

import keras
from keras import layers, ops

from kerapose.layers import Dropout
from kerapose.models import mc3_resnet18
from kerapose.models.network import Network
from kerapose.ops import attention
from kerapose.types import Config, Shape, Tensor

PATTERNS = {
    "full": attention.full_attention,
    "zigzag": attention.zigzag_attention,
    "binary": attention.binary_attention,
}
NUM_CLASS_TOKENS = 3  # of the grid, of the joints, of both
EPSILON = 1e-6  # of the layer norms


@keras.saving.register_keras_serializable("kerapose")
class STARTransformer(Network):
    """STAR-Transformer: a mixed-convolution backbone, grid and joint tokens, an encoder and a decoder, class tokens.

    The backbone's last features give the grid tokens: one for each place of each frame. The features of an earlier
    stage, weighted by the heatmap of a joint and summed over the picture, give the joint tokens: one for each joint of
    each frame, and they alone know their position (which joint, which frame). Three class tokens, for grid, joints and
    both, are learnt. Each layer lets every token look at all others, then the tokens of one half of the frames at those
    of the other half: odd and even frames in the encoder (zigzag), first and second half in the decoder (binary). The
    class tokens' mean is classified.

    The paper leaves open what the arguments from `joint_layer` on say. Chosen here: joint tokens from the second stage,
    the finest that has seen neighbouring frames and still separates the joints of a person; the backbone's last width,
    so that grid tokens lose nothing; three layers each of encoder and decoder. While the frames look across, each class
    token looks at all frames.

    Args:
        num_classes: number of actions.
        rgb_shape: (T, H, W, 3) of the frames, T even.
        num_joints: K.
        joint_layer: stage of the backbone, 1 to 4, whose features the joint tokens are made of.
        width: features of a token.
        num_heads: heads of every attention; they divide `width`.
        encoder_layers: how many, with `patterns[0]`.
        decoder_layers: how many, with `patterns[1]`.
        mlp_ratio: hidden features of a layer's perceptron, relative to `width`.
        patterns: the second attention of the encoder's and of the decoder's layers, each "zigzag", "binary" or "full".
        base_filters: channels of the backbone's stem.
        dropout: after every attention and perceptron, and before the classifier.

    Input: {"rgb": [B, T, H, W, 3] normalized, "pose": [B, T, h, w, K] heatmaps of the size of the joint layer's
    features}. Output: logits [B, num_classes], float32 under any precision policy.

    Raises:
        ValueError: if an argument is not one of its kind.

    Example:
        >>> from kerapose import models
        >>> network = models.STARTransformer.from_variant("star_tiny", num_classes=15, num_joints=13)
        >>> network.input_shape
        {'rgb': (None, 8, 80, 80, 3), 'pose': (None, 8, 20, 20, 13)}
        >>> tuple(network({"rgb": np.zeros((1, 8, 80, 80, 3)), "pose": np.zeros((1, 8, 20, 20, 13))}).shape)
        (1, 15)

    Paper: Ahn et al., "STAR-Transformer: A Spatio-temporal Cross Attention Transformer for Human Action Recognition",
    WACV 2023.
    """

    # "tiny" is ours, for two cores.
    VARIANTS = {
        "star": {},
        "star_tiny": {
            "rgb_shape": (8, 80, 80, 3),
            "base_filters": 16,
            "width": 128,
            "num_heads": 4,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "mlp_ratio": 2,
        },
    }
    HEAD = ("grid", "joint", "class", "tokens", "encoder", "decoder", "head", "dropout")
    NOT_IN_POSE = (r"fc\.",)

    def __init__(
        self,
        num_classes: int,
        rgb_shape: Shape = (16, 112, 112, 3),
        num_joints: int = 17,
        joint_layer: int = 2,
        width: int = 512,
        num_heads: int = 8,
        encoder_layers: int = 3,
        decoder_layers: int = 3,
        mlp_ratio: int = 4,
        patterns: Sequence[str] = ("zigzag", "binary"),
        base_filters: int = 64,
        dropout: float = 0.1,
        **kwargs: typing.Any,
    ):
        _check(rgb_shape, joint_layer, width, num_heads, patterns)
        rgb = keras.Input(rgb_shape, name="rgb")
        features = mc3_resnet18.stages(rgb, base_filters)
        joint_features, grid_features = features[f"layer{joint_layer}"], features["layer4"]
        pose = keras.Input((*joint_features.shape[1:4], num_joints), name="pose")
        grid = layers.Dense(width, name="grid")(_flat_frames(grid_features, "grid_features"))  # [B, T, h*w, D]
        joints = layers.Dense(width, name="joints")(JointFeatures(name="joint_features")(joint_features, pose))
        joints = PositionEmbedding(name="joint_positions")(joints)  # [B, T, K, D]
        frame_tokens = layers.Concatenate(axis=2, name="tokens")([grid, joints])  # [B, T, S, D]
        x = ClassTokens(NUM_CLASS_TOKENS, name="class_tokens")(frame_tokens)  # [B, 3 + T*S, D]
        options = {"num_frames": rgb_shape[0], "num_heads": num_heads, "mlp_ratio": mlp_ratio, "dropout": dropout}
        for part, count, pattern in zip(
            ("encoder", "decoder"), (encoder_layers, decoder_layers), patterns, strict=True
        ):
            for number in range(count):
                x = StarLayer(pattern, **options, name=f"{part}_{number}")(x)
        x = ClassMean(NUM_CLASS_TOKENS, name="class_mean")(x)  # [B, D]
        x = layers.Dense(width, activation="gelu", name="head")(x)
        x = Dropout(dropout, name="dropout")(x)
        logits = layers.Dense(num_classes, dtype="float32", name="head_classes")(x)
        super().__init__({"rgb": rgb, "pose": pose}, logits, **kwargs)
        self.num_classes = num_classes
        self.rgb_shape = tuple(rgb_shape)
        self.pose_shape = pose.shape[1:]
        self.num_joints = num_joints
        self.joint_layer = joint_layer
        self.width = width
        self.num_heads = num_heads
        self.encoder_layers = encoder_layers
        self.decoder_layers = decoder_layers
        self.mlp_ratio = mlp_ratio
        self.patterns = tuple(patterns)
        self.base_filters = base_filters
        self.dropout = dropout

    def start_from(self, backbone: mc3_resnet18.MC3ResNet18) -> typing.Self:
        """Takes over what an MC3ResNet18 has learnt, but for its classifier, as training begins in the paper.

        If anything does not fit, the network is left as it was.

        Args:
            backbone: an MC3ResNet18 of the same `base_filters`; `weights.load_backbone` reads a published file instead.

        Returns:
            The network itself.

        Raises:
            ValueError: if it has other layers or another width.

        Example:
            >>> from kerapose import models
            >>> backbone = models.MC3ResNet18.from_variant("mc3_18_tiny", num_classes=15)
            >>> network = models.STARTransformer.from_variant("star_tiny", num_classes=15).start_from(backbone)
            >>> bool(np.all(network.get_layer("stem").get_weights()[0] == backbone.get_layer("stem").get_weights()[0]))
            True
        """
        own = {layer.name: layer for layer in self.layers if layer.weights and not layer.name.startswith(self.HEAD)}
        theirs = {layer.name: layer for layer in backbone.layers if layer.weights and layer.name != "fc"}
        unlike = set(own) ^ set(theirs)
        unlike |= {name for name in set(own) & set(theirs) if own[name].kernel.shape != theirs[name].kernel.shape}
        if unlike:
            raise ValueError(
                "The backbone starts from an MC3ResNet18 of its own width, got a network that differs in "
                f"{', '.join(sorted(unlike)[:4])}{' and others' if len(unlike) > 4 else ''}; give both the same "
                "base_filters."
            )
        for name, layer in own.items():
            layer.set_weights(theirs[name].get_weights())
        return self

    def attention_maps(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """How much the class tokens look at each place and at each joint, in the last full attention.

        Args:
            inputs: as the network takes them.

        Returns:
            {"grid": [B, T, h, w], "joints": [B, T, K]} float32, means over heads and class tokens. Over all frames,
            grid and joints sum to less than 1: the rest is what the class tokens look at themselves.

        Example:
            >>> from kerapose import models
            >>> network = models.STARTransformer.from_variant("star_tiny", num_classes=15)
            >>> clip = {"rgb": np.zeros((1, 8, 80, 80, 3), "float32"), "pose": np.zeros((1, 8, 20, 20, 17), "float32")}
            >>> {name: tuple(value.shape) for name, value in network.attention_maps(clip).items()}
            {'grid': (1, 8, 5, 5), 'joints': (1, 8, 17)}
        """
        last = [layer for layer in self.layers if isinstance(layer, StarLayer)][-1]
        looks = last.class_weights(keras.Model(self.input, last.input)(inputs))  # [B, T, S]
        frames, height, width = self.get_layer("grid_features").input.shape[1:4]
        grid, joints = ops.split(looks, [height * width], axis=-1)
        return {"grid": ops.reshape(grid, (-1, frames, height, width)), "joints": joints}


@keras.saving.register_keras_serializable("kerapose")
class JointFeatures(layers.Layer):
    """Sums features over the picture, weighted by the heatmap of each joint.

    Input: features [B, T, H, W, C], heatmaps [B, T, H, W, K]. Output: [B, T, K, C].
    """

    def call(self, features: Tensor, heatmaps: Tensor) -> Tensor:
        _, frames, height, width, channels = features.shape
        features = ops.reshape(features, (-1, frames, height * width, channels))  # [B, T, H*W, C]
        heatmaps = ops.reshape(heatmaps, (-1, frames, height * width, heatmaps.shape[-1]))  # [B, T, H*W, K]
        return ops.matmul(ops.swapaxes(ops.cast(heatmaps, features.dtype), 2, 3), features)  # [B, T, K, C]

    def compute_output_shape(self, features_shape: Shape, heatmaps_shape: Shape) -> Shape:
        return (*features_shape[:2], heatmaps_shape[-1], features_shape[-1])


@keras.saving.register_keras_serializable("kerapose")
class PositionEmbedding(layers.Layer):
    """Adds to each token of each frame what is learnt of its place.

    Input and output: [B, T, S, D].
    """

    def build(self, shape: Shape) -> None:
        initializer = keras.initializers.RandomNormal(stddev=0.02)
        self.embedding = self.add_weight(name="embedding", shape=shape[1:], initializer=initializer)

    def call(self, x: Tensor) -> Tensor:
        return x + self.embedding


@keras.saving.register_keras_serializable("kerapose")
class ClassTokens(layers.Layer):
    """Puts learnt tokens before those of a clip.

    Args:
        count: of learnt tokens.

    Input: [B, T, S, D]. Output: [B, count + T*S, D].
    """

    def __init__(self, count: int, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.count = count

    def build(self, shape: Shape) -> None:
        initializer = keras.initializers.RandomNormal(stddev=0.02)
        self.tokens = self.add_weight(name="tokens", shape=(1, self.count, shape[-1]), initializer=initializer)

    def call(self, x: Tensor) -> Tensor:
        _, frames, tokens, width = x.shape
        x = ops.reshape(x, (-1, frames * tokens, width))  # [B, T*S, D]
        return ops.concatenate([ops.repeat(self.tokens, ops.shape(x)[0], axis=0), x], axis=1)

    def get_config(self) -> Config:
        return super().get_config() | {"count": self.count}


@keras.saving.register_keras_serializable("kerapose")
class ClassMean(layers.Layer):
    """The mean of the first tokens: [B, N, D] -> [B, D].

    Args:
        count: of them.
    """

    def __init__(self, count: int, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.count = count

    def call(self, x: Tensor) -> Tensor:
        return ops.mean(x[:, : self.count], axis=1)

    def get_config(self) -> Config:
        return super().get_config() | {"count": self.count}


@keras.saving.register_keras_serializable("kerapose")
class StarLayer(layers.Layer):
    """One layer: full attention among all tokens, attention across the frames, a perceptron; a norm after each sum.

    Args:
        pattern: of the second attention, "zigzag", "binary" or "full".
        num_frames: T.
        num_heads: of both attentions.
        mlp_ratio: hidden features of the perceptron, relative to a token's.
        dropout: of what each of the three adds.

    Input and output: [B, 3 + T*S, D], the class tokens first.
    """

    def __init__(
        self,
        pattern: str,
        num_frames: int,
        num_heads: int,
        mlp_ratio: int = 4,
        dropout: float = 0.0,
        **kwargs: typing.Any,
    ):
        super().__init__(**kwargs)
        self.pattern = pattern
        self.num_frames = num_frames
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.dropout = dropout

    def build(self, shape: Shape) -> None:
        width, policy = shape[-1], self.dtype_policy
        sizes = {"full": 3 * width, "full_out": width, "across": 3 * width, "across_out": width}
        sizes |= {"hidden": self.mlp_ratio * width, "hidden_out": width}
        for name, size in sizes.items():
            dense = layers.Dense(size, activation="gelu" if name == "hidden" else None, name=name, dtype=policy)
            dense.build((*shape[:-1], self.mlp_ratio * width if name == "hidden_out" else width))
            setattr(self, name, dense)
        for name in ("full_norm", "across_norm", "hidden_norm"):
            norm = layers.LayerNormalization(epsilon=EPSILON, name=name, dtype=policy)
            norm.build(shape)
            setattr(self, name, norm)
        self.drop = Dropout(self.dropout, dtype=policy)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        added = self.full_out(_joined_heads(self._attend_fully(*self._heads(self.full(x)))))
        x = self.full_norm(x + self.drop(added, training=training))
        added = self.across_out(_joined_heads(self._attend_across(*self._heads(self.across(x)))))
        x = self.across_norm(x + self.drop(added, training=training))
        added = self.hidden_out(self.hidden(x))
        return self.hidden_norm(x + self.drop(added, training=training))

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape

    def class_weights(self, x: Tensor) -> Tensor:
        """How much the class tokens look at the tokens of the frames in the full attention, [B, T, S] float32."""
        queries, keys, _ = self._heads(self.full(ops.cast(x, self.compute_dtype)))
        weights = attention.attention_weights(queries[:, :, :NUM_CLASS_TOKENS], keys)  # [B, h, 3, 3 + T*S]
        weights = ops.mean(weights, axis=(1, 2))[:, NUM_CLASS_TOKENS:]  # [B, T*S]
        return ops.reshape(weights, (-1, self.num_frames, weights.shape[1] // self.num_frames))

    def _heads(self, x):
        """Queries, keys and values [B, h, N, D/h], of [B, N, 3*D]."""
        _, count, triple = x.shape
        x = ops.reshape(x, (-1, count, 3, self.num_heads, triple // (3 * self.num_heads)))
        return ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), 3, axis=0)

    def _attend_fully(self, *heads):
        """Everything looks at everything, as the tokens of one frame would: [B, h, N, D/h]."""
        return attention.full_attention(*(ops.expand_dims(x, 2) for x in heads))[:, :, 0]

    def _attend_across(self, queries, keys, values):
        """Frames look across by the pattern, class tokens at all frames: [B, h, N, D/h]."""
        classes, queries = ops.split(queries, [NUM_CLASS_TOKENS], axis=2)
        keys, values = (ops.split(x, [NUM_CLASS_TOKENS], axis=2)[1] for x in (keys, values))  # [B, h, T*S, D/h]
        classes = attention.attend(classes, keys, values)  # [B, h, 3, D/h]
        _, heads, count, features = queries.shape
        clip = (-1, heads, self.num_frames, count // self.num_frames, features)
        frames = PATTERNS[self.pattern](*(ops.reshape(x, clip) for x in (queries, keys, values)))
        return ops.concatenate([classes, ops.reshape(frames, (-1, heads, count, features))], axis=2)

    def get_config(self) -> Config:
        names = ("pattern", "num_frames", "num_heads", "mlp_ratio", "dropout")
        return super().get_config() | {name: getattr(self, name) for name in names}


def _joined_heads(x):
    """[B, h, N, D/h] -> [B, N, D]."""
    _, heads, count, features = x.shape
    return ops.reshape(ops.swapaxes(x, 1, 2), (-1, count, heads * features))


def _flat_frames(x, name):
    """[B, T, H, W, C] -> [B, T, H*W, C]."""
    _, frames, height, width, channels = x.shape
    return layers.Reshape((frames, height * width, channels), name=name)(x)


def _check(rgb_shape, joint_layer, width, num_heads, patterns):
    if rgb_shape[0] % 2:
        raise ValueError(f"The frames are cut into two halves, so rgb_shape has an even number, got {rgb_shape[0]}.")
    if joint_layer not in (1, 2, 3, 4):
        raise ValueError(f"joint_layer is a stage of the backbone, 1, 2, 3 or 4, got {joint_layer}.")
    if width % num_heads:
        raise ValueError(f"num_heads divides width, got {num_heads} and {width}; change one of them.")
    if len(patterns) != 2 or not set(patterns) <= set(PATTERNS):
        raise ValueError(
            f"patterns are two of {', '.join(PATTERNS)}, of the encoder and of the decoder, got {tuple(patterns)}."
        )
