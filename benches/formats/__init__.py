"""What files of other makers and of fewer bytes are read and written in."""
