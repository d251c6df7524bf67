"""Image folder driver: machines are sub-folders with a definition and raw or qcow2 images."""
