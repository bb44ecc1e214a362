"""The backends: everything that imports torch, transformers or ONNX Runtime."""
