"""The model that MLServer serves, run by MLServer's own interpreter: transformers in fp32, a forward pass a batch.

It is what a reader of MLServer's guide to custom runtimes would write. It imports nothing of Sluice.
"""

from __future__ import annotations

import torch
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class Classifier(MLModel):
    """Answers each text of tensor `text` with its likeliest label."""

    async def load(self) -> bool:
        """Open the checkpoint that the model's settings name."""
        checkpoint = self.settings.parameters.uri
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One forward pass for all that came together."""
        texts = StringCodec.decode_input(payload.inputs[0])
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            best = self.model(**tokens).logits.argmax(-1)
        labels = [self.model.config.id2label[number] for number in best.tolist()]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("label", labels)])
