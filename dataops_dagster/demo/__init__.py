"""The main job on an embedded default: three local workspaces, a real daemon, two changes."""
