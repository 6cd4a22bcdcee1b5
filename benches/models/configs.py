"""Small networks of many architectures: the class in transformers, its sizes, what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["ARCHITECTURES", "Architecture"]


class Architecture(NamedTuple):
    """A class of transformers, the sizes of its configuration, and the kind of its inputs."""

    model: str
    sizes: Mapping[str, Any]
    inputs: str


_TEXT: dict[str, Any] = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": 64,
}  # fmt: skip
_SHARED = _TEXT | {"num_key_value_heads": 2}
_GPT2: dict[str, Any] = {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4}
_BLOOM: dict[str, Any] = {"vocab_size": 100, "hidden_size": 32, "n_layer": 2, "n_head": 4}
_T5: dict[str, Any] = {
    "vocab_size": 100, "d_model": 32, "d_kv": 8, "num_layers": 2, "num_heads": 4, "d_ff": 64,
}  # fmt: skip
_BART: dict[str, Any] = {
    "vocab_size": 100, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "max_position_embeddings": 64,
}  # fmt: skip
_VIT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
_SWIN: dict[str, Any] = {
    "image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4],
    "window_size": 4,
}  # fmt: skip
_STAGES: dict[str, Any] = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
_PYRAMID = _STAGES | {"num_attention_heads": [1, 2, 2, 4], "image_size": 64}
_RESIDUAL: dict[str, Any] = {
    "embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1],
}  # fmt: skip
_SOUND: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "conv_dim": [16, 16, 16], "conv_stride": [5, 4, 2], "conv_kernel": [10, 8, 4],
    "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4, "vocab_size": 20,
}  # fmt: skip


def _all() -> dict[str, Architecture]:
    text = {
        "BERT": ("BertModel", _TEXT), "RoBERTa": ("RobertaModel", _TEXT),
        "XLM-R": ("XLMRobertaModel", _TEXT),
        "DistilBERT": ("DistilBertModel", {
            "vocab_size": 100, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64,
        }),
        "ALBERT": ("AlbertModel", _TEXT | {"embedding_size": 16}),
        "ELECTRA": ("ElectraModel", _TEXT | {"embedding_size": 16}),
        "MPNet": ("MPNetModel", _TEXT),
        "DeBERTa v2": ("DebertaV2Model", _TEXT | {
            "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
        }),
        "ModernBERT": ("ModernBertModel", _TEXT | {
            "global_attn_every_n_layers": 2, "local_attention": 8, "pad_token_id": 0,
            "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
        }),
        "Nomic": ("NomicBertModel", _TEXT), "Funnel": ("FunnelModel", {
            "vocab_size": 100, "d_model": 32, "block_sizes": [1, 1], "n_head": 4, "d_head": 8,
            "d_inner": 64,
        }),
        "XLNet": ("XLNetModel", {
            "vocab_size": 100, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64,
        }),
        "BERT, classes": ("BertForSequenceClassification", _TEXT | {"num_labels": 3}),
        "BERT, answers": ("BertForQuestionAnswering", _TEXT),
        "BERT, words": ("BertForMaskedLM", _TEXT),
        "T5 encoder": ("T5EncoderModel", _T5),
        "GPT-2": ("GPT2LMHeadModel", _GPT2), "Bloom": ("BloomModel", _BLOOM),
        "Falcon": ("FalconModel", {
            "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4,
        }),
        "GPT-NeoX": ("GPTNeoXModel", _TEXT), "Phi": ("PhiModel", _TEXT),
        "OPT": ("OPTModel", {
            "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "ffn_dim": 64, "max_position_embeddings": 64,
        }),
        "Llama": ("LlamaModel", _SHARED), "Mistral": ("MistralModel", _SHARED),
        "Qwen 2": ("Qwen2Model", _SHARED), "Qwen 3": ("Qwen3Model", _SHARED | {"head_dim": 8}),
        "Gemma 3": ("Gemma3TextModel", _SHARED | {"head_dim": 8, "sliding_window": 8}),
        "CLIP, text": ("CLIPTextModel", _TEXT | {"eos_token_id": 2, "bos_token_id": 1}),
    }  # fmt: skip
    alone = {
        "Mamba": ("MambaModel", {
            "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4,
        }),
    }  # fmt: skip
    pairs = {"BART": ("BartModel", _BART), "T5": ("T5Model", _T5)}
    images = {
        "ViT": ("ViTForImageClassification", _VIT | {"num_labels": 5}),
        "DeiT": ("DeiTModel", _VIT), "DINOv2": ("Dinov2Model", _VIT),
        "CLIP, pictures": ("CLIPVisionModel", _VIT),
        "SigLIP, pictures": ("SiglipVisionModel", _VIT),
        "Swin": ("SwinModel", _SWIN), "Swin v2": ("Swinv2Model", _SWIN),
        "FocalNet": ("FocalNetModel", {
            "image_size": 32, "embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2],
            "focal_windows": [3, 3], "hidden_sizes": [16, 32],
        }),
        "YOLOS": ("YolosForObjectDetection", _VIT | {
            "image_size": [32, 32], "num_detection_tokens": 4, "num_labels": 3,
        }),
    }  # fmt: skip
    pictures = {
        "ConvNeXt": ("ConvNextModel", _STAGES), "ConvNeXt v2": ("ConvNextV2Model", _STAGES),
        "ResNet": ("ResNetModel", _RESIDUAL),
        "RegNet": ("RegNetModel", _RESIDUAL | {"groups_width": 8}),
        "MobileNet v1": ("MobileNetV1Model", {"image_size": 64, "depth_multiplier": 0.25}),
        "MobileNet v2": ("MobileNetV2Model", {"image_size": 64, "depth_multiplier": 0.35}),
        "MobileViT": ("MobileViTModel", {
            "image_size": 64, "hidden_sizes": [32, 40, 48],
            "neck_hidden_sizes": [8, 16, 24, 32, 40, 48, 64],
        }),
        "LeViT": ("LevitModel", {
            "image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 3, 4],
            "depths": [1, 1, 1], "key_dim": [8, 8, 8],
        }),
        "PoolFormer": ("PoolFormerModel", _STAGES),
        "PVT": ("PvtModel", _PYRAMID), "PVT v2": ("PvtV2Model", _PYRAMID),
        "SegFormer": ("SegformerForSemanticSegmentation", _PYRAMID | {
            "decoder_hidden_size": 16, "num_labels": 5,
        }),
        "GLPN": ("GLPNForDepthEstimation", _PYRAMID | {"decoder_hidden_size": 8}),
    }  # fmt: skip
    sound = {
        "wav2vec 2.0": ("Wav2Vec2ForCTC", _SOUND), "HuBERT": ("HubertModel", _SOUND),
        "WavLM": ("WavLMModel", _SOUND | {"num_buckets": 16}),
        "data2vec, sound": ("Data2VecAudioModel", _SOUND | {"conv_pos_kernel_size": 5}),
        "SEW": ("SEWModel", _SOUND | {"squeeze_factor": 2}),
        "Conformer": ("Wav2Vec2ConformerModel", _SOUND | {
            "position_embeddings_type": "relative",
        }),
    }  # fmt: skip
    spectra = {
        "AST": ("ASTModel", {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 64, "max_length": 64, "num_mel_bins": 32,
        }),
    }  # fmt: skip
    kinds = {
        "text": text, "tokens": alone, "two texts": pairs, "image 32": images,
        "image 64": pictures, "sound": sound, "spectrum": spectra,
    }  # fmt: skip
    return {
        name: Architecture(model, sizes, kind)
        for kind, found in kinds.items()
        for name, (model, sizes) in found.items()
    }


#: By the name under which each is known.
ARCHITECTURES: Mapping[str, Architecture] = _all()
