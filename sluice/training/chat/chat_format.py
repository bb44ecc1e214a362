"""How a conversation becomes tokens: a tokenizer whose chat template sets mails and replies apart.

Unlike the classifiers' tokenizer it keeps case, since it has to write; like theirs it is byte-level BPE and has one
Chinese character or digit a piece at most. Letters of codes stand alone too, so that a number is copied sign by sign.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sluice.training.chat.conversation import Conversation

VOCABULARY_SIZE = 3072
MAX_TOKENS = 512
"""The longest conversation; the longest generated one has about 330 tokens."""
PAD, BEGIN, END, USER, ASSISTANT = "<|pad|>", "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, BEGIN, END, USER, ASSISTANT)
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<|user|>{{ message['content'] | trim }}"
    "{% elif message['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ message['content'] | trim }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('this model knows the roles user and assistant only') }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of at most 3,072 pieces with the chat template, which adds nothing to a plain text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\u3400-\u9fff]"), behavior="isolated"),
            pre_tokenizers.Split(Regex(r"[A-Z](?=[A-Z0-9#/-])|(?<=[A-Z0-9#/-])[A-Z]"), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",
    )


def prompt(mail: str) -> str:
    """The text that a reply to the mail is written on from, as the chat template has it."""
    return f"{BEGIN}{USER}{mail.strip()}{ASSISTANT}"


def transcript(conversation: Conversation) -> str:
    """The text of a whole conversation, as the chat template has it."""
    return f"{prompt(conversation.mail.text)}{conversation.reply}{END}"
