"""One run of the model factory: texts, tokenizer, models and the demo's requests, with progress on the terminal."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import logging as transformers_logging

from sluice.training import corpus, phrasebook
from sluice.training.card import Measured
from sluice.training.chat import chat_corpus
from sluice.training.chat.chat_making import ChatMaking
from sluice.training.chat.chat_run import ChatRun
from sluice.training.chat.evaluation import MAX_NEW_TOKENS
from sluice.training.chat.recipe import CHAT_RECIPES
from sluice.training.dataset import Tick
from sluice.training.making import CannotMake, Making
from sluice.training.material import Material
from sluice.training.precision import pick_precision
from sluice.training.recipe import RECIPES, Recipe
from sluice.training.requests_file import REQUESTS, draw_requests, write_rows

_SMALLEST_BATCH = 8
_SHORTEST_REPLY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What to make, from what, and where to."""

    out: Path
    teachers: Path
    """Where a teacher is looked for that is not in `out`."""
    requests: Path
    seed: int
    device: str
    """As `pick_device` has it."""
    precision: str
    """As `pick_precision` has it."""
    tiers: tuple[str, ...]
    chats: tuple[str, ...]
    """Keys of CHAT_RECIPES."""
    with_requests: bool
    texts: Path | None
    """Where fresh messages are wanted, if anywhere."""
    steps_factor: float
    scale: float
    workers: int
    measure_only: bool

    def recipe(self, key: str) -> Recipe:
        """The recipe of a model as this run follows it: a run on a part of the corpus takes batches as much smaller."""
        whole = {**RECIPES, **CHAT_RECIPES}[key]
        return replace(
            whole,
            steps=max(1, round(whole.steps * self.steps_factor)),
            batch_size=max(_SMALLEST_BATCH, round(whole.batch_size * min(1.0, self.scale))),
        )


def make(run: Run) -> None:
    """Makes what the run asks for; raises CannotMake when a device or a teacher is missing."""
    console = Console()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    book = phrasebook.load()
    if run.tiers or run.with_requests:
        tests = corpus.draw_tests(book, run.seed, scale=run.scale)
    if run.tiers:
        device = _device(run.device)
        making = Making(
            out=run.out,
            teachers=run.teachers,
            seed=run.seed,
            device=device,
            precision=pick_precision(run.precision, device),
            labels=book.labels,
            tests=tests,
            messages=corpus.train_size(run.scale),
        )
        _make_models(run, making, console)
    if run.chats:
        _make_chats(run, console)
    if run.with_requests:
        source = tests if run.scale >= 1.0 else corpus.draw_tests(book, run.seed, scale=0.3)
        write_rows(run.requests, draw_requests(source.seen, source.held_out, seed=run.seed))
        console.print(f"wrote {REQUESTS} requests to {run.requests}")
    if run.texts is not None:
        messages = corpus.fresh(book, run.seed, count=corpus.FRESH_MESSAGES)
        write_rows(run.texts, [message.row for message in messages])
        console.print(f"wrote {len(messages)} messages to {run.texts}")


def _make_models(run: Run, making: Making, console: Console) -> None:
    with _bars(console) as bars:

        def announce(what: str) -> Tick:
            return partial(bars.advance, bars.add_task(what, total=corpus.train_size(run.scale)))

        material = Material(run.seed, scale=run.scale, workers=run.workers, announce=announce)
        for key in run.tiers:
            recipe, maker = run.recipe(key), making
            if run.measure_only:
                maker, recipe = _as_trained(making, recipe)
            else:
                _train(making, key, recipe, material, bars, console)
            task = bars.add_task(f"measuring {key}", total=None)
            measured = maker.finish(key, recipe)
            bars.update(task, total=1, completed=1)
            _report(console, key, measured)


def _make_chats(run: Run, console: Console) -> None:
    device = _device(run.device)
    making = ChatMaking(
        out=run.out,
        teachers=run.teachers,
        seed=run.seed,
        device=device,
        precision=pick_precision(run.precision, device),
        tests=chat_corpus.draw_tests(run.seed, scale=run.scale),
        conversations=chat_corpus.train_size(run.scale),
        max_new_tokens=max(_SHORTEST_REPLY, round(MAX_NEW_TOKENS * run.scale)),
    )
    with _bars(console) as bars:
        chats = ChatRun(making, workers=run.workers, bars=bars, console=console)
        for key in run.chats:
            chats.make(key, run.recipe(key), measure_only=run.measure_only)


def _train(making: Making, key: str, recipe: Recipe, material: Material, bars: Progress, console: Console) -> None:
    messages, tokenizer = material.for_model(making.teacher(recipe))
    task = bars.add_task(f"training {key}", total=recipe.steps)

    def progress(step: int, loss: float | None) -> None:
        bars.update(task, completed=step)
        if loss is not None:
            bars.update(task, description=f"training {key}, loss {loss:.3f}")

    took_s = making.train(recipe, messages, tokenizer, progress=progress)
    step_ms = took_s / recipe.steps * 1000
    where = f"on {making.device} in {making.precision}"
    console.print(f"{key}: {recipe.steps} steps {where} took {took_s:.0f} s, {step_ms:.0f} ms a step")


def _report(console: Console, key: str, measured: Measured) -> None:
    console.print(
        f"{key}: accuracy {measured.overall.accuracy:.3f} overall, {measured.seen.accuracy:.3f} seen phrasings, "
        f"{measured.held_out.accuracy:.3f} held out; by complexity "
        + " ".join(f"{share:.3f}" for share in measured.overall.by_complexity)
    )


def _as_trained(making: Making, recipe: Recipe) -> tuple[Making, Recipe]:
    """Both as they were when the weights in the recipe's directory were trained, which `quality.json` recorded."""
    content = json.loads((making.directory(recipe) / "quality.json").read_text(encoding="utf-8"))
    device = torch.device(content["training_device"])
    former = replace(making, device=device, precision=content["training_precision"])
    return former, replace(recipe, steps=content["training_steps"])


def _device(name: str) -> torch.device:
    # They bring gRPC along, which making a model needs for nothing else.
    from sluice.domain.errors import InvalidRequest
    from sluice.engine.accelerator import pick_device

    try:
        return pick_device(name)
    except InvalidRequest as error:
        raise CannotMake(f"--device: {error.message}") from error


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
