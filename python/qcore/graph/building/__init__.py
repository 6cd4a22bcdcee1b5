"""What readers of other frameworks build graphs with."""
