"""Servicers and codecs: what callers speak."""
