"""The configuration of a pretrained model: every key read, or known to change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qcore.errors import FormatError, UnsupportedError
from qcore.files.foreign.config import MAX_CONFIG_BYTES
from qcore.files.paths import open_regular

__all__ = ["Config", "read_json"]

# What training, generating, or a library's own bookkeeping reads; an encoder in use does not.
_IDLE_KEYS = """
    _attn_implementation _attn_implementation_autoset _commit_hash _name_or_path _num_labels
    architectures attention_dropout attention_probs_dropout_prob attn_implementation
    auto_map bad_words_ids begin_suppress_tokens bos_token_id classifier_dropout
    classifier_dropout_prob decoder_start_token_id directionality diversity_penalty do_sample
    dropout dropout_prob dtype early_stopping encoder_no_repeat_ngram_size encoder_stride
    eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing hidden_dropout_prob id2label
    initializer_factor initializer_range inner_group_num label2id language
    length_penalty max_length max_seq_length min_length n_dropout net_structure_type
    no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences
    output_attentions output_hidden_states output_scores output_past pad_token_id pooler_fc_size
    pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type prefix
    problem_type qa_dropout remove_invalid_values repetition_penalty return_dict
    return_dict_in_generate sentence_transformers sep_token_id seq_classif_dropout
    sinusoidal_pos_embds suppress_tokens summary_activation summary_last_dropout
    summary_type summary_use_proj task_specific_params temperature tf_legacy_loss
    tie_word_embeddings tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript
    transformers_version transformers.js_config typical_p unk_token_id use_bfloat16 use_cache
"""
_IDLE = frozenset(_IDLE_KEYS.split())
# What would make another network of it, and the values that do not.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (False, None),
    "chunk_size_feed_forward": (0, None),
    "cross_attention_hidden_size": (None,),
    "embedding_type": (None,),
    "gap_size": (0, None),
    "is_decoder": (False, None),
    "is_encoder_decoder": (False, None),
    "num_memory_blocks": (0, None),
    "position_embedding_type": ("absolute", None),
    "pruned_heads": ({}, None),
}
_REQUIRED: Any = object()
_MOST = 1 << 31  # of any size that a configuration has


def read_json(path: Path) -> Any:
    """Return what a small JSON file says.

    Raises
    ------
    OSError
        If it cannot be read.
    FormatError
        If it is no JSON, or larger than any configuration.
    """
    file, length = open_regular(path)
    with file:
        if length > MAX_CONFIG_BYTES:
            raise FormatError(
                f"'{path}' has {length} bytes; a configuration has {MAX_CONFIG_BYTES} at most"
            )
        raw = file.read(length)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"'{path}' is no JSON: {error}") from error


class Config:
    """A ``config.json``, of which keys are taken one by one.

    Parameters
    ----------
    path : Path
        Of the file, which errors name.

    Attributes
    ----------
    path : Path
    model_type : str
    """

    def __init__(self, path: Path) -> None:
        found = read_json(path)
        if not isinstance(found, dict):
            raise FormatError(f"'{path}' is {type(found).__name__}; it must be a JSON object")
        self.path = path
        self._entries = found
        self._taken = {"model_type", "quantization_config"}  # codes are decoded where files are
        self.model_type = self.text("model_type")

    def _take(self, name: str, default: Any) -> Any:
        self._taken.add(name)
        found = self._entries.get(name)
        if found is None:
            if default is _REQUIRED:
                raise FormatError(f"'{self.path}' has no {name!r}")
            return default
        return found

    def size(self, name: str, default: Any = _REQUIRED, *, least: int = 1) -> int:
        """Return an integer that is a size."""
        found = self._take(name, default)
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= _MOST:
            raise FormatError(
                f"'{self.path}': {name} is {found!r}; it must be an integer from {least} to {_MOST}"
            )
        return found

    def number(self, name: str, default: Any = _REQUIRED) -> float:
        """Return a number above 0."""
        found = self._take(name, default)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 < found < 1e9:
            raise FormatError(f"'{self.path}': {name} is {found!r}; it must be a number above 0")
        return float(found)

    def text(self, name: str, default: Any = _REQUIRED) -> str:
        """Return a text."""
        found = self._take(name, default)
        if not isinstance(found, str):
            raise FormatError(f"'{self.path}': {name} is {found!r}; it must be a text")
        return found

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth value."""
        found = self._take(name, default)
        if not isinstance(found, bool):
            raise FormatError(f"'{self.path}': {name} is {found!r}; it must be true or false")
        return found

    def fixed(self, name: str, *allowed: Any) -> None:
        """Take a key of which only these values make the network that is built here."""
        found = self._take(name, allowed[0])
        if found not in allowed:
            raise UnsupportedError(
                f"'{self.path}': {name} is {found!r}; of {self.model_type} qcore has {allowed[0]!r}"
            )

    @property
    def head(self) -> str:
        """What follows "For" in the name of the class that was saved, "" for a bare encoder."""
        listed = self._entries.get("architectures")
        if not listed:
            return ""
        if not isinstance(listed, list) or not isinstance(listed[0], str):
            raise FormatError(f"'{self.path}': architectures is {listed!r}; it must list names")
        return listed[0].partition("For")[2]

    @property
    def labels(self) -> list[str] | None:
        """The names of classes, in the order of the outputs."""
        found = self._entries.get("id2label")
        if not isinstance(found, dict):
            return None
        try:
            named = {int(key): str(name) for key, name in found.items()}
        except ValueError:
            return None
        return (
            [named[i] for i in range(len(named))] if set(named) == set(range(len(named))) else None
        )

    def check_all_taken(self) -> None:
        """Refuse keys that nothing here reads: they may ask for another network.

        Raises
        ------
        UnsupportedError
            Names each with its value.
        """
        for name, allowed in _PLAIN.items():
            if name in self._entries and name not in self._taken:
                self.fixed(name, *allowed)
        unknown = [
            f"{name} = {json.dumps(value)[:60]}"
            for name, value in self._entries.items()
            if name not in self._taken and name not in _IDLE
        ]
        if unknown:
            raise UnsupportedError(
                f"'{self.path}' has keys that qcore does not know for {self.model_type}: "
                f"{', '.join(unknown[:8])}{', ...' if len(unknown) > 8 else ''}; what they ask for "
                "would not be computed"
            )
