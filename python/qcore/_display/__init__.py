"""How qcore shows things: tables, progress, pieces of HTML."""
