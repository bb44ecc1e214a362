"""A real `transformers serve` on the CPU, with a language model that is random, tiny, and made here."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from sluice.cli.addresses import free_port
from tests.e2e.sluice_command import ROOT, environ

START_TIMEOUT_S = 120
MAX_TOKENS = 512
ENDLESS = "where is my parcel?"
# No token is a part of a character then, so that every text can be compared with one that was decoded as a whole.
_TEXTS = (
    "where is my parcel? it was to arrive on Monday, and nobody answers!",
    "Thank you so much: everybody at home is happy with it.\n",
)
_END, _TURN = "<|im_end|>", "<|im_start|>"
# As Qwen's, by which transformers finds in the server where an answer begins.
CHAT = f"{_TURN}{{role}}\n{{content}}{_END}\n{_TURN}assistant\n"


@dataclass(frozen=True, slots=True)
class TinyModel:
    """A checkpoint, and what plain transformers writes with it."""

    path: Path
    model: Any
    tokenizer: Any

    def write(self, prompt: str, *, max_new_tokens: int) -> tuple[str, int]:
        """The text of the most probable tokens, and how many there are, the last one that ends it included."""
        new = self.tokens(prompt, max_new_tokens)
        return self.tokenizer.decode(new, skip_special_tokens=True), len(new)

    def tokens(self, prompt: str, max_new_tokens: int) -> list[int]:
        """The most probable tokens themselves."""
        inputs = self.tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            (written,) = self.model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
        new: list[int] = written[inputs.input_ids.shape[1] :].tolist()
        return new


def make(path: Path) -> TinyModel:
    """A checkpoint of Qwen2's architecture under `path`; its weights are large, so that its texts are varied."""
    tokenizer = _tokenizer()
    torch.manual_seed(7)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config).eval()
    tiny = TinyModel(path, model, tokenizer)
    # Some texts end by themselves, and that of ENDLESS does not.
    ending = next(token for token in tiny.tokens("ok", 48) if token not in tiny.tokens(ENDLESS, MAX_TOKENS))
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, ending]
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    # transformers reads a checkpoint's tokenizer as that of its architecture, whatever class has written it.
    return TinyModel(path, model, AutoTokenizer.from_pretrained(path))


@contextmanager
def serving(checkpoint: Path, folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its URL and its process, when it answers."""
    port = free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(checkpoint)]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port), *options]
    log = folder / "transformers.log"
    variables = environ(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", HF_HOME=str(folder / "hub"))
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=output)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1", process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx2.get(url, trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"transformers serve does not answer: {log.read_text(errors='replace')[-2000:]}")


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=160, special_tokens=[_END, _TURN], show_progress=False)
    tokenizer.train_from_iterator(_TEXTS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_END, pad_token=_END)
    template = CHAT.format(role="{{ messages[0].role }}", content="{{ messages[0].content }}")
    # Jinja drops a template's last line break.
    fast.chat_template = f"{template}\n"
    return fast
