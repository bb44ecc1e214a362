"""The words of conversations: those of the demo's messages, and more values to draw from while a model is trained."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from sluice.training.phrasebook import Phrasebook

Content = dict[str, Any]


def read(name: str) -> Content:
    """Returns the content of a YAML file of this package."""
    text = files(__package__ or "sluice.training.chat").joinpath(name).read_text(encoding="utf-8")
    content: Content = yaml.safe_load(text)
    return content


def read_messages(name: str) -> Content:
    """Returns the content of a YAML file of the messages' package."""
    text = files("sluice.training").joinpath(name).read_text(encoding="utf-8")
    content: Content = yaml.safe_load(text)
    return content


@cache
def load() -> Phrasebook:
    """Returns the phrasebook of the messages with the values of `vocabulary.yaml` among those that training draws."""
    frames, more = read_messages("frames.yaml"), read("vocabulary.yaml")
    _add(frames["patterns"], more["patterns"])
    for language, slots in more["slots"].items():
        _add(frames["slots"][language], slots)
    return Phrasebook(read_messages("phrases.yaml"), frames)


def _add(entries: Content, more: Content) -> None:
    for name, values in more.items():
        entries[name]["seen"] = entries[name]["seen"] + values
