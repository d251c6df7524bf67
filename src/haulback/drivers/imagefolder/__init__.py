"""The image folder: machines as sub-folders with a definition and raw or qcow2 images."""
