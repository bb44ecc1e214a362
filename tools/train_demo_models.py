"""Makes the demo models and the demo's requests from nothing: texts, tokenizer, training, int8, cards."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
TIERS = ("full", "light", "quantized")
CHATS = ("chat", "chat-distilled")
QUICK_SCALE = 0.004
QUICK_STEPS_FACTOR = 0.0003

DESCRIPTION = """\
Makes the three demo classifiers (support-intent-full, -light and -quantized), the chat model and its copy
(support-chat-full and -light), and examples/requests.jsonl.

Everything is written by a seeded grammar, so no download is needed. What happens, in this order:
  1. the grammar writes training and test messages; no sentence is in both
  2. one tokenizer learns from the training messages
  3. each model is trained, saved as a Hugging Face checkpoint directory, and, for quantized, exported to int8;
     light learns from full, in --out or else in models/, on fresh messages that full has not seen
  4. each saved model is measured on the test messages; quality.json and README.md are written beside it
  5. the same for the chat model, with conversations instead of messages; its copy learns from what it expects next
  6. the demo's requests are drawn from the test messages
"""
EXAMPLES = """\
examples:
  %(prog)s                              all of it, on an accelerator if there is one, in mixed precision there
  %(prog)s --only quantized --device cpu    one model, on the CPU
  %(prog)s --only chat chat-distilled   the chat model and its copy
  %(prog)s --only full --precision fp32    one model, without mixed precision
  %(prog)s --only texts --texts mails.jsonl   20,000 labelled messages, for sluice distill
  %(prog)s --measure-only               no training: quantize, measure and describe what is in --out
  %(prog)s --quick --out build/models --requests build/requests.jsonl   a few steps of everything, to see that it runs
"""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Returns the parsed command line."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "models", help="where the model directories go")
    parser.add_argument(
        "--requests", type=Path, default=ROOT / "examples" / "requests.jsonl", help="where the demo's requests go"
    )
    parser.add_argument(
        "--texts", type=Path, metavar="FILE", help="with --only texts: where to write fresh messages, to distill with"
    )
    parser.add_argument("--seed", type=int, default=20260101, help="of texts, weights and order (default %(default)s)")
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="where training runs: auto, cpu, cuda, xpu ... (default: auto)"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="what training computes in; weights stay fp32 (default: auto, which is bf16 where the device "
        "computes in it natively, else fp16 with scaled gradients, and fp32 on a CPU without a unit for bf16 matrices)",
    )
    parser.add_argument(
        "--only",
        choices=(*TIERS, *CHATS, "examples", "texts"),
        nargs="+",
        metavar="THING",
        help="make this instead of everything: one or more of %(choices)s",
    )
    parser.add_argument("--steps", type=float, default=1.0, metavar="FACTOR", help="times the recipe's training steps")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that write texts")
    parser.add_argument("--measure-only", action="store_true", help="train nothing, re-measure what is in --out")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few texts, few steps, useless models")
    options = parser.parse_args(arguments)
    if (options.only is not None and "texts" in options.only) is not (options.texts is not None):
        parser.error("--only texts and --texts FILE belong together")
    return options


def spoils(options: argparse.Namespace) -> str:
    """What is shipped and a smoke run would overwrite, and how not to; empty if nothing."""
    if (_wanted(options, TIERS) or _wanted(options, CHATS)) and options.out.resolve() == ROOT / "models":
        return "the trained models: name another directory with --out"
    if _wanted(options, ("examples",)) and options.requests.resolve() == ROOT / "examples" / "requests.jsonl":
        return "the demo's requests: name another file with --requests"
    return ""


def _wanted(options: argparse.Namespace, things: tuple[str, ...]) -> tuple[str, ...]:
    """Those of some things that the run is to make, in their order."""
    return tuple(thing for thing in things if options.only is None or thing in options.only)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    options = parse(arguments)
    problem = spoils(options) if options.quick else ""
    if problem:
        print(f"--quick would overwrite {problem}", file=sys.stderr)
        return 2
    from sluice.training.making import CannotMake
    from sluice.training.run import Run, make

    run = Run(
        out=options.out,
        teachers=ROOT / "models",
        requests=options.requests,
        seed=options.seed,
        device=options.device,
        precision=options.precision,
        tiers=_wanted(options, TIERS),
        chats=_wanted(options, CHATS),
        with_requests=bool(_wanted(options, ("examples",))),
        texts=options.texts,
        steps_factor=QUICK_STEPS_FACTOR if options.quick else options.steps,
        scale=QUICK_SCALE if options.quick else 1.0,
        workers=options.workers,
        measure_only=options.measure_only,
    )
    try:
        make(run)
    except CannotMake as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
