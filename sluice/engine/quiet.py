"""Silence for what torch's and ONNX Runtime's exporters say on every run, whatever the model."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

_TALKATIVE = ("torch.onnx", "onnxruntime.quantization.matmul_nbits_quantizer")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back warnings, print-outs and log records below ERROR of the exporters; not for use by several threads.

    ONNX Runtime speaks through the root logger itself, whose filters do not see what other loggers pass up, and
    configures it when a module of its is first imported: a handler that does nothing keeps it from that.
    """
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    silent = logging.NullHandler()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        root.addHandler(silent)
        root.addFilter(_is_error)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            root.removeFilter(_is_error)
            root.removeHandler(silent)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
