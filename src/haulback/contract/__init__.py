"""Request, order, answer and record structs that cross the wire."""
