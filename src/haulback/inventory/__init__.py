"""Records of what is protected and where backups go."""
