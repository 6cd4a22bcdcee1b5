"""BERT and what is built like it: MiniLM, ELECTRA, RoBERTa and XLM-RoBERTa."""

from __future__ import annotations

from functools import partial

import numpy as np

from qcore.errors import UnsupportedError
from qcore.frameworks.pretrained.builder import FLOAT, INT64, Architecture, Builder, Encoded, Names
from qcore.graph.value import Value

__all__ = ["BERT", "ELECTRA", "ROBERTA", "positions_of_tokens", "text_inputs"]

_NAMES = Names(
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm",
)  # fmt: skip


def text_inputs(*, token_types: bool) -> list[Value]:
    """Return the inputs of a text encoder: int64 of (batch, sequence)."""
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if token_types else [])]
    return [Value(name, "int64", ("batch", "sequence")) for name in names]


def head_width(builder: Builder, width: int, key: str = "num_attention_heads") -> int:
    """Return how many heads share the width."""
    heads = builder.config.size(key)
    if width % heads:
        raise UnsupportedError(
            f"'{builder.config.path}': {key} is {heads}, which does not divide the width {width}"
        )
    return heads


def length_of(builder: Builder, ids: str) -> str:
    """Emit the number of tokens, as a list of one."""
    return builder.add(
        "Slice",
        [builder.add("Shape", [ids]), builder.ints([1]), builder.ints([2]), builder.ints([0])],
    )


def positions_from_zero(builder: Builder, table: str, ids: str) -> str:
    """Emit the rows of a table of positions, one for each token: the first ones."""
    ends = [builder.ints([0]), length_of(builder, ids), builder.ints([0])]
    return builder.add("Unsqueeze", [builder.add("Slice", [table, *ends]), builder.ints([0])])


def positions_of_tokens(builder: Builder, table: str, ids: str, padding: int) -> str:
    """Emit the rows of a table of positions that count the tokens which are no padding.

    The counts are a product with a triangle of ones, exact in float32 for any table's length.
    """
    length = builder.add("Squeeze", [length_of(builder, ids), builder.ints([0])])
    places = builder.add(
        "Range", [builder.constant(np.int64(0)), length, builder.constant(np.int64(1))]
    )
    rows = builder.add("Unsqueeze", [places, builder.ints([1])])
    columns = builder.add("Unsqueeze", [places, builder.ints([0])])
    triangle = builder.add("LessOrEqual", [rows, columns])
    is_padding = builder.add("Equal", [ids, builder.constant(np.int64(padding))])
    tokens = builder.add("Cast", [builder.add("Not", [is_padding])], to=FLOAT)
    counts = builder.add("MatMul", [tokens, builder.add("Cast", [triangle], to=FLOAT)])
    counts = builder.add("Cast", [builder.add("Mul", [counts, tokens])], to=INT64)
    at = builder.add("Add", [counts, builder.constant(np.int64(padding))])
    return builder.add("Gather", [table, at], axis=0)


def encode(builder: Builder, *, by_tokens: bool = False, factorized: bool = False) -> Encoded:
    """Emit an encoder of BERT's kind.

    Parameters
    ----------
    builder : Builder
    by_tokens : bool
        Whether positions count the tokens that are no padding (RoBERTa).
    factorized : bool
        Whether embeddings may be narrower than what the layers work on (ELECTRA).
    """
    config = builder.config
    width, epsilon = config.size("hidden_size"), config.number("layer_norm_eps", 1e-12)
    narrow = config.size("embedding_size", width) if factorized else width
    vocabulary, types = config.size("vocab_size"), config.size("type_vocab_size", 2)
    inputs = text_inputs(token_types=types > 1)
    ids = "input_ids"
    builder.names.update(value.name for value in inputs)

    words = builder.tensor("embeddings.word_embeddings.weight", vocabulary, narrow)
    rows = config.size("max_position_embeddings")
    table = builder.tensor("embeddings.position_embeddings.weight", rows, narrow)
    kinds = builder.tensor("embeddings.token_type_embeddings.weight", types, narrow)
    builder.at("embeddings")
    x = builder.add("Gather", [words, ids], axis=0)
    which = "token_type_ids" if types > 1 else builder.constant(np.int64(0))
    x = builder.add("Add", [x, builder.add("Gather", [kinds, which], axis=0)])
    if by_tokens:
        padding = config.size("pad_token_id", 1, least=0)
        positions = positions_of_tokens(builder, table, ids, padding)
    else:
        positions = positions_from_zero(builder, table, ids)
    x = builder.add("Add", [x, positions])
    x = builder.norm(x, "embeddings.LayerNorm", narrow, epsilon)
    if narrow != width:
        x = builder.linear(x, "embeddings_project", narrow, width)

    heads, inner = head_width(builder, width), config.size("intermediate_size")
    masks = [builder.added_mask("attention_mask")]
    for layer in range(builder.layers("num_hidden_layers")):
        x = builder.post_norm_layer(
            x, f"encoder.layer.{layer}", _NAMES, heads=heads, width=width, inner=inner,
            epsilon=epsilon, masks=masks, activation=("hidden_act", "gelu"),
        )  # fmt: skip
    return Encoded(inputs, x, "attention_mask", pooler(builder, x, width), width)


def pooler(builder: Builder, hidden: str, width: int) -> str:
    """Emit BERT's pooler where the checkpoint has one."""
    if not builder.weights.has("pooler.dense.weight"):
        return ""
    first = builder.first_token(hidden)
    return builder.add("Tanh", [builder.linear(first, "pooler.dense", width, width)])


def classes_of(builder: Builder, name: str) -> int:
    """Return how many classes a head's last layer has."""
    shape = builder.weights.shape(f"{name}.weight", head=True)
    return shape[0] if shape else 2


def from_pooled(builder: Builder, encoded: Encoded) -> str:
    """Emit a classifier of texts behind the pooler."""
    classes = classes_of(builder, "classifier")
    if not encoded.pooled:
        builder.weights.take("pooler.dense.weight", (encoded.width, encoded.width))
    return builder.linear(encoded.pooled, "classifier", encoded.width, classes)


def of_tokens(builder: Builder, encoded: Encoded) -> str:
    """Emit a classifier of each token."""
    classes = classes_of(builder, "classifier")
    return builder.linear(encoded.hidden, "classifier", encoded.width, classes)


def of_spans(builder: Builder, encoded: Encoded) -> str:
    """Emit the scores of starts and ends of an answer, (batch, sequence, 2)."""
    return builder.linear(encoded.hidden, "qa_outputs", encoded.width, 2)


def from_first(builder: Builder, encoded: Encoded, function: str) -> str:
    """Emit a classifier of texts of two layers on the first token."""
    classes, width = classes_of(builder, "classifier.out_proj"), encoded.width
    first = builder.first_token(encoded.hidden)
    first = builder.linear(first, "classifier.dense", width, width)
    return builder.linear(builder.add(function, [first]), "classifier.out_proj", width, classes)


_OF_TOKENS = {"TokenClassification": of_tokens, "QuestionAnswering": of_spans}

BERT = Architecture(
    "bert.", encode, {"SequenceClassification": from_pooled, **_OF_TOKENS},
    left_out=("pooler.", "cls."),
)  # fmt: skip
ELECTRA = Architecture(
    "electra.", partial(encode, factorized=True),
    {"SequenceClassification": partial(from_first, function="Gelu"), **_OF_TOKENS},
    left_out=("generator_", "discriminator_"),
)  # fmt: skip
ROBERTA = Architecture(
    "roberta.", partial(encode, by_tokens=True),
    {"SequenceClassification": partial(from_first, function="Tanh"), **_OF_TOKENS},
    left_out=("pooler.", "lm_head."),
)  # fmt: skip
