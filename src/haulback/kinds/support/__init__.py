"""Rules that several kinds of task share; kinds import support, but never each other."""
