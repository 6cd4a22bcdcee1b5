"""ALBERT: one layer's weights for all layers."""

from __future__ import annotations

from qcore.errors import UnsupportedError
from qcore.frameworks.pretrained.bert import (
    classes_of,
    head_width,
    of_spans,
    of_tokens,
    positions_from_zero,
    text_inputs,
)
from qcore.frameworks.pretrained.builder import Architecture, Builder, Encoded, Names

__all__ = ["ALBERT"]

_NAMES = Names(
    "attention.query", "attention.key", "attention.value", "attention.dense",
    "attention.LayerNorm", "ffn", "ffn_output", "full_layer_layer_norm",
)  # fmt: skip
_MOST_LAYERS = 1024  # the checkpoint has one whatever their number


def encode(builder: Builder) -> Encoded:
    """Emit the encoder."""
    config = builder.config
    width, epsilon = config.size("hidden_size"), config.number("layer_norm_eps", 1e-12)
    narrow, types = config.size("embedding_size", width), config.size("type_vocab_size", 2)
    config.fixed("num_hidden_groups", 1)
    config.fixed("inner_group_num", 1)
    inputs = text_inputs(token_types=True)
    builder.names.update(value.name for value in inputs)
    vocabulary, rows = config.size("vocab_size"), config.size("max_position_embeddings")
    words = builder.tensor("embeddings.word_embeddings.weight", vocabulary, narrow)
    table = builder.tensor("embeddings.position_embeddings.weight", rows, narrow)
    kinds = builder.tensor("embeddings.token_type_embeddings.weight", types, narrow)
    builder.at("embeddings")
    x = builder.add("Gather", [words, "input_ids"], axis=0)
    x = builder.add("Add", [x, builder.add("Gather", [kinds, "token_type_ids"], axis=0)])
    x = builder.add("Add", [x, positions_from_zero(builder, table, "input_ids")])
    x = builder.norm(x, "embeddings.LayerNorm", narrow, epsilon)
    x = builder.linear(x, "encoder.embedding_hidden_mapping_in", narrow, width)
    heads, inner = head_width(builder, width), config.size("intermediate_size")
    masks = [builder.added_mask("attention_mask")]
    layers = config.size("num_hidden_layers", least=0)
    if layers > _MOST_LAYERS:
        raise UnsupportedError(
            f"'{config.path}' has num_hidden_layers = {layers}; qcore builds {_MOST_LAYERS} at most"
        )
    for _ in range(layers):
        x = builder.post_norm_layer(
            x, "encoder.albert_layer_groups.0.albert_layers.0", _NAMES, heads=heads, width=width,
            inner=inner, epsilon=epsilon, masks=masks, activation=("hidden_act", "gelu_new"),
        )  # fmt: skip
    return Encoded(inputs, x, "attention_mask", _pooler(builder, x, width), width)


def _pooler(builder: Builder, hidden: str, width: int) -> str:
    if not builder.weights.has("pooler.weight"):
        return ""
    first = builder.first_token(hidden)
    return builder.add("Tanh", [builder.linear(first, "pooler", width, width)])


def from_pooled(builder: Builder, encoded: Encoded) -> str:
    """Emit a classifier of texts behind the pooler."""
    classes = classes_of(builder, "classifier")
    if not encoded.pooled:
        builder.weights.take("pooler.weight", (encoded.width, encoded.width))
    return builder.linear(encoded.pooled, "classifier", encoded.width, classes)


ALBERT = Architecture(
    "albert.", encode,
    {
        "SequenceClassification": from_pooled, "TokenClassification": of_tokens,
        "QuestionAnswering": of_spans,
    },
    left_out=("pooler.", "predictions.", "sop_classifier."),
)  # fmt: skip
