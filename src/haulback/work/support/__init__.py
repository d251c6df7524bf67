"""Code that node halves of several kinds share; kinds import support, and never each other."""
