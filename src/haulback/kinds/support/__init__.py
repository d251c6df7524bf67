"""Rules that several kinds of task share; kinds import support, and never each other."""
