"""Local image files: frozen reads, dirty bitmaps, internal snapshots, new images."""
