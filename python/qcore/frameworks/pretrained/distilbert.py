"""DistilBERT."""

from __future__ import annotations

from qcore.frameworks.pretrained.bert import (
    classes_of,
    head_width,
    of_spans,
    of_tokens,
    positions_from_zero,
    text_inputs,
)
from qcore.frameworks.pretrained.builder import Architecture, Builder, Encoded, Names

__all__ = ["DISTILBERT"]

_NAMES = Names(
    "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
    "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm",
)  # fmt: skip
_EPSILON = 1e-12  # no key has it


def encode(builder: Builder) -> Encoded:
    """Emit the encoder."""
    config = builder.config
    width, inputs = config.size("dim"), text_inputs(token_types=False)
    builder.names.update(value.name for value in inputs)
    vocabulary, rows = config.size("vocab_size"), config.size("max_position_embeddings")
    words = builder.tensor("embeddings.word_embeddings.weight", vocabulary, width)
    table = builder.tensor("embeddings.position_embeddings.weight", rows, width)
    builder.at("embeddings")
    x = builder.add("Gather", [words, "input_ids"], axis=0)
    x = builder.add("Add", [x, positions_from_zero(builder, table, "input_ids")])
    x = builder.norm(x, "embeddings.LayerNorm", width, _EPSILON)
    heads, inner = head_width(builder, width, "n_heads"), config.size("hidden_dim")
    masks = [builder.added_mask("attention_mask")]
    for layer in range(builder.layers("n_layers")):
        x = builder.post_norm_layer(
            x, f"transformer.layer.{layer}", _NAMES, heads=heads, width=width, inner=inner,
            epsilon=_EPSILON, masks=masks, activation=("activation", "gelu"),
        )  # fmt: skip
    return Encoded(inputs, x, "attention_mask", "", width)


def of_text(builder: Builder, encoded: Encoded) -> str:
    """Emit a classifier of texts of two layers on the first token."""
    width = encoded.width
    first = builder.first_token(encoded.hidden)
    first = builder.add("Relu", [builder.linear(first, "pre_classifier", width, width)])
    return builder.linear(first, "classifier", width, classes_of(builder, "classifier"))


DISTILBERT = Architecture(
    "distilbert.", encode,
    {
        "SequenceClassification": of_text, "TokenClassification": of_tokens,
        "QuestionAnswering": of_spans,
    },
    left_out=("vocab_",),
)  # fmt: skip
