"""Code that node halves of several kinds share; kinds import support, but never each other."""
