"""What can be refused about a request by looking at it alone. Pure."""

from __future__ import annotations

from services.router.request import Request
from sluice.errors import Expired, InvalidRequest

MAX_REQUEST_ID_BYTES = 128


def validate(request: Request, *, max_text_bytes: int, now: float, text_field: str = "text") -> None:
    """Raise InvalidRequest naming the field at fault, or Expired when the deadline has passed at `now`.

    `text_field` is what the request's own contract calls its text.
    """
    if request.deadline <= now:
        raise Expired("the deadline had passed when the request arrived")
    text = request.text
    if not text or text.isspace():
        raise InvalidRequest(f"the {text_field} is empty", field=text_field)
    # A character has at most four bytes, so short texts need no encoding to be measured.
    if len(text) * 4 > max_text_bytes:
        size = len(text.encode())
        if size > max_text_bytes:
            problem = f"the {text_field} has {size} bytes, and {max_text_bytes} is the most"
            raise InvalidRequest(problem, field=text_field)
    # Written so that NaN fails it too.
    if not 0.0 <= request.priority <= 1.0:
        raise InvalidRequest(f"the priority is {request.priority}, and must lie in [0, 1]", field="priority")
    if len(request.request_id.encode()) > MAX_REQUEST_ID_BYTES:
        raise InvalidRequest(f"the request id is longer than {MAX_REQUEST_ID_BYTES} bytes", field="request_id")
