"""A checkpoint's tokenizer, opened with care: one that the model cannot have been trained with is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from sluice.engine.checkpoint.errors import checkpoint_error, one_line

TOKENIZER = "tokenizer.json"
_VOCABULARIES = (
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_ROBERTA_TYPES = frozenset({"roberta", "xlm-roberta", "camembert"})
# Tokenizers without a limit of their own say so with an astronomic number.
_SANE_MAX_TOKENS = 1_000_000
_DEFAULT_MAX_TOKENS = 512


def open_tokenizer(path: Path, config: Any, *, pads: bool = True) -> Any:
    """The tokenizer of checkpoint `path`, whose configuration is `config`. `pads` False: it need not be able to pad.

    Raises InvalidRequest, field `checkpoint`, naming the file that is missing, broken, or does not fit the model.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # What transformers says where there is no file at all is about packages that could be installed.
        _check_files(path, _VOCABULARIES)
        raise checkpoint_error(path, TOKENIZER, f"cannot be read: {one_line(error)}") from error
    if names := type(tokenizer).vocab_files_names.values():
        # Without one, transformers makes up a tokenizer that knows no word. Some read bytes, and need no file.
        _check_files(path, sorted({*names} - {TOKENIZER}))
    if not pads:
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise checkpoint_error(path, TOKENIZER, "is missing, and texts are written with no other kind of tokenizer")
        return tokenizer
    if tokenizer.pad_token_id is None:
        raise checkpoint_error(path, "tokenizer_config.json", "names no pad token, without which there are no batches")
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary is not None and tokenizer.pad_token_id >= vocabulary:
        problem = f"pads with token {tokenizer.pad_token_id}, and config.json's vocab_size is {vocabulary}"
        raise checkpoint_error(path, TOKENIZER, problem)
    if config.model_type in _ROBERTA_TYPES and tokenizer.pad_token_id != config.pad_token_id:
        # These count positions from the pad token, so another one would move every word.
        problem = f"pads with {tokenizer.pad_token_id}, and config.json's pad_token_id is {config.pad_token_id}"
        raise checkpoint_error(path, TOKENIZER, problem)
    return tokenizer


def _check_files(path: Path, others: Sequence[str]) -> None:
    if not any((path / name).is_file() for name in (TOKENIZER, *others)):
        raise checkpoint_error(
            path, TOKENIZER, f"is missing, and so is all else that could stand for it: {', '.join(others)}"
        )


def max_tokens_of(config: Any, tokenizer: Any, *, bound: int | None) -> int:
    """The longest text in tokens: what the model has positions for, and no more than tokenizer and `bound` allow."""
    positions = getattr(config, "max_position_embeddings", None) or _DEFAULT_MAX_TOKENS
    if config.model_type in _ROBERTA_TYPES:
        # Their positions start behind the padding index.
        positions -= config.pad_token_id + 1
    limits = [positions, bound or positions]
    if tokenizer.model_max_length and tokenizer.model_max_length < _SANE_MAX_TOKENS:
        limits.append(tokenizer.model_max_length)
    return int(min(limits))
