"""Image files on this machine: read at one moment, tracked by bitmaps, made anew."""
