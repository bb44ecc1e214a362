"""What a model directory says about itself: `quality.json` for programs and a model card for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.training.evaluation import Quality
from sluice.training.recipe import RECIPES, Recipe

_NATURES = {
    "full": "the best answers, for complex messages: multi-head latent attention and a mixture of experts",
    "light": "a small encoder that answers simple messages at a fraction of the cost",
    "quantized": "the smallest and fastest, served as int8 on CPUs for real-time interaction",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The quality of one model on the test splits, and of its fp32 weights where int8 is what it serves."""

    seen: Quality
    held_out: Quality
    overall: Quality
    fp32_overall: Quality | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a card tells about how the weights came to be."""

    seed: int
    steps: int
    messages: int
    parameters: int
    precision: str
    device: str
    """The kind of device, as torch names it."""


def write_quality(directory: Path, recipe: Recipe, measured: Measured, training: Training) -> None:
    """Writes `quality.json`; for a tier that serves int8 its figures are those of the int8 file."""
    overall = measured.overall
    content: dict[str, Any] = {
        "model": recipe.name,
        "tier": recipe.tier,
        "precision": "int8" if recipe.int8 else "fp32",
        "metric": "accuracy",
        "quality": overall.accuracy,
        "quality_by_complexity": list(overall.by_complexity),
        "examples_by_complexity": list(overall.examples_by_complexity),
        "quality_by_language": overall.by_language,
        "seen_quality": measured.seen.accuracy,
        "seen_quality_by_complexity": list(measured.seen.by_complexity),
        "held_out_quality": measured.held_out.accuracy,
        "held_out_quality_by_complexity": list(measured.held_out.by_complexity),
        "training_steps": training.steps,
        "training_seed": training.seed,
        "training_precision": training.precision,
        "training_device": training.device,
    }
    if recipe.taught is not None:
        content["teacher"] = RECIPES[recipe.taught.teacher].name
    if measured.fp32_overall is not None:
        content["fp32_quality"] = measured.fp32_overall.accuracy
    Path(directory, "quality.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_card(directory: Path, key: str, recipe: Recipe, measured: Measured, training: Training) -> None:
    """Writes `README.md`, the model card; every figure in it comes from `measured` or from the files."""
    card = _TEMPLATE.format(
        name=recipe.name,
        architecture=recipe.architecture,
        nature=_NATURES[key],
        key=key,
        parameters=f"{training.parameters / 1e6:.2f} million",
        files=_files(directory),
        served=_served(recipe),
        table=_table(measured),
        languages=", ".join(f"{name} {share:.3f}" for name, share in measured.overall.by_language.items()),
        overall=f"{measured.overall.accuracy:.3f}",
        fp32=_fp32(measured),
        taught=_taught(recipe),
        steps=training.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        messages=f"{training.messages:,}",
        seed=training.seed,
        arithmetic=arithmetic(training),
    )
    Path(directory, "README.md").write_text(card, encoding="utf-8")


def _served(recipe: Recipe) -> str:
    if recipe.int8:
        return "The tier serves `onnx/model_int8.onnx`; the figures below are those of this file under ONNX Runtime."
    return "The weights are stored as fp16 and load as fp32; the figures below were measured in fp32 after loading."


def _taught(recipe: Recipe) -> str:
    taught = recipe.taught
    if taught is None:
        return ""
    return (
        f" The messages are fresh ones, and what it learns is what `{RECIPES[taught.teacher].name}` says of them: its\n"
        f"probabilities at temperature {taught.temperature:g}, by {1 - taught.alpha:.0%}, and the right labels, by "
        f"{taught.alpha:.0%}."
    )


def arithmetic(training: Training) -> str:
    """In what, and on what, as a part of a sentence."""
    place = "CPU" if training.device == "cpu" else f"{training.device} device"
    return f"fp32 on a {place}" if training.precision == "fp32" else f"{training.precision} autocast on a {place}"


def _fp32(measured: Measured) -> str:
    if measured.fp32_overall is None:
        return ""
    return f" The fp32 weights that it was quantized from reach {measured.fp32_overall.accuracy:.3f} overall."


def _files(directory: Path) -> str:
    files = [path for path in sorted(directory.rglob("*")) if path.suffix in (".safetensors", ".onnx")]
    return ", ".join(f"`{path.relative_to(directory).as_posix()}` {path.stat().st_size / 1e6:.1f} MB" for path in files)


def _table(measured: Measured) -> str:
    columns = (measured.seen, measured.held_out, measured.overall)
    rows = ["| complexity | seen phrasings | held-out phrasings | both | messages |", "|---|---|---|---|---|"]
    for bucket, count in enumerate(measured.overall.examples_by_complexity):
        cells = " | ".join(f"{column.by_complexity[bucket]:.3f}" for column in columns)
        rows.append(f"| {bucket} | {cells} | {count} |")
    cells = " | ".join(f"**{column.accuracy:.3f}**" for column in columns)
    return "\n".join([*rows, f"| all | {cells} | {measured.overall.examples} |"])


_TEMPLATE = """\
---
language: [en, zh]
license: apache-2.0
library_name: transformers
pipeline_tag: text-classification
tags: [customer-support, intent, sluice]
---
# {name}

Finds what a customer of an online shop wants, out of 15 intents, in English and Chinese. {architecture} architecture,
{parameters} parameters, trained from nothing: {nature}.

```python
from transformers import pipeline
classify = pipeline("text-classification", "models/{name}")
classify("I wanted to cancel order #48211, but now I would rather change the address.")
```

Files: {files}. {served}

## Data
Messages written by a seeded grammar (`sluice/training`). A message's *complexity* is the number of constructs in it: a
correction, a retraction, an offer declined, options of which one is picked by its place, a condition and the
circumstance that settles it, an intent that is negated, settled, postponed or somebody else's, an aside, typing errors,
switched languages. No sentence of a test message occurs in training. *Seen phrasings* are new sentences of known
phrasings; *held-out phrasings* express the intent in a way, and with articles, places and numbers, that training never
showed.

## Training
`python tools/train_demo_models.py --only {key} --seed {seed}`: {messages} messages, {steps} steps of {batch_size},
AdamW at {learning_rate:g} with warm-up and cosine decay, {arithmetic}, up to 15 % of the tokens of half of
the messages disturbed.{taught} The same command without a GPU does the same more slowly.

## Quality
Accuracy {overall} over both test splits; by language of the message: {languages}.{fp32}

{table}

## Limits
The messages are synthetic and the models know no other language than the generator's: on real mail, expect held-out
figures at best. A text without any of the 15 intents still gets one. Texts beyond 320 tokens are cut.
"""
