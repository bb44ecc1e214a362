"""Text generation on an accelerator: what the engine writes by itself, and what reaches callers through the mesh."""
