"""What flows through a network, and what quantizing it does there."""
