"""An fp32 graph with its weights in 8 or 4 bits, by ONNX Runtime's quantizers.

8 bits: weights per output channel, activations per tensor, with ranges found by calibration (the engine itself finds
them on the fly); embeddings are stored in 8 bits, too. Symmetric weights use seven bits (`reduce_range`), because CPUs
without VNNI add u8 x s8 products in sixteen bits and overflow; asymmetric ones are uint8 with zero points, for which
products are widened first.
4 bits: weights of matrices and embeddings in blocks, each with a scale; activations stay fp32.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from sluice.compression.calibration import TextReader
from sluice.engine.onnx.export import quiet

# Those whose weights make up a model. The rest in 8 bits would cost accuracy and save nothing.
_OPERATORS = ["MatMul", "Gemm", "Gather"]


def quantize_static(plain: Path, quantized: Path, *, symmetric: bool, reader: TextReader, percentile: bool) -> None:
    """Write `plain` in 8 bits as `quantized`; activations get the ranges that the reader's texts have.

    Ranges span all values, or with `percentile` all but the outermost of 100,000.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize

    with quiet():
        quantize(
            plain,
            quantized,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            per_channel=True,
            reduce_range=symmetric,
            calibrate_method=CalibrationMethod.Percentile if percentile else CalibrationMethod.MinMax,
            extra_options={
                "WeightSymmetric": symmetric,
                # One text at a time, because texts differ in length and all activations would not fit into memory.
                "CalibStridedMinMax": 1,
                # Only what is multiplied with weights is quantized. What comes out stays real, for the next operator
                # to use as it is; and attention, which is little work, loses no accuracy. See decision 0007.
                "OpTypesToExcludeOutputQuantization": _OPERATORS,
                "MatMulConstBOnly": True,
            },
        )


def quantize_blocks(plain: Path, quantized: Path, *, symmetric: bool, block_size: int) -> None:
    """Write `plain` with weights of 4 bits as `quantized`; `block_size` weights of a column share a scale."""
    with quiet():
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(
            onnx.load(plain),
            bits=4,
            block_size=block_size,
            is_symmetric=symmetric,
            op_types_to_quantize=("MatMul", "Gather"),
            quant_axes=(("MatMul", 0), ("Gather", 1)),
        )
        quantizer.process()
        onnx.save(quantizer.model.model, quantized)
