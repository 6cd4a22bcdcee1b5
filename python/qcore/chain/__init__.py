"""The chain of dense layers: what it holds and how it runs."""
