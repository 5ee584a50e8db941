"""Where the frozen gallery lies: prompts to score, captions to rank them among, captions to choose settings on."""

from pathlib import Path

GALLERY = Path(__file__).parents[1] / "embedded" / "gallery.json"
