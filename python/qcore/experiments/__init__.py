"""The measurements that the documents quote: each module is a command that prints a table."""
