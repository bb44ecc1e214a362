"""What a worker may say on Execute, and within which bounds, as `worker_service.proto` states them.

Whatever comes from a worker is checked here, whole and before anything is done about it; behind this the router trusts
it. Pure: what is open, and clocks, are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from services.router.queueing.batch import InFlightBatch
from services.router.requests.generation import PendingGeneration
from services.router.requests.request import PendingRequest
from sluice.domain.enums import Task
from sluice.domain.status import check_item_status, seconds_of
from sluice.domain.variant import MAX_LABEL_BYTES, Variant, variants_from_proto
from sluice.runtime.message_size import LEAST_BYTES
from sluice.transport.message_handlers import Unreadable, parse
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2

MAX_WORKER_BYTES = 256
MAX_CREDITS = 1_024
MAX_GENERATION_CREDITS = 16_384
MAX_ITEMS = 65_536
MAX_SCORES = 1_024
MAX_EMBEDDING = 65_536
MAX_TIME_S = 3_600.0
# Probabilities are sums of rounded numbers.
TOLERANCE = 1e-6
MAX_PROMPT_TOKENS = 2**31 - 1
NO_LABELS: frozenset[str] = frozenset()
MAX_FINISH_REASON = 1_000
# An engine may count the tokens that end a generation, and a tokenizer may make long ones.
SPARE_TOKENS = 64
MAX_BYTES_PER_TOKEN = 256
SPARE_BYTES = 65_536


class ProtocolError(Exception):
    """The worker broke the contract of Execute. `field` is the path of what is wrong in its message."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


@dataclass(slots=True)
class AnswerShape:
    """What the answers of one variant look like: its labels, and how long its embeddings are once one has come."""

    task: Task
    labels: frozenset[str]
    embedding: int = 0


@dataclass(slots=True)
class MessageBudget:
    """How many messages without results and text a worker may send: `burst` at once, `per_s` in the long run.

    Each of them makes the router look at its whole fleet.
    """

    burst: float = 200.0
    per_s: float = 20.0
    _left: float = field(default=200.0)
    _at: float = float("-inf")

    def spend(self, now: float) -> None:
        """One more came at `now`. Raises ProtocolError when there are too many."""
        self._left = min(self.burst, self._left + self.per_s * max(0.0, now - self._at))
        self._at = now
        if self._left < 1.0:
            raise ProtocolError("welcome", f"messages without results come faster than {self.per_s:g} a second")
        self._left -= 1.0


def shape_of(variant: Variant) -> AnswerShape:
    """The shape of answers that `variant` promises."""
    return AnswerShape(variant.task, frozenset(variant.labels))


def read_response(data: bytes) -> worker_pb2.ExecuteResponse:
    """The message that `data` is. Raises ProtocolError."""
    try:
        return parse(worker_pb2.ExecuteResponse, data)
    except Unreadable as error:
        raise ProtocolError("message", error.message) from None


def read_welcome(welcome: worker_pb2.Welcome) -> tuple[Variant, ...]:
    """The variants of a card. Raises ProtocolError."""
    size = len(welcome.worker.encode())
    if not 1 <= size <= MAX_WORKER_BYTES or not welcome.worker.isprintable():
        raise ProtocolError(
            "welcome.worker", f"a name has 1 to {MAX_WORKER_BYTES} printable bytes, and this one {size}"
        )
    if 0 < welcome.max_message_bytes < LEAST_BYTES:
        problem = f"it is {welcome.max_message_bytes}, and {LEAST_BYTES} is the least"
        raise ProtocolError("welcome.max_message_bytes", problem)
    try:
        return variants_from_proto(welcome.variants)
    except ValueError as error:
        name, _, problem = str(error).partition(": ")
        raise ProtocolError(f"welcome.{name}", problem) from None


def check_credit(credit: worker_pb2.Credit, *, batches: int, generations: int) -> None:
    """Raise ProtocolError when `credit`, beside what is unspent already, is more than any worker can mean."""
    if batches + credit.batches > MAX_CREDITS:
        raise ProtocolError("credit.batches", f"{credit.batches} make more than {MAX_CREDITS} that are unspent")
    if generations + credit.generations > MAX_GENERATION_CREDITS:
        problem = f"{credit.generations} make more than {MAX_GENERATION_CREDITS} that are unspent"
        raise ProtocolError("credit.generations", problem)
    if credit.max_items > MAX_ITEMS:
        raise ProtocolError("credit.max_items", f"it is {credit.max_items}, and {MAX_ITEMS} is the most")


def check_result(
    result: worker_pb2.BatchResult, open_batches: Mapping[int, InFlightBatch], shapes: Mapping[str, AnswerShape]
) -> None:
    """Raise ProtocolError unless `result` answers an open batch, each item of it once, as its variant promises.

    `shapes` are those of the open batches' variants, by id.
    """
    batch = open_batches.get(result.batch_id)
    if batch is None:
        raise ProtocolError("result.batch_id", f"batch {result.batch_id} is not open")
    items, tickets = list(result.results), batch.tickets
    # In the order in which they were sent, as a rule.
    answered = [item.id for item in items]
    if answered != list(tickets) and (len(answered) != len(tickets) or tickets.keys() != set(answered)):
        raise ProtocolError("result.results", f"they do not name each item of batch {batch.id} once")
    _check_time("result.wait", seconds_of(result.wait))
    _check_time("result.compute", seconds_of(result.compute))
    shape = shapes[batch.variant_id]
    labels = shape.labels if shape.task is Task.TEXT_CLASSIFICATION else NO_LABELS
    for place, item in enumerate(items):
        if labels and item.HasField("classification"):
            # Nearly all are like this, and the rest is looked at closely.
            answer = item.classification
            if answer.label in labels and 0.0 <= answer.score <= 1.0 and not answer.scores:
                continue
        try:
            _check_item(item, shape, tickets[item.id])
        except ProtocolError as error:
            raise ProtocolError(f"result.results[{place}].{error.field}", error.problem) from None


def check_pieces(
    pieces: Iterable[worker_pb2.GenerationPiece], open_texts: Mapping[int, PendingGeneration]
) -> Mapping[int, int]:
    """Bytes of text that each generation has with these pieces, by id.

    Raises ProtocolError unless each piece continues an open generation, within what was asked for.
    """
    ended: set[int] = set()
    heard: dict[int, tuple[int, int]] = {}
    for place, piece in enumerate(pieces):
        ticket = open_texts.get(piece.id)
        if ticket is None or piece.id in ended:
            raise ProtocolError(f"pieces[{place}].id", f"generation {piece.id} is not open")
        tokens, size = heard.get(piece.id, (ticket.written, ticket.received_bytes))
        try:
            heard[piece.id] = _check_piece(piece, ticket, tokens, size)
        except ProtocolError as error:
            raise ProtocolError(f"pieces[{place}].{error.field}", error.problem) from None
        if piece.finish_reason or piece.HasField("status"):
            ended.add(piece.id)
    return {number: size for number, (_, size) in heard.items()}


def _check_piece(
    piece: worker_pb2.GenerationPiece, ticket: PendingGeneration, tokens: int, size: int
) -> tuple[int, int]:
    """Returns the generation's tokens and bytes with this piece; `tokens` and `size` are those before."""
    asked = ticket.sampling.max_new_tokens
    most = 2 * asked + SPARE_TOKENS
    size += len(piece.text.encode())
    most_bytes = SPARE_BYTES + ticket.size + MAX_BYTES_PER_TOKEN * most
    if piece.HasField("status"):
        _check_status(piece.status)
    elif not tokens <= piece.tokens:
        raise ProtocolError("tokens", f"there are {piece.tokens}, and there were {tokens} before")
    if piece.tokens > most:
        raise ProtocolError("tokens", f"there are {piece.tokens}, and {asked} were asked for")
    if size > most_bytes:
        raise ProtocolError("text", f"it has {size} bytes by now, and {most_bytes} is the most for {asked} tokens")
    if piece.prompt_tokens > MAX_PROMPT_TOKENS:
        raise ProtocolError("prompt_tokens", f"there are {piece.prompt_tokens}")
    if not 0 <= piece.finish_reason <= MAX_FINISH_REASON:
        raise ProtocolError("finish_reason", f"there is no reason {piece.finish_reason}")
    return max(tokens, piece.tokens), size


def _check_item(item: worker_pb2.ItemResult, shape: AnswerShape, ticket: PendingRequest) -> None:
    kind = item.WhichOneof("outcome")
    if kind == "classification":
        _check_classification(item, shape, ticket.request.top_k)
    elif kind == "embedding":
        _check_embedding(item, shape)
    elif kind == "status":
        _check_status(item.status)


def _check_classification(item: worker_pb2.ItemResult, shape: AnswerShape, top_k: int) -> None:
    if shape.task is not Task.TEXT_CLASSIFICATION:
        raise ProtocolError("classification", "the variant does not classify")
    answer = item.classification
    _check_label("classification.label", answer.label, answer.score, shape.labels)
    scores = answer.scores
    if scores:
        most = min(top_k, len(shape.labels) or MAX_SCORES)
        if len(scores) > most:
            raise ProtocolError("classification.scores", f"there are {len(scores)}, and {most} is the most")
        for one in scores:
            _check_label("classification.scores", one.label, one.score, shape.labels)


def _check_label(name: str, label: str, score: float, labels: Container[str]) -> None:
    # Written so that NaN fails it too.
    if not -TOLERANCE <= score <= 1.0 + TOLERANCE:
        raise ProtocolError(f"{name}.score" if name.endswith("scores") else "classification.score", f"it is {score}")
    if labels:
        if label not in labels:
            raise ProtocolError(name, f"{_short(label)} is no label of the variant")
    elif len(label) > MAX_LABEL_BYTES:
        raise ProtocolError(name, f"it has {len(label)} characters, and {MAX_LABEL_BYTES} is the most")


def _check_embedding(item: worker_pb2.ItemResult, shape: AnswerShape) -> None:
    if shape.task is not Task.FEATURE_EXTRACTION:
        raise ProtocolError("embedding", "the variant does not embed")
    values = item.embedding.values
    count = len(values)
    if not 1 <= count <= MAX_EMBEDDING:
        raise ProtocolError("embedding.values", f"there are {count}, and there must be 1 to {MAX_EMBEDDING}")
    if shape.embedding not in (0, count):
        raise ProtocolError("embedding.values", f"there are {count}, and there were {shape.embedding} before")
    # One that is no number makes their sum none, and single floats cannot overflow a double's sum.
    if not math.isfinite(sum(values)):
        raise ProtocolError("embedding.values", "one is no finite number")
    shape.embedding = count


def _check_status(status: inference_pb2.ItemStatus) -> None:
    try:
        check_item_status(status)
    except ValueError as error:
        name, _, problem = str(error).partition(": ")
        raise ProtocolError(f"status.{name}", problem) from None


def _check_time(name: str, seconds: float) -> None:
    if not 0.0 <= seconds <= MAX_TIME_S:
        raise ProtocolError(name, f"it is {seconds:g} s, and must lie in [0, {MAX_TIME_S:g}]")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
