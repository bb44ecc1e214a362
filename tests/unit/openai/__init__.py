"""Tests of texts that another process writes. Without the HTTP client, of the worker extra, they are skipped."""

import pytest

pytest.importorskip("httpx2")
