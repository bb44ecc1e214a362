"""The loop by itself: it goes on bit for bit where it stopped, in each precision, and stops when nothing is learned."""

from __future__ import annotations

import io
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from sluice.training.encoding import Encoded
from sluice.training.objective import HardLabels
from sluice.training.precision import AUTO, MixedPrecision, _learns, pick_precision
from sluice.training.trainer import Course, Diverged, Trainer, _optimizer

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")
COURSE = Course(steps=30, batch_size=8, learning_rate=0.02, seed=7)


class Model(torch.nn.Module):
    """Mean of word vectors, dropout, and a layer to three labels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(20, 16)
        self.head = torch.nn.Linear(16, 3)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        mask = attention_mask.unsqueeze(-1)
        mean = (self.words(input_ids) * mask).sum(1) / mask.sum(1)
        return SimpleNamespace(logits=self.head(torch.nn.functional.dropout(mean, 0.2, self.training)))


@pytest.fixture(scope="module")
def data() -> Encoded:
    """Sixty texts of one to nine words, whose first word is a third of its number's label."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, 10, (60,), generator=generator)
    tokens = torch.randint(1, 20, (int(lengths.sum()),), generator=generator, dtype=torch.int16)
    starts = lengths.cumsum(0) - lengths
    return Encoded(tokens=tokens, starts=starts, lengths=lengths, labels=tokens[starts].long() % 3, pad_id=0)


def trainer(data: Encoded, *, precision: str = "fp32", course: Course = COURSE, objective: Any = None) -> Trainer:
    return Trainer(Model(), objective or HardLabels(), data, course, device=CPU, precision=precision)


def kept(state: dict[str, Any]) -> dict[str, Any]:
    """A state as it comes back from a file that nothing has to be unpickled from."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    content: dict[str, Any] = torch.load(file, weights_only=True)
    return content


def weights(one: Trainer) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in one.state()["model"].items()}


def unheard(step: int, loss: float | None) -> None:
    """Progress of no interest."""


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_in_pieces_ends_with_the_weights_of_a_run_in_one(data: Encoded, precision: str) -> None:
    whole = trainer(data, precision=precision)
    losses: list[float] = []
    assert whole.run(lambda _, loss: losses.append(loss or 0.0))
    assert sum(losses[-5:]) < sum(losses[:5])
    state: dict[str, Any] | None = None
    for stop in (1, 13, 14, 30):
        part = trainer(data, precision=precision)
        if state is not None:
            torch.rand(stop)
            part.restore(state)
        assert part.run(unheard, pause=lambda part=part, stop=stop: part.step == stop) is (stop == 30)
        assert part.step == stop
        state = kept(part.state())
    assert state is not None
    assert state["model"].keys() == weights(whole).keys()
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, state["model"][name])
    assert part.seconds > 0


def test_a_finished_course_takes_no_step_more(data: Encoded) -> None:
    one = trainer(data)
    one.run(unheard)
    before = weights(one)
    assert one.run(unheard)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(one).items())


def test_another_seed_shows_texts_in_another_order(data: Encoded) -> None:
    ends = []
    for seed in (7, 8):
        course = Course(steps=30, batch_size=8, learning_rate=0.02, seed=seed)
        one = trainer(data, course=course)
        one.run(unheard)
        ends.append(weights(one)["head.weight"])
    assert not torch.equal(*ends)


def test_a_loss_that_is_no_number_ends_the_run_and_is_never_kept(data: Encoded) -> None:
    calls = 0

    def objective(model: Any, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        return HardLabels()(model, batch) * (float("nan") if calls == 4 else 1.0)

    one = trainer(data, objective=objective)
    with pytest.raises(Diverged, match="the loss is no number after 4 steps; take a lower learning rate"):
        one.run(unheard)
    with pytest.raises(Diverged):
        one.state()


def test_a_step_that_overflows_in_fp16_is_left_out_and_does_no_harm(data: Encoded) -> None:
    calls = 0

    def objective(model: Any, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        return HardLabels()(model, batch) * (float("inf") if calls == 4 else 1.0)

    one = trainer(data, objective=objective, precision="fp16")
    before: dict[str, Any] = {}
    scales: list[float] = []

    def look(step: int, loss: float | None) -> None:
        if step == 4:
            assert all(torch.equal(tensor, before[name]) for name, tensor in weights(one).items())
        before.update(weights(one))
        scales.append(one.state()["arithmetic"]["scale"])

    assert one.run(look)
    assert all(tensor.isfinite().all() for tensor in weights(one).values())
    assert scales[3] == scales[2] / 2
    assert scales[-1] == scales[3]


def test_fp16_in_which_every_step_overflows_ends_the_run(data: Encoded) -> None:
    def objective(model: Any, batch: Any) -> Any:
        return HardLabels()(model, batch) * float("inf")

    with pytest.raises(Diverged, match="after 17 steps"):
        trainer(data, objective=objective, precision="fp16").run(unheard)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")])
def test_a_precision_is_what_matrices_are_multiplied_in(precision: str, dtype: str) -> None:
    model = torch.nn.Linear(4, 4)
    with MixedPrecision(precision, CPU).autocast():
        assert model(torch.ones(1, 4)).dtype is getattr(torch, dtype)
    assert model.weight.dtype is torch.float32


def cpu_info(file: Path, *flags: str) -> Path:
    file.write_text(f"model name\t: Some CPU\nflags\t\t: fpu {' '.join(flags)}\n", encoding="utf-8")
    return file


def test_auto_on_the_cpu_asks_for_a_unit_for_bf16_matrices(tmp_path: Path) -> None:
    assert pick_precision(AUTO, CPU, cpu_info=cpu_info(tmp_path / "amx", "avx512_bf16", "amx_bf16")) == "bf16"
    assert pick_precision(AUTO, CPU, cpu_info=cpu_info(tmp_path / "avx", "avx512_bf16")) == "fp32"
    assert pick_precision(AUTO, CPU, cpu_info=tmp_path / "nowhere") == "fp32"
    assert pick_precision("bf16", CPU, cpu_info=tmp_path / "nowhere") == "bf16"


@pytest.mark.parametrize(
    ("module", "learns", "picked"),
    [
        (SimpleNamespace(is_bf16_supported=lambda including_emulation=True: True), "", "bf16"),
        # One that only emulates bf16 says so when it is asked.
        (SimpleNamespace(is_bf16_supported=lambda including_emulation=True: including_emulation), "fp16", "fp16"),
        (SimpleNamespace(is_bf16_supported=lambda: True), "", "bf16"),
        (SimpleNamespace(is_bf16_supported=lambda: False), "", "fp32"),
        (SimpleNamespace(), "bf16 fp16", "bf16"),
        (SimpleNamespace(), "fp16", "fp16"),
        (SimpleNamespace(), "", "fp32"),
    ],
    ids=["native", "emulated", "plain yes", "plain no", "silent", "silent, fp16", "silent, neither"],
)
def test_auto_on_an_accelerator_is_what_it_tells_or_else_what_it_does(
    monkeypatch: pytest.MonkeyPatch, module: SimpleNamespace, learns: str, picked: str
) -> None:
    monkeypatch.setattr(torch, "get_device_module", lambda device=None: module)
    monkeypatch.setattr("sluice.training.precision._learns", lambda name, device: name in learns.split())
    assert pick_precision(AUTO, torch.device("mps")) == picked
    assert pick_precision("fp32", torch.device("mps")) == "fp32"


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_device_is_tried_by_a_step_that_leaves_chance_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = torch.get_rng_state()
    assert _learns(name, CPU)
    assert torch.equal(torch.get_rng_state(), before)

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no kernel for this device")

    monkeypatch.setattr(torch.amp.GradScaler, "step", refuse)
    assert not _learns(name, CPU)


def test_a_device_whose_autocast_stays_in_fp32_does_not_learn_in_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    assert not _learns("bf16", CPU)


def test_an_accelerator_without_a_fused_optimizer_takes_the_plain_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[bool] = []
    adamw = torch.optim.AdamW

    def make(groups: Any, **options: Any) -> Any:
        made.append(options.pop("fused", False))
        if made[-1]:
            raise RuntimeError("`fused=True` requires all the params to be floating point Tensors of supported devices")
        return adamw(groups, **options)

    monkeypatch.setattr(torch.optim, "AdamW", make)
    _optimizer(Model(), COURSE, torch.device("mps"))
    assert made == [True, False]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_accelerator_learns_and_goes_on_where_it_stopped(data: Encoded, precision: str) -> None:
    device = torch.accelerator.current_accelerator()
    losses: list[float] = []
    state: dict[str, Any] | None = None
    for stop in (11, 30):
        part = Trainer(Model(), HardLabels(), data, COURSE, device=device, precision=precision)
        if state is not None:
            part.restore(state)
        part.run(lambda _, loss: losses.append(loss or 0.0), pause=lambda part=part, stop=stop: part.step == stop)
        state = kept(part.state())
    assert part.step == 30
    assert 0 < losses[-1] < 1.0
