"""The tokenizer of all demo models: byte-level BPE, lower-cased, one Chinese character or digit a piece at most.

Byte-level BPE knows no unknown text. Chinese characters are kept apart so that the vocabulary learns words of the
language rather than whole phrases of the generator.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE = 3072
MAX_TOKENS = 320
"""The longest text that the models were built for; the longest generated one has about 260 tokens."""
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, CLASSIFY, SEPARATE, MASK = SPECIAL_TOKENS


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of at most 3,072 pieces that pads on the right and yields ids and an attention mask."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\u3400-\u9fff]"), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in (CLASSIFY, SEPARATE)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLASSIFY} $A {SEPARATE}", pair=f"{CLASSIFY} $A {SEPARATE} $B {SEPARATE}", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=CLASSIFY,
        sep_token=SEPARATE,
        mask_token=MASK,
        model_max_length=MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
        padding_side="right",
    )
