"""The laws of degradation: pure functions of signals and time, for the governor and for a member on its own."""
