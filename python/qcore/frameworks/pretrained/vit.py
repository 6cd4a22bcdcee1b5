"""Vision transformers: patches of an image as tokens."""

from __future__ import annotations

from qcore.errors import UnsupportedError
from qcore.frameworks.pretrained.bert import classes_of, head_width
from qcore.frameworks.pretrained.builder import Architecture, Builder, Encoded
from qcore.graph.value import Value

__all__ = ["VIT"]

_INPUTS = (
    "attention.attention.query", "attention.attention.key", "attention.attention.value"
)  # fmt: skip


def encode(builder: Builder) -> Encoded:
    """Emit the encoder: its input is the image, (batch, channels, height, width), as prepared."""
    config = builder.config
    width, epsilon = config.size("hidden_size"), config.number("layer_norm_eps", 1e-12)
    size, patch = config.size("image_size", 224), config.size("patch_size", 16)
    channels = config.size("num_channels", 3)
    if size % patch:
        raise UnsupportedError(
            f"'{config.path}': patch_size is {patch}, which does not divide image_size {size}"
        )
    pixels = Value("pixel_values", "float32", ("batch", channels, size, size))
    builder.names.add(pixels.name)
    places = (size // patch) ** 2
    at = "embeddings.patch_embeddings.projection"
    kernel = [
        builder.tensor(f"{at}.weight", width, channels, patch, patch),
        builder.tensor(f"{at}.bias", width),
    ]
    x = builder.add(
        "Conv", [pixels.name, *kernel], kernel_shape=[patch, patch], strides=[patch, patch]
    )
    x = builder.add("Reshape", [x, builder.ints([0, 0, -1])])
    x = builder.add("Transpose", [x], perm=[0, 2, 1])
    first = builder.tensor("embeddings.cls_token", 1, 1, width)
    shape = builder.add("Shape", [x])
    batch = builder.add("Slice", [shape, builder.ints([0]), builder.ints([1]), builder.ints([0])])
    whole = builder.add("Concat", [batch, builder.ints([1, width])], axis=0)
    x = builder.add("Concat", [builder.add("Expand", [first, whole]), x], axis=1)
    x = builder.add("Add", [
        x, builder.tensor("embeddings.position_embeddings", 1, places + 1, width)
    ])  # fmt: skip

    heads, inner = head_width(builder, width), config.size("intermediate_size")
    has_bias = config.flag("qkv_bias", True)
    for layer in range(builder.layers("num_hidden_layers")):
        stem = f"encoder.layer.{layer}"
        normed = builder.norm(x, f"{stem}.layernorm_before", width, epsilon)
        mixed = builder.attention(normed, stem, _INPUTS, heads, width, [], bias=has_bias)
        mixed = builder.linear(mixed, f"{stem}.attention.output.dense", width, width)
        x = builder.add("Add", [mixed, x])
        normed = builder.norm(x, f"{stem}.layernorm_after", width, epsilon)
        wide = builder.linear(normed, f"{stem}.intermediate.dense", width, inner)
        wide = builder.activation(wide, "hidden_act")
        x = builder.add("Add", [builder.linear(wide, f"{stem}.output.dense", inner, width), x])
    x = builder.norm(x, "layernorm", width, epsilon)
    pooled = ""
    if builder.weights.has("pooler.dense.weight"):
        # Older configurations do not say, and mean tanh and the width.
        out = config.size("pooler_output_size", width)
        pooled = builder.linear(builder.first_token(x), "pooler.dense", width, out)
        pooled = builder.activation(pooled, "pooler_act", "tanh")
    else:
        config.size("pooler_output_size", width)
        config.text("pooler_act", "tanh")
    return Encoded([pixels], x, "", pooled, width)


def of_image(builder: Builder, encoded: Encoded) -> str:
    """Emit a classifier of images on the first token."""
    first = builder.first_token(encoded.hidden)
    return builder.linear(first, "classifier", encoded.width, classes_of(builder, "classifier"))


VIT = Architecture(
    "vit.", encode, {"ImageClassification": of_image},
    training_heads=("MaskedImageModeling",), left_out=("pooler.", "decoder.", "embeddings.mask_"),
)  # fmt: skip
