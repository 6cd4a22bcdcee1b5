"""What qcore compress is made of."""
