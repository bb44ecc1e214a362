"""The stream to each router, its codec, and the reports to the governor."""
