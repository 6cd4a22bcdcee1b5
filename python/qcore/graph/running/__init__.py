"""How a graph is run: what is checked of its inputs, sessions, streams, the float reference."""
