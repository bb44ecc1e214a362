"""A distillation from end to end on small models: what is learned, what is written, and that the mesh serves it."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sluice.distillation.lesson import Interrupted, Interruption
from sluice.distillation.report import Report
from sluice.distillation.run import TooMuchLost, distill
from sluice.distillation.settings import Settings
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.training.trainer import Diverged
from tests.unit.distillation import teachers
from tests.unit.engine import loading, plain, sentences, tiny

pytestmark = pytest.mark.torch
STEPS = 24


class Stages:
    """What was told, and the losses among it; `interrupt` raises a signal after so many steps."""

    def __init__(self, interrupt: int = 0, number: int = signal.SIGINT) -> None:
        self.told: list[str] = []
        self.losses: list[float] = []
        self._interrupt = interrupt
        self._number = number

    def __call__(self, stage: str, done: int, total: int, loss: float | None = None) -> None:
        self.told.append(f"{stage} {done}/{total}")
        if loss is not None:
            self.losses.append(loss)
            if done == self._interrupt:
                signal.raise_signal(self._number)


def made(teacher: Path, student: Path, texts: Path, stages: Stages | None = None, **changes: Any) -> Report:
    usual: dict[str, Any] = {
        "steps": STEPS,
        "batch_size": 16,
        "learning_rate": 2e-3,
        "device": "cpu",
        "precision": "fp32",
    }
    if "student_config" not in changes:
        usual["layers"] = 2
    settings = Settings(teacher=teacher, student=student, texts=texts, **{**usual, **changes})
    return distill(settings, stages or Stages())


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def left(tmp_path: Path) -> set[str]:
    return {path.name for path in tmp_path.iterdir()}


def report_of(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "distillation.json").read_text(encoding="utf-8"))
    return content


def test_the_loss_falls_the_student_agrees_more_and_is_served_as_it_is(
    teacher: Path, texts: Path, tmp_path: Path
) -> None:
    stages, student = Stages(), tmp_path / "student"
    report = made(teacher, student, texts, stages, steps=80)
    assert sum(stages.losses[-10:]) < sum(stages.losses[:10]) / 2
    assert report.before.agreement is not None
    assert report.after.overall.agreement is not None
    assert report.after.overall.agreement > report.before.agreement
    assert report.after.overall.agreement > 0.7
    assert left(tmp_path) == {"student", "texts.txt"}
    assert left(student) == {
        *("config.json", "distillation.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }
    assert loading.table(loading.light(student), tiny.TEXTS) == [
        pytest.approx(row, abs=1e-5) for row in plain.probabilities(student, tiny.TEXTS)
    ]
    assert open_checkpoint(student).labels == tiny.LABELS
    assert {"asking the teacher 24/24", "learning 0/80", "learning 80/80", "writing 1/1"} <= set(stages.told)


def test_a_report_tells_what_was_done(teacher: Path, texts: Path, tmp_path: Path) -> None:
    report = made(teacher, tmp_path / "student", texts)
    content = report_of(tmp_path / "student")
    assert content["teacher"]["layers"] == teachers.LAYERS
    assert content["student"]["begins_with"] == "layers 0, 4 of the teacher's 5"
    assert content["student"]["parameters"] == sum(tensor.numel() for tensor in weights(tmp_path / "student").values())
    assert content["student"]["size_bytes"] < content["teacher"]["size_bytes"]
    training = content["training"]
    assert (training["texts"], training["labelled"], training["alpha"], training["steps"]) == (216, 0, 0.0, STEPS)
    assert training["step_ms"] > 0
    fidelity = content["fidelity"]
    assert (fidelity["measured_on"], fidelity["bucketed_by"], fidelity["examples"]) == ("held out", "length", 24)
    assert len(fidelity["by_bucket"]) == 8
    assert sum(bucket["examples"] for bucket in fidelity["by_bucket"]) == 24
    assert fidelity["agreement"] == report.after.overall.agreement
    assert content["points_lost"] is None
    assert not (tmp_path / "student" / "quality.json").exists()


def test_right_labels_give_the_student_a_quality_by_complexity(teacher: Path, tmp_path: Path) -> None:
    rows = teachers.labelled(teachers.sentences(200))
    texts = teachers.write_rows(tmp_path / "texts.jsonl", rows)
    examples = teachers.write_rows(tmp_path / "examples.jsonl", rows[:64])
    report = made(teacher, tmp_path / "student", texts, evaluate=examples, alpha=0.9)
    assert report.training.texts == 136, "what is measured on is not learned from"
    assert report.training.labelled == 136
    checkpoint = open_checkpoint(tmp_path / "student")
    assert report.student.accuracy is not None
    assert checkpoint.quality == report.student.accuracy.overall
    assert checkpoint.quality_by_complexity == report.student.accuracy.by_bucket
    content = report_of(tmp_path / "student")
    assert [one["examples"] for one in content["fidelity"]["by_bucket"]] == [8] * 8
    answers = plain.probabilities(tmp_path / "student", [row["text"] for row in rows[:64]])
    right = [tiny.LABELS[row.index(max(row))] == one["label"] for row, one in zip(answers, rows, strict=False)]
    assert checkpoint.quality == pytest.approx(sum(right) / 64, abs=1e-4)


def test_a_student_that_lost_too_much_is_not_put_in_place_and_what_was_there_stays(
    teacher: Path, tmp_path: Path
) -> None:
    said = plain.probabilities(teacher, teachers.sentences(120))
    rows = [
        {"text": text, "label": tiny.LABELS[row.index(max(row))]}
        for text, row in zip(teachers.sentences(120), said, strict=True)
    ]
    texts = teachers.write_rows(tmp_path / "texts.jsonl", rows)
    student = tmp_path / "student"
    student.mkdir()
    (student / "config.json").write_text("former")
    with pytest.raises(TooMuchLost, match=r"the student lost \d+\.\d\d points of accuracy, more than 0,"):
        made(teacher, student, texts, max_loss_points=0.0, steps=1, overwrite=True)
    assert (student / "config.json").read_text() == "former"
    assert left(tmp_path) == {"student", "texts.jsonl", ".student.distilling"}
    # With a larger bound, the same weights are taken, and nothing has to be learned again.
    stages = Stages()
    report = made(teacher, student, texts, stages, max_loss_points=100.0, steps=1, overwrite=True)
    assert report.points is not None
    assert report.points > 0
    assert stages.losses == []
    assert left(tmp_path) == {"student", "texts.jsonl"}


@pytest.fixture
def default_sigint() -> Iterator[None]:
    """SIGINT as in a terminal, also where the tests run as a script's `make test &`, which ignores it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interruption = Interruption()
        with interruption.heard():
            signal.raise_signal(signal.SIGINT)
        assert interruption.signal is None
    finally:
        signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("default_sigint")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(
    teacher: Path, texts: Path, tmp_path: Path, number: int
) -> None:
    # Dropout is on while a DistilBERT learns, so that chance has to go on where it stopped, too.
    whole = made(teacher, tmp_path / "whole", texts)
    stages = Stages(interrupt=9, number=number)
    with pytest.raises(Interrupted, match=r"stopped after 9 of 24 steps; the same command goes on") as caught:
        made(teacher, tmp_path / "parts", texts, stages)
    assert caught.value.signal == number
    assert not (tmp_path / "parts").exists()
    with pytest.raises(Interrupted, match="stopped after 15"):
        made(teacher, tmp_path / "parts", texts, Stages(interrupt=15))
    stages = Stages()
    report = made(teacher, tmp_path / "parts", texts, stages)
    assert len(stages.losses) == 9
    assert "learning 15/24" in stages.told
    assert "asking the student 24/24" not in stages.told
    assert report.before == whole.before
    assert report.after == whole.after
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "parts")[name])
    assert left(tmp_path) == {"whole", "parts", "texts.txt"}


def interrupted(teacher: Path, student: Path, texts: Path, **changes: Any) -> None:
    with pytest.raises(Interrupted):
        made(teacher, student, texts, Stages(interrupt=5), **changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"temperature": 4.0}, r"--temperature \(2\.0, now 4\.0\)"),
        ({"layers": 3, "seed": 5}, r"--layers \(2, now 3\), --seed \(0, now 5\)"),
        ({"steps": None, "epochs": 2}, r"--steps \(24, now 28\)"),
        ({"precision": "bf16"}, r"--precision \(fp32, now bf16\)"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(
    teacher: Path, texts: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    interrupted(teacher, tmp_path / "student", texts)
    with pytest.raises(InvalidRequest, match=rf"had other settings: {told}; --no-resume starts anew") as caught:
        made(teacher, tmp_path / "student", texts, **changes)
    assert caught.value.field == "resume"


def test_a_run_does_not_go_on_with_other_texts_or_another_teacher(texts: Path, tmp_path: Path) -> None:
    teacher = teachers.write(tmp_path / "teacher")
    interrupted(teacher, tmp_path / "student", texts)
    teachers.write(teacher, seed=1)
    teachers.write_lines(texts, teachers.sentences(240, seed=1))
    told = r"the content of --teacher, the content of --texts;"
    with pytest.raises(InvalidRequest, match=told):
        made(teacher, tmp_path / "student", texts)
    stages = Stages()
    made(teacher, tmp_path / "student", texts, stages, resume=False)
    assert len(stages.losses) == STEPS


def test_a_damaged_state_is_told_of(teacher: Path, texts: Path, tmp_path: Path) -> None:
    interrupted(teacher, tmp_path / "student", texts)
    state = tmp_path / ".student.distilling" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InvalidRequest, match=r"state\.pt is damaged: .*; --no-resume starts anew"):
        made(teacher, tmp_path / "student", texts)


def test_the_state_is_saved_now_and_then(teacher: Path, texts: Path, tmp_path: Path) -> None:
    state, sizes = tmp_path / ".student.distilling" / "state.pt", list[int]()

    def look(stage: str, done: int, total: int, loss: float | None = None) -> None:
        if stage == "learning" and done > 1:
            sizes.append(torch.load(state, weights_only=True)["state"]["trainer"]["step"])

    settings = Settings(
        teacher=teacher, student=tmp_path / "student", texts=texts, layers=1, steps=4, save_seconds=1e-6, device="cpu"
    )
    distill(settings, look)
    assert sizes == [1, 2, 3]


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_nothing(teacher: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"the loss is no number after \d+ steps; take a lower learning rate"):
        made(teacher, tmp_path / "student", texts, learning_rate=1e30)
    assert left(tmp_path) == {"texts.txt"}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_too(teacher: Path, texts: Path, tmp_path: Path, precision: str) -> None:
    stages = Stages()
    report = made(teacher, tmp_path / "student", texts, stages, precision=precision, steps=40)
    assert report.training.precision == precision
    assert sum(stages.losses[-5:]) < sum(stages.losses[:5])
    assert weights(tmp_path / "student")["classifier.weight"].dtype is torch.float32


def test_hidden_states_come_nearer_when_they_are_matched(teacher: Path, texts: Path, tmp_path: Path) -> None:
    plain_stages, stages = Stages(), Stages()
    made(teacher, tmp_path / "plain", texts, plain_stages)
    made(teacher, tmp_path / "matched", texts, stages, hidden=2.0)
    assert stages.losses[0] > plain_stages.losses[0]
    assert sum(stages.losses[-5:]) < sum(stages.losses[:5])
    assert report_of(tmp_path / "matched")["training"]["hidden"] == 2.0


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_every_architecture_has_students_that_are_served(architecture: str, tmp_path: Path) -> None:
    teacher = teachers.write(tmp_path / "teacher", architecture)
    texts = teachers.write_lines(tmp_path / "texts.txt", teachers.sentences(40))
    stages = Stages()
    made(teacher, tmp_path / "student", texts, stages, steps=10, hidden=0.1)
    assert len(stages.losses) == 10
    served = loading.table(loading.light(tmp_path / "student"), tiny.TEXTS)
    for row, expected in zip(served, plain.probabilities(tmp_path / "student", tiny.TEXTS), strict=True):
        assert row == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("architecture", ["bert", "qwen2"])
def test_a_model_that_embeds_teaches_its_vectors(architecture: str, tmp_path: Path) -> None:
    teacher = teachers.write(tmp_path / "teacher", architecture, base=True)
    texts = teachers.write_lines(tmp_path / "texts.txt", teachers.sentences(120))
    stages = Stages()
    report = made(teacher, tmp_path / "student", texts, stages, steps=50)
    assert sum(stages.losses[-5:]) < sum(stages.losses[:5])
    assert report.before.agreement is not None
    assert report.after.overall.agreement is not None
    assert report.after.overall.agreement > report.before.agreement
    assert "cosine" in report_of(tmp_path / "student")["fidelity"]
    mode = "lasttoken" if architecture == "qwen2" else "mean"
    served = loading.vectors(loading.light(tmp_path / "student"), tiny.TEXTS)
    assert served == pytest.approx(plain.embeddings(tmp_path / "student", tiny.TEXTS, mode), abs=1e-4)


def test_sentence_modules_come_along(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    teachers.write(teacher / "0_Transformer", "bert", base=True)
    sentences.add_modules(teacher, "Dense", "Normalize", transformer="0_Transformer")
    sentences.add_pooling(teacher, "cls", "max")
    sentences.add_dense(teacher, "2_Dense", torch.randn(8, 64), None)
    texts = teachers.write_lines(tmp_path / "texts.txt", teachers.sentences(40))
    made(teacher, tmp_path / "student", texts, steps=3)
    vectors = loading.vectors(loading.light(tmp_path / "student"), tiny.TEXTS)
    assert vectors.shape == (len(tiny.TEXTS), 8)
    assert (vectors**2).sum(1) == pytest.approx(1.0, abs=1e-5)


def test_labels_that_do_not_exclude_each_other_are_taught(texts: Path, tmp_path: Path) -> None:
    teacher = teachers.write(tmp_path / "teacher", problem_type="multi_label_classification")
    stages = Stages()
    report = made(teacher, tmp_path / "student", texts, stages)
    assert report.kind == "multi_label"
    assert sum(stages.losses[-5:]) < sum(stages.losses[:5])
    assert open_checkpoint(tmp_path / "student").multi_label
    with pytest.raises(InvalidRequest, match="labels that do not exclude each other") as caught:
        made(teacher, tmp_path / "student", texts, evaluate=texts, overwrite=True)
    assert caught.value.field == "evaluate"


@pytest.fixture
def shape(tmp_path: Path) -> Path:
    """The config.json of a small MobileBERT with words and labels of its own."""
    directory = tiny.write(tmp_path / "shape", "mobilebert")
    tiny.edit(directory / "config.json", vocab_size=77, id2label={"0": "x"}, label2id={"x": 0}, pad_token_id=5)
    file = tmp_path / "shape.json"
    shutil.move(directory / "config.json", file)
    shutil.rmtree(directory)
    return file


def test_another_shape_takes_words_and_labels_of_its_teacher(
    teacher: Path, texts: Path, tmp_path: Path, shape: Path
) -> None:
    stages = Stages()
    report = made(teacher, tmp_path / "student", texts, stages, student_config=shape, steps=60)
    assert report.student.architecture == "mobilebert"
    # Both embed words in 32 values.
    assert report.begins_with == "the teacher's word embeddings, all else drawn by lot"
    assert sum(stages.losses[-5:]) < sum(stages.losses[:5])
    checkpoint = open_checkpoint(tmp_path / "student")
    assert checkpoint.labels == tiny.LABELS
    assert checkpoint.config.vocab_size == len(tiny.tokenizer())
    served = loading.table(loading.light(tmp_path / "student"), tiny.TEXTS)
    for row, expected in zip(served, plain.probabilities(tmp_path / "student", tiny.TEXTS), strict=True):
        assert row == pytest.approx(expected, abs=1e-4)


def test_word_embeddings_of_another_size_are_drawn_by_lot(
    teacher: Path, texts: Path, tmp_path: Path, shape: Path
) -> None:
    tiny.edit(shape, embedding_size=16)
    report = made(teacher, tmp_path / "student", texts, student_config=shape, steps=1)
    assert report.begins_with == "weights drawn by lot"


def test_weights_are_stored_in_the_type_of_the_teachers(teacher: Path, texts: Path, tmp_path: Path) -> None:
    from sluice.training.checkpoint import load, save_model

    half = shutil.copytree(teacher, tmp_path / "half")
    model, _ = load(teacher)
    save_model(model, half, stored=torch.float16)
    made(half, tmp_path / "student", texts, steps=1)
    assert {tensor.dtype for tensor in weights(tmp_path / "student").values()} == {torch.float16}
    assert json.loads((tmp_path / "student" / "config.json").read_text())["dtype"] == "float32"
