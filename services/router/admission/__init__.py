"""Admission: what is let in, and what the refused are told."""
