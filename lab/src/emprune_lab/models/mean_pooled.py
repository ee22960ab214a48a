"""BERT with a classifier over the mean of its token states, as MiniLM's sentences were pre-trained."""

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

__all__ = ["MeanPooledBert", "MeanPooledConfig"]


class MeanPooledConfig(BertConfig):
    """BERT's, by another name: so that its weights are never loaded into the model that reads the first token."""

    model_type = "mean-pooled-bert"


class MeanPooledBert(BertPreTrainedModel):
    """MiniLM for classification.

    `BertForSequenceClassification` reads the state of the first token, through an extra layer. MiniLM's training on
    pairs of sentences never used that layer, which would have to be learned from scratch. That training averaged the
    token states, so their mean is what its weights are good for.

    Args:
        config: The model's, with `num_labels`.
    """

    config_class = MeanPooledConfig

    def __init__(self, config: MeanPooledConfig) -> None:
        super().__init__(config)
        num_labels = config.num_labels
        assert num_labels is not None
        self.num_labels = num_labels
        self.bert = BertModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Return (B, C) logits of (B, T) tokens and, given (B,) labels, the mean cross-entropy."""
        hidden = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state
        counted = attention_mask[..., None].to(hidden.dtype)
        mean = (hidden * counted).sum(1) / counted.sum(1)
        logits = self.classifier(self.dropout(mean))
        return SequenceClassifierOutput(loss=None if labels is None else F.cross_entropy(logits, labels), logits=logits)


AutoConfig.register(MeanPooledConfig.model_type, MeanPooledConfig)
AutoModelForSequenceClassification.register(MeanPooledConfig, MeanPooledBert)
