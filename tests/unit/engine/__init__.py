"""Tests of the backends. Without the worker extra they are skipped, visibly."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
