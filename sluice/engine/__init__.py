"""The backends: everything that imports torch, transformers or ONNX Runtime."""

import logging

# transformers imports torchao, where it is installed, with the first model. What that then says concerns nobody who
# runs or makes models: kernels of one kind of GPU that another cannot load, and torch's word on its registrations.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
