"""How a whole machine moves: from a snapshot into staging, and from a backup into a machine."""
