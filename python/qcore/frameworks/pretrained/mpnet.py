"""MPNet: BERT's layers with a bias by the distance of two tokens."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qcore.frameworks.pretrained.bert import (
    from_first,
    head_width,
    length_of,
    of_spans,
    of_tokens,
    pooler,
    positions_of_tokens,
    text_inputs,
)
from qcore.frameworks.pretrained.builder import Architecture, Builder, Encoded, Names

__all__ = ["MPNET"]

_NAMES = Names(
    "attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o",
    "attention.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm",
)  # fmt: skip
_FARTHEST = 128  # distances beyond share a bucket; no key has it
_PADDING = 1  # the row of positions for padding, whatever pad_token_id is


def encode(builder: Builder) -> Encoded:
    """Emit the encoder."""
    config = builder.config
    width, epsilon = config.size("hidden_size"), config.number("layer_norm_eps", 1e-12)
    inputs = text_inputs(token_types=False)
    builder.names.update(value.name for value in inputs)
    vocabulary, rows = config.size("vocab_size"), config.size("max_position_embeddings")
    words = builder.tensor("embeddings.word_embeddings.weight", vocabulary, width)
    table = builder.tensor("embeddings.position_embeddings.weight", rows, width)
    builder.at("embeddings")
    x = builder.add("Gather", [words, "input_ids"], axis=0)
    x = builder.add("Add", [x, positions_of_tokens(builder, table, "input_ids", _PADDING)])
    x = builder.norm(x, "embeddings.LayerNorm", width, epsilon)
    heads, inner = head_width(builder, width), config.size("intermediate_size")
    masks = [_bias(builder, heads, rows), builder.added_mask("attention_mask")]
    for layer in range(builder.layers("num_hidden_layers")):
        x = builder.post_norm_layer(
            x, f"encoder.layer.{layer}", _NAMES, heads=heads, width=width, inner=inner,
            epsilon=epsilon, masks=masks, activation=("hidden_act", "gelu"),
        )  # fmt: skip
    return Encoded(inputs, x, "attention_mask", pooler(builder, x, width), width)


def _bias(builder: Builder, heads: int, longest: int) -> str:
    """Emit what is added to the scores for distances, (1, heads, sequence, sequence)."""
    buckets = builder.config.size("relative_attention_num_buckets", 32, least=4)
    by_bucket = builder.tensor("encoder.relative_attention_bias.weight", buckets, heads)
    by_distance = builder.add(
        "Gather", [by_bucket, builder.constant(_buckets(longest, buckets))], axis=0
    )
    length = builder.add("Squeeze", [length_of(builder, "input_ids"), builder.ints([0])])
    places = builder.add(
        "Range", [builder.constant(np.int64(0)), length, builder.constant(np.int64(1))]
    )
    queries = builder.add("Unsqueeze", [places, builder.ints([1])])
    keys = builder.add("Unsqueeze", [places, builder.ints([0])])
    ahead = builder.add("Sub", [keys, queries])
    at = builder.add("Add", [ahead, builder.constant(np.int64(longest - 1))])
    by_pair = builder.add("Gather", [by_distance, at], axis=0)
    return builder.add("Unsqueeze", [
        builder.add("Transpose", [by_pair], perm=[2, 0, 1]), builder.ints([0])
    ])  # fmt: skip


def _buckets(longest: int, buckets: int) -> NDArray[np.int64]:
    """Return the bucket of each distance, from 1 - longest to longest - 1.

    Half of the buckets are for each direction; half of these for one distance each, the others
    for distances that grow by a factor, as in T5.
    """
    distances = np.arange(1 - longest, longest)
    half = buckets // 2
    single = half // 2
    far = np.abs(distances)
    with np.errstate(divide="ignore"):
        grown = np.log(far.astype(np.float32) / np.float32(single)) / math.log(_FARTHEST / single)
    shared = single + np.where(far >= single, grown * (half - single), 0).astype(np.int64)
    found = np.where(far < single, far, np.minimum(shared, half - 1))
    return (found + np.where(distances > 0, half, 0)).astype(np.int64)


MPNET = Architecture(
    "mpnet.", encode,
    {
        "SequenceClassification": lambda builder, encoded: from_first(builder, encoded, "Tanh"),
        "TokenClassification": of_tokens, "QuestionAnswering": of_spans,
    },
    left_out=("pooler.", "lm_head."),
)  # fmt: skip
