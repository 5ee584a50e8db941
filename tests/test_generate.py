"""`python -m suite.generate`, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from suite.generate import main

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "suite.generate", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


def test_a_prompt_becomes_a_ply_and_a_picture(tmp_path):
    result = run("A red cube.", "--configuration", "point-e-nano-text/steps-8@cpu", "--output", str(tmp_path))
    assert result.returncode == 0, result.stderr
    ply, png = (Path(line) for line in result.stdout.splitlines()[:2])
    header, _, body = ply.read_bytes().partition(b"end_header\n")
    assert header.startswith(b"ply\n") and b"element vertex 1024" in header
    vertices = np.frombuffer(body, dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    assert len(vertices) == 1024 and np.abs(vertices["xyz"]).max() < 1.5
    red, green, blue = vertices["rgb"].mean(0)
    assert red > 2 * green and red > 2 * blue
    assert Image.open(png).size == (4 * 224, 224)


def test_mistakes_are_answered_with_what_is_possible(tmp_path, capsys):
    model = run("a red cube", "--configuration", "point-e-nano-txt/fp32@cpu")
    assert model.returncode == 2 and "nearest: point-e-nano-text" in model.stderr
    # These load torch, which this process has done.
    assert main(["a red elephant", "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "'elephant'" in said and "they know a, two" in said
    assert main(["a red cube", "--configuration", "point-e-nano-text/fp32@orin"]) == 2
    assert "this is no NVIDIA Jetson AGX Orin" in capsys.readouterr().err
