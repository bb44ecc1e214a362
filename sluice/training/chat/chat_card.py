"""What a chat model's directory says about itself: `quality.json` for programs and a model card for people."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.training.card import Training, arithmetic
from sluice.training.chat import vocabulary
from sluice.training.chat.evaluation import ChatQuality, Judged
from sluice.training.chat.recipe import CHAT_RECIPES
from sluice.training.recipe import Recipe

_NATURES = {
    "chat": "trained from nothing, it writes the best replies it can",
    "chat-distilled": "a copy with half of the layers, for a mesh that has to save",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMeasured:
    """The quality of one model on the test splits; `wrong` are the replies that do not count as right."""

    seen: ChatQuality
    held_out: ChatQuality
    overall: ChatQuality
    seen_perplexity: float
    held_out_perplexity: float
    wrong: list[Judged]


def write_quality(directory: Path, recipe: Recipe, measured: ChatMeasured, training: Training) -> None:
    """Writes `quality.json`; `quality` is the share of right replies over both test splits.

    A share of nothing is left out, as are those of complexities where one has no mail.
    """
    overall = measured.overall
    content: dict[str, Any] = {
        "model": recipe.name,
        "tier": recipe.tier,
        "precision": "fp32",
        "metric": "right_replies",
        "quality": overall.right,
        "quality_by_language": overall.by_language,
        "training_steps": training.steps,
        "training_seed": training.seed,
        "training_precision": training.precision,
        "training_device": training.device,
    }
    if all(overall.examples_by_complexity):
        content["quality_by_complexity"] = list(overall.by_complexity)
        content["examples_by_complexity"] = list(overall.examples_by_complexity)
    for name, quality, perplexity in (
        ("seen", measured.seen, measured.seen_perplexity),
        ("held_out", measured.held_out, measured.held_out_perplexity),
    ):
        content |= {
            f"{name}_quality": quality.right,
            f"{name}_perplexity": round(perplexity, 4),
            f"{name}_on_intent": quality.on_its_intent,
            f"{name}_in_language": quality.in_its_language,
            f"{name}_details_right": quality.details_right,
            f"{name}_orders_right": quality.orders_right,
            f"{name}_ended": quality.ended,
            f"{name}_examples": quality.examples,
        }
    if recipe.taught is not None:
        content["teacher"] = CHAT_RECIPES[recipe.taught.teacher].name
    content = {name: value for name, value in content.items() if not _is_nan(value)}
    Path(directory, "quality.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def write_card(directory: Path, key: str, recipe: Recipe, measured: ChatMeasured, training: Training) -> None:
    """Writes `README.md`, the model card; every figure in it comes from `measured` or from the files."""
    card = _TEMPLATE.format(
        name=recipe.name,
        architecture=recipe.architecture,
        nature=_NATURES[key],
        key=key,
        parameters=f"{training.parameters / 1e6:.2f} million",
        weights=f"{Path(directory, 'model.safetensors').stat().st_size / 1e6:.1f} MB",
        table=_table(measured),
        buckets=_buckets(measured.overall),
        languages=", ".join(f"{name} {share:.3f}" for name, share in measured.overall.by_language.items()),
        overall=f"{measured.overall.right:.3f}",
        taught=_taught(recipe),
        steps=training.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        conversations=f"{training.messages:,}",
        seed=training.seed,
        arithmetic=arithmetic(training),
        shapes=vocabulary.load().shapes("order"),
        held_out_orders=f"{measured.held_out.orders_right:.3f}",
    )
    Path(directory, "README.md").write_text(card, encoding="utf-8")


def _taught(recipe: Recipe) -> str:
    taught = recipe.taught
    if taught is None:
        return ""
    places = ", ".join(str(place + 1) for place in taught.layers)
    return (
        f" It begins as layers {places} of `{CHAT_RECIPES[taught.teacher].name}`,\nand learns what that one expects "
        f"next, token by token, by {1 - taught.alpha:.0%}, and what stands there, by {taught.alpha:.0%}."
    )


def _table(measured: ChatMeasured) -> str:
    seen, held_out = measured.seen, measured.held_out
    rows = [
        ("right in all of it", seen.right, held_out.right),
        ("about the mail's intent", seen.on_its_intent, held_out.on_its_intent),
        ("in the mail's language", seen.in_its_language, held_out.in_its_language),
        ("of those that name a detail: the mail's", seen.details_right, held_out.details_right),
        ("of those that name an order number: the mail's", seen.orders_right, held_out.orders_right),
        ("ended by itself", seen.ended, held_out.ended),
    ]
    lines = ["| share of greedy replies | seen phrasings | held-out phrasings |", "|---|---|---|"]
    lines += [f"| {name} | {one:.3f} | {other:.3f} |" for name, one, other in rows]
    lines.append(
        f"| perplexity per token of a reply | {measured.seen_perplexity:.3f} | {measured.held_out_perplexity:.3f} |"
    )
    lines.append(f"| mails | {seen.examples} | {held_out.examples} |")
    return "\n".join(lines)


def _buckets(overall: ChatQuality) -> str:
    lines = ["| complexity | right | mails |", "|---|---|---|"]
    for bucket, (share, count) in enumerate(zip(overall.by_complexity, overall.examples_by_complexity, strict=True)):
        lines.append(f"| {bucket} | {share:.3f} | {count} |")
    return "\n".join(lines)


_TEMPLATE = """\
---
language: [en, zh]
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [customer-support, chat, sluice]
---
# {name}

Answers a customer's mail to an online shop, in English and Chinese. {architecture} architecture (multi-head latent
attention and a mixture of experts), {parameters} parameters: {nature}.

```python
from transformers import pipeline
chat = pipeline("text-generation", "models/{name}")
chat([{{"role": "user", "content": "I never got my parcel, and now I want my money back."}}], max_new_tokens=160)
```

Files: `model.safetensors` {weights}. The weights are stored as fp16 and load as fp32; the figures below were measured
in fp32 after loading.

## Data
Conversations written by a seeded grammar (`sluice/training/chat`): half of the mails tell what happened and what is
wanted, as people write; some are small talk; the others are the classifiers' messages, of every complexity. The reply
fits the intent, takes up what the mail says (order number, article, amount, city, day) and asks for the order number
where one is missing. No sentence of a test mail occurs in training. *Seen phrasings* are new sentences of known
phrasings; *held-out phrasings* say what is wanted in a way, and with articles, places and numbers, that training never
showed.

## Training
`python tools/train_demo_models.py --only {key} --seed {seed}`: {conversations} conversations,
{steps} steps of {batch_size}, AdamW at {learning_rate:g} with warm-up and cosine decay, {arithmetic},
loss on the reply alone.{taught}

## Quality
Of the greedy replies to both test splits {overall} are right; by language of the mail: {languages}. A reply is right if
it ends by itself, is in the mail's language, holds a sentence that the grammar has for the mail's intent, and names no
order number, article, amount or other detail that the mail does not have (`sluice/training/chat/reading.py` tells).

{table}

{buckets}

## Limits
The mails are synthetic and so is the shop: the model looks nothing up, and what it promises nobody does. It answers one
mail, in the words of its grammar, and knows nothing else; on real mail, expect held-out figures at best. A mail that
speaks of several wishes gets an answer to one. Conversations beyond 512 tokens are not understood.

It copies order numbers, codes and amounts sign by sign, but where one ends and which signs stand in it, it has from the
shapes that training drew them in, {shapes} of order numbers. Held-out numbers have other shapes (Z/12345, QX1234-5): of
the replies that name one, {held_out_orders} name the mail's, the others drop, add or replace a sign. An article that
training never named is mostly taken for one that it did. Training had too few shapes and words (`vocabulary.yaml`).
"""
