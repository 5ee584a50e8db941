"""open_clip, imported before memory is read: a full-size model's CLIP and its judge are of it."""

from suite.models.conditioning.clip import import_open_clip

import_open_clip()
