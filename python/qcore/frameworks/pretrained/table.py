"""Which architectures there are, by the ``model_type`` of their configuration: a line for each."""

from __future__ import annotations

from qcore.frameworks.pretrained.albert import ALBERT
from qcore.frameworks.pretrained.bert import BERT, ELECTRA, ROBERTA
from qcore.frameworks.pretrained.builder import Architecture
from qcore.frameworks.pretrained.distilbert import DISTILBERT
from qcore.frameworks.pretrained.mpnet import MPNET
from qcore.frameworks.pretrained.vit import VIT

__all__ = ["ARCHITECTURES"]

ARCHITECTURES: dict[str, Architecture] = {
    "albert": ALBERT,
    "bert": BERT,
    "camembert": ROBERTA,
    "distilbert": DISTILBERT,
    "electra": ELECTRA,
    "mpnet": MPNET,
    "roberta": ROBERTA,
    "vit": VIT,
    "xlm-roberta": ROBERTA,
}
