"""Every method beside what it competes with, and where it wins."""
