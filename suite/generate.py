"""See what a configuration makes of a prompt.

    python -m suite.generate "a red cube" --configuration point-e-nano-text/fp32@cpu

Writes a PLY file (and a GLB file of a mesh) and a picture of four views, and prints where.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from suite.command_line import command
from suite.configurations import find
from suite.names import UnknownName
from suite.prompts import why_cut_by


def generate(prompt: str, identifier: str, output: Path, sample: int = 0) -> tuple[list[Path], float]:
    """The paths of the files written, and the seconds that the object took."""
    configuration = find(identifier)
    if cut := why_cut_by(configuration.model, prompt):
        raise ValueError(f"the prompt: {cut}")
    # Names are checked before torch is loaded.
    from torch import Tensor

    from suite.building import build
    from suite.devices.backend import backend_of
    from suite.metrics.pictures import picture, write_ply
    from suite.metrics.seen import why_not_finite
    from suite.models.finite import NotFinite

    backend = backend_of(configuration.device)
    backend.find_board()
    pipeline = build(configuration, configuration.model.weights[0], backend.torch_device())
    started = time.perf_counter()
    made = pipeline.generate([prompt], sample=sample)[0]
    backend.synchronize()
    seconds = time.perf_counter() - started
    if fault := why_not_finite(made):
        raise NotFinite(f"{configuration.id} made no object of {prompt!r}: {fault}")
    if not isinstance(made, Tensor) and made.empty:
        raise RuntimeError(f"{configuration.id} made nothing of {prompt!r}: its field has no surface")
    output.mkdir(parents=True, exist_ok=True)
    words = "-".join("".join(c if c.isalnum() else " " for c in prompt.lower()).split())[:80]
    stem = f"{words}--{configuration.slug}" + (f"--{sample}" if sample else "")
    ply, png = output / f"{stem}.ply", output / f"{stem}.png"
    picture(made, views=4).save(png)
    if isinstance(made, Tensor):
        write_ply(ply, made)
        return [ply, png], seconds
    return [*made.write(output, stem), png], seconds


@command
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m suite.generate", description="Generate one object and show it.")
    parser.add_argument("prompt", help='such as "a small red cube on a large blue ball"')
    parser.add_argument("--configuration", default="point-e-nano-text/fp32@cpu", metavar="MODEL/OPTIMIZATION@DEVICE")
    parser.add_argument("--output", type=Path, default=Path("outputs"), metavar="DIR")
    parser.add_argument("--sample", type=int, default=0, help="another object of the same prompt")
    options = parser.parse_args(argv)
    try:
        paths, seconds = generate(options.prompt, options.configuration, options.output, options.sample)
    except BrokenPipeError:
        raise
    except (UnknownName, ValueError, OSError, RuntimeError) as error:
        print(f"python -m suite.generate: {error}", file=sys.stderr)
        return 2
    print("\n".join([*map(str, paths), f"{seconds:.2f} s"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
