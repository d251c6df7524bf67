"""What there is to protect and what is kept: records, and the Protocols kinds ask them by."""
