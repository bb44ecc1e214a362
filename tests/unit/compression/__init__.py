"""Tests of compression: what becomes smaller, what stays right, and what is refused.

Without the worker extra they are skipped, visibly.
"""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
