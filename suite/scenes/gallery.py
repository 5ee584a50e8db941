"""Where the frozen gallery lies: prompts that are scored, captions that they are ranked among, captions to choose settings on."""

from pathlib import Path

GALLERY = Path(__file__).parents[1] / "embedded" / "gallery.json"
